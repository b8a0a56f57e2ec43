"""The dev stack on engines that are the user's, each on a machine of its own: see `engines_inside`."""

import os
from pathlib import Path

import pytest

from lab.engine.programs import Programs
from tests.live.apart import pytest_apart

ENGINES = ("debian", "29", "29-nftables")


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_users_engine(engine: str, tmp_path: Path) -> None:
    """`make up`, every cell, a second `up`, ten sabotages and `make down`, beside things of the user's."""
    Programs.chosen(engine).install(print)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**theirs, "USERS_ENGINE": engine, "HOMELAB_STATE": str(tmp_path / "state")}
    file = Path(__file__).with_name("engines_inside.py")
    assert pytest_apart(file, tmp_path, environment, "--timeout=900") == 0
