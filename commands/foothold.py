"""What a shell in a container gains: where it connects to, which secrets its files hold.

Owns arguments, output and exit status: 0 told, 2 there is nothing to tell it from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pulumi

from topology.config import ConfigError
from topology.project import PROJECT
from verify import foothold
from verify.driver import ProbeError


def main(words: Sequence[str]) -> int:
    """Print the table; exit status 2 where there is nothing to make it from."""
    parser = argparse.ArgumentParser(
        prog="python -m commands foothold", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    parser.add_argument("--run", type=Path, metavar="FILE", help="JSON of a live run, instead of the proof")
    given = parser.parse_args(words)
    try:
        print("\n".join(foothold.table(PROJECT / f"Pulumi.{given.stack}.yaml", given.run)))
    except (ConfigError, ProbeError, pulumi.RunError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
