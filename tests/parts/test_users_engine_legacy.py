"""The dev stack on the user's engine: Debian's 20.10, on iptables-legacy."""

from pathlib import Path

import pytest

from tests.parts.users_engine import whole_life


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_whole_life(tmp_path: Path) -> None:
    """`make up`, every cell, a second `up`, eleven sabotages and `make down`, beside things of the user's."""
    whole_life("debian", tmp_path, USERS_LEGACY="yes")
