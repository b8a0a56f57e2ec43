"""A site that runs already becomes a stack's own by `make survey` and `make adopt`, and goes back."""

import json
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
    seen = json.loads((state / "seen.json").read_text())
    print("outage in seconds:", *(f"{name} {seconds}" for name, seconds in seen.items()))
    assert {*seen} == {"traefik and app", "db", "wiki", "mine"}
