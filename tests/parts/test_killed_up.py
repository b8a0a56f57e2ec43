"""Runs of `make up` that are killed or interrupted, on an engine that is the user's."""

from pathlib import Path

import pytest

from tests.parts.users_engine import run


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_killed_and_interrupted(tmp_path: Path) -> None:
    """Every test of `killed_inside` passes: the user's things live on, and the next `make up` goes on."""
    run("29", "killed_inside.py", tmp_path)
