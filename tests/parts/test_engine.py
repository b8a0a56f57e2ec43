"""The lab's own engine and images, run in separate namespaces.

The engine gets namespaces of its own for network, mounts and processes. It therefore meets neither the shared
lab nor a user's Docker, and leaves nothing when the last of its processes ends.
"""

import os
from pathlib import Path

import pytest

from lab.engine.programs import CHOICES, VARIABLE
from tests.apart import install, pytest_apart


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("engine", "file"),
    [*((engine, "engine_inside.py") for engine in CHOICES), ("debian", "images_inside.py")],
)
def test_the_labs_engine(tmp_path: Path, engine: str, file: str) -> None:
    """Every test of the file passes in new namespaces with only this project."""
    install(engine)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**theirs, VARIABLE: engine}
    inside = Path(__file__).with_name(file)
    assert pytest_apart(inside, tmp_path, environment, "--timeout=180", seconds=900) == 0
