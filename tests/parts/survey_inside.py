"""What `test_survey` runs on a machine of its own: the survey of an engine that a user runs."""

import os
from collections.abc import Iterator

import pytest

from commands import survey as command
from survey.docker_api import DEFAULT
from survey.findings import Findings
from survey.site import RunningSite
from tests.parts import users_docker, users_site
from tests.parts.users_docker import LAN, machine
from topology.model import Port


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """The user's site, surveyed."""
    users_docker.neighbour()
    with users_docker.running(os.environ["USERS_ENGINE"], tmp_path_factory.mktemp("engine")):
        users_site.make()
        yield command.look(DEFAULT)


def test_what_it_says_is_what_connects(site: RunningSite) -> None:
    """Each connection that the survey says is possible connects, and each other one does not."""
    boxes = users_site.boxes()
    said = {
        (source, name, box.port)
        for name, box in boxes.items()
        for source in (*boxes, LAN)
        if source != name and site.reachability.evaluate(source, name, Port(number=box.port)).allowed
    }
    there = users_site.passes()
    assert (sorted(said - there), sorted(there - said)) == ([], [])
    assert len(there) > 20


def test_nothing_changes(site: RunningSite) -> None:
    """A survey leaves rules, addresses and everything on the engine as it was."""
    before = machine()
    Findings(command.look(site.docker.engine.endpoint)).sorted()
    assert machine() == before


def test_the_engines_own_rules_are_not_told_as_others(site: RunningSite) -> None:
    """As root the rules are read, and on a machine without other rules none is told as not Docker's."""
    assert site.machine is not None
    assert site.machine.rules is not None or site.docker.engine.backend == "nftables"
    assert [each for each in site.unseen if "that Docker did not make" in each] == []
