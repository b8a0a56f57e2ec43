"""Drift: where the stack file, the state and the live network differ, and what `up` does about it.

Exit status: 0 no drift, 1 drift, 2 the comparison failed. `verify.drift` compares; `make drift` runs this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from topology.config import ConfigError
from verify import drift
from verify.driver import ProbeError
from verify.plan import Drift


def main(words: Sequence[str]) -> int:
    """Compare once and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands drift", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    stack = parser.parse_args(words).stack
    try:
        found, left_out = drift.discover(stack)
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*table(found), *left_out, sep="\n")
    return int(bool(found))


def table(found: Sequence[Drift]) -> Iterator[str]:
    """Yield the differences as a table, and their number."""
    if found:
        titles = ("what", "declared", "state", "live", "what up does")
        rows = [titles, *((d.what, d.declared, d.state, d.live, d.remedy) for d in found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""
    yield (
        f"{len(found)} differences between stack file, state and live network"
        if found
        else ("no drift: stack file, state and live network agree")
    )
