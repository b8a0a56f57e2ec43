"""An engine that is upgraded under the running dev stack: see `upgraded_inside`."""

from pathlib import Path

import pytest

from lab.engine.programs import Programs
from tests.parts.users_engine import run


@pytest.mark.matrix
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("newer", ["28", "29"])
def test_from_26(tmp_path: Path, newer: str) -> None:
    """Docker 26 is upgraded: the probe and `make drift` name what that broke, and `make up` mends it."""
    Programs.chosen("26").install(print)
    run(newer, "upgraded_inside.py", tmp_path)
