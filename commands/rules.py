"""The table of rules, as docs/policies.md has it; it needs neither a site nor the program.

Exit status: 0 table printed, 2 bad usage.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from policies.evaluate import GROUPS
from policies.rule import RULES


def main(words: Sequence[str]) -> int:
    """Print the table; returns the exit status."""
    argparse.ArgumentParser(prog="python -m commands rules", description="The table of rules.").parse_args(
        words
    )
    print(*table(), sep="\n")
    return 0


def table() -> Iterator[str]:
    """Yield a Markdown table, one row per rule, by group."""
    yield "| rule | obligation | severity | sees | remedy |"
    yield "|---|---|---|---|---|"
    for group in GROUPS:
        for rule in RULES.values():
            if rule.check.__module__ == group.__name__:
                cells = (rule.name, rule.obligation, rule.severity, rule.scope, rule.remedy)
                yield f"| `{cells[0]}` | {' | '.join(cells[1:])} |"
