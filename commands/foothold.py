"""What a shell in each container gives an attacker: connections, and secrets in its files.

Exit status: 0 table printed, 2 no usable input.
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
    """Print the table; returns the exit status."""
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
