"""The survey of a site that a user made by hand, against the connections that pass there."""

from pathlib import Path

import pytest

from survey import docker
from survey.docker_api import DockerApi
from tests.parts.users_engine import run
from tests.unit.test_survey import RECORDINGS, recorded, served


def test_the_docker_command_carries_other_endpoints() -> None:
    """An engine on TCP is asked through the `docker` command, on one connection, and is told as open."""
    with served(recorded(RECORDINGS[1]), None) as (endpoint, asked):
        api = DockerApi(endpoint)
        found = docker.read(api)
        api.close()
    assert (len(found.containers), found.engine.is_open) == (22, True)
    assert {line.partition(" ")[0] for line in asked} == {"GET"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "engine", [*(pytest.param(each, marks=pytest.mark.matrix) for each in ("debian", "29-nftables")), "29"]
)
def test_survey_says_what_connects(engine: str, tmp_path: Path) -> None:
    """On each engine the survey's answers are what connections show, and it changes nothing."""
    run(engine, "survey_inside.py", tmp_path)
