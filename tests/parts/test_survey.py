"""The survey of a site that a user made by hand, against the connections that pass there."""

from pathlib import Path

import pytest

from tests.parts.users_engine import run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["debian", "29", "29-nftables"])
def test_survey_says_what_connects(engine: str, tmp_path: Path) -> None:
    """On each engine the survey's answers are what connections show, and it changes nothing."""
    run(engine, "survey_inside.py", tmp_path)
