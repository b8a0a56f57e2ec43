"""List resources of Docker-SRV that must be replaced, because of changes that Pulumi's refresh does not read.

The output is the ends of the resources' URNs, which `make up` passes to Pulumi. Exit status: 0 listed, 2 the
check failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from topology.config import ConfigError, from_file
from topology.project import PROJECT
from verify import host
from verify.driver import ProbeError


def main(words: Sequence[str]) -> int:
    """Print the URN end of each resource to replace; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands stale", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    try:
        topology = from_file(PROJECT / f"Pulumi.{parser.parse_args(words).stack}.yaml").by_docker_host[0]
        for urn, _ in host.changed(topology):
            print(urn)
        for name, _, _ in host.misattached(topology, host.containers()):
            print(host.container(name))
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
