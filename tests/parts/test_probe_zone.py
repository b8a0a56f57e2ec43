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
    ("engine", "proxy"), [("debian", True), ("debian", False), ("29", True), ("29-nftables", False)]
)
def test_probe_zone(tmp_path: Path, engine: str, proxy: bool) -> None:
    """Every test of `probe_zone_inside` passes on this engine, with and without a userland proxy."""
    programs = Programs.chosen(engine)
    programs.install(print)
    BASE.get(print)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    options = json.dumps({"userland-proxy": proxy, **programs.settings})
    environment = {**theirs, **programs.environment, "ENGINE_OPTIONS": options}
    file = Path(__file__).with_name("probe_zone_inside.py")
    assert pytest_apart(file, tmp_path, environment, "--timeout=180", seconds=600) == 0
