"""The conformance suite asked of the live probe, in namespaces of its own: see `conformance_inside`."""

import os
from pathlib import Path

import pytest

from tests.apart import pytest_apart


@pytest.mark.timeout(1000)
def test_the_probe_answers_alike(tmp_path: Path) -> None:
    """Every test of `conformance_inside` passes."""
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    file = Path(__file__).with_name("conformance_inside.py")
    assert pytest_apart(file, tmp_path, theirs, "--timeout=800", seconds=900) == 0
