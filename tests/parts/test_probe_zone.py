"""The probe zone on engines from 20.10 to 29, each in namespaces of its own: see `probe_zone_inside`."""

import json
import os
from pathlib import Path

import pytest

from lab.engine.programs import Programs
from lab.images.catalogue import BASE
from tests.apart import pytest_apart


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("engine", "proxy"),
    [
        ("debian", True),
        ("debian", False),
        pytest.param("28", True, marks=pytest.mark.matrix),
        ("29", True),
        ("29-nftables", False),
    ],
)
def test_probe_zone(tmp_path: Path, engine: str, proxy: bool) -> None:
    """Every test of `probe_zone_inside` passes on this engine, with and without a userland proxy."""
    assert apart("probe_zone_inside.py", tmp_path, engine, proxy) == 0


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_upgrade(tmp_path: Path) -> None:
    """Docker 28 in place of 20.10 closes the zone until its network is made anew, and the check sees that."""
    programs = Programs.chosen("28")
    programs.install(print)
    path = programs.environment["PATH"]
    assert apart("probe_zone_upgraded_inside.py", tmp_path, "debian", True, NEWER_PATH=path) == 0


def apart(file: str, folder: Path, engine: str, proxy: bool, **variables: str) -> int:
    """Run a file of tests on an engine in namespaces of its own; returns pytest's exit status."""
    programs = Programs.chosen(engine)
    programs.install(print)
    BASE.get(print)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    options = json.dumps({"userland-proxy": proxy, **programs.settings})
    environment = {**theirs, **programs.environment, **variables, "ENGINE_OPTIONS": options}
    return pytest_apart(Path(__file__).with_name(file), folder, environment, "--timeout=180", seconds=600)
