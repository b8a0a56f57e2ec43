"""What has to be made anew on Docker-SRV, because it was changed where Pulumi's refresh does not look.

Prints the ends of the resources' URNs; `make up` hands them to Pulumi. Exit status: 0 looked, 2 it could not
be.
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
    """Print what has to be made anew, a line each; returns the exit status, 2 for what can't be looked at."""
    parser = argparse.ArgumentParser(
        prog="python -m commands stale", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    try:
        topology = from_file(PROJECT / f"Pulumi.{parser.parse_args(words).stack}.yaml")
        for urn, _ in host.changed(topology):
            print(urn)
        for name, _, _ in host.astray(topology, host.containers()):
            print(host.container(name))
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
