"""Write the rules of a site's router.

`python -m commands router Pulumi.home.yaml` writes router-home/router.nft for a Linux router, and
router-home/router.vyos for one with VyOS. Exit status: 0 written, 2 bad input and nothing written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rendered.router_rules import FILES, rules
from topology.config import ConfigError, Fault, from_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one stack's file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands router", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="Pulumi.<stack>.yaml")
    file = parser.parse_args(arguments).file
    try:
        topology = from_file(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if topology.router is None:
        print(Fault(file.name, "no host is of kind router", "declare one under hosts"), file=sys.stderr)
        return 2
    folder = Path(f"router-{file.name.removeprefix('Pulumi.').removesuffix('.yaml')}")
    folder.mkdir(exist_ok=True)
    path = folder / FILES[topology.router.system]
    path.write_text(rules(topology), encoding="utf-8")
    print(path)
    return 0
