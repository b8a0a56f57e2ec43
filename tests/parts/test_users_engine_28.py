"""The dev stack on the user's engine: Docker 28."""

from pathlib import Path

import pytest

from tests.parts.users_engine import whole_life


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_whole_life(tmp_path: Path) -> None:
    """`make up`, every cell, a second `up`, eleven sabotages and `make down`, beside things of the user's."""
    whole_life("28", tmp_path)
