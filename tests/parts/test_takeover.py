"""A site that runs already becomes a stack's own by `make survey` and `make adopt`, and goes back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import toolchain
from tests.parts import debian_root
from tests.parts.users_engine import run


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_takeover(tmp_path: Path) -> None:
    """Every test of `takeover_inside` passes: the data stays, and each service's outage was measured."""
    toolchain.ensure(print)
    debian_root.archive()
    state = run("29", "takeover_inside.py", tmp_path)
    for line in (state / "seen.jsonl").read_text().splitlines():
        print(*table(**json.loads(line)), sep="\n")


def table(when: str, outages: dict[str, list[float]], took: dict[str, float]) -> Iterator[str]:
    """Yield as Markdown each service's outage in all, and what the commands took; ratios are to them all."""
    yield f"\n| {when} | seconds | ratio |\n|---|---|---|"
    rows = {f"no answer of {name}": sum(gaps) for name, gaps in outages.items()}
    for what, seconds in (rows | took).items():
        yield f"| {what} | {seconds:.1f} | {seconds / took['all commands']:.2f} |"
