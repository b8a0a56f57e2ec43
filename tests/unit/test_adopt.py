"""The plan and the import file of a take-over: order, way back, what is kept, and no secret."""

import json
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adoption import source, stack_file
from adoption.plan import Plan
from commands import adopt
from preflight.docker import PlannedSite, There, in_the_way
from preflight.state import PulumiState
from survey import docker
from survey.docker_api import DockerApi
from survey.site import RunningSite
from tests.unit.test_adoption import loaded
from tests.unit.test_survey import CANARY, HERE, RECORDINGS, recorded, served
from topology.model import Topology

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Topology, Rows, Rows, Path]:
    """Return a recorded host's topology, running containers and networks, and a folder with both files."""
    folder = tmp_path_factory.mktemp("adopt")
    answers = recorded(RECORDINGS[1])
    answers["/info"]["Name"] = "home"
    with served(answers, folder) as (endpoint, _):
        site = RunningSite(docker.read(DockerApi(endpoint)), HERE)
        sources = source.read(DockerApi(endpoint, environment=True))
        topology = loaded(stack_file.written(site, sources, date(2026, 11, 30)), folder)
        containers, networks = adopt.asked(endpoint)
    there = There(containers=answers["/containers/json?all=1"], networks=networks)
    found = [*in_the_way(PlannedSite(topology=topology, state=PulumiState(), stack="home"), there)]
    adopt.written(folder, "home", topology, found, (containers, networks))
    return topology, containers, networks, folder


def commands(taken: tuple[Topology, Rows, Rows, Path], title: str) -> list[list[str]]:
    """Return the words of each command below a heading of the plan."""
    text = (taken[3] / "adopt-home.md").read_text()
    _, found, below = text.partition(f"\n## {title}\n")
    assert found
    return [shlex.split(line, comments=True) for line in below.split("```")[1].splitlines()[1:]]


def test_what_asks_stops_first(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """The ingress stops before what it serves, and nothing is removed."""
    stops = [words[-1] for words in commands(taken, "2. Make way") if words[:2] == ["docker", "stop"]]
    assert stops.index("traefik") < min(stops.index(name) for name in ("grafana", "blog", "whoami", "redis"))
    said = (taken[3] / "adopt-home.md").read_text()
    assert not any(word in said for word in ("docker rm", "volume rm", "--force", "prune"))


def test_the_way_back_undoes_each_step(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """Each container that makes way is renamed, connected and started again; each network is made first."""
    back = commands(taken, "The way back")
    forth = commands(taken, "2. Make way")
    renamed = [words[2:] for words in forth if words[1] == "rename"]
    assert [words[2:][::-1] for words in back if words[1] == "rename"] == renamed[::-1]
    left = {(words[3], words[4].removesuffix("-before")) for words in forth if words[1] == "network"}
    assert {tuple(words[-2:]) for words in back if words[1:3] == ["network", "connect"]} == left
    made = [words[-1] for words in back if words[1:3] == ["network", "create"]]
    assert set(made) == {name for name, _ in left} - {"lan-direct"}
    assert "--internal" in next(words for words in back if words[-1] == "store" and "create" in words)


def test_the_import_file_has_what_an_import_keeps(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """Networks with a zone's name are imported below their component; containers, renamed, are not."""
    entries = json.loads((taken[3] / "imports-home.json").read_text())["resources"]
    networks = {each["logicalName"]: each["id"] for each in entries if each["type"].endswith(":Network")}
    known = {row["Name"]: row["Id"] for row in taken[2]}
    assert networks == {name: known[name] for name in ("proxy", "app", "media", "pair", "quiet", "store")}
    assert not any(each["type"].endswith(":Container") for each in entries)
    assert all(each["parent"] for each in entries if "id" in each)


def test_a_network_under_another_name_is_removed(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A network whose prefix a zone takes, and whose name none has, is removed by hand before `make up`."""
    topology, containers, networks, _ = taken
    renamed = [{**row, "Name": "home_default"} if row["Name"] == "proxy" else row for row in networks]
    plan = Plan(stack="home", topology=topology, containers=containers, networks=renamed)
    assert "docker network rm home_default" in plan.lines(date(2026, 11, 30))


def test_a_circle_of_flows_has_an_order(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """Where flows form a circle, each container is in the plan once."""
    topology, containers, networks, _ = taken
    back = ({"source": flow.destination, "destination": flow.source} for flow in topology.flows)
    circle = [flow.model_copy(update=ends) for flow, ends in zip(topology.flows, back, strict=True)]
    both = topology.model_copy(update={"flows": (*topology.flows, *circle)})
    plan = Plan(stack="home", topology=both, containers=containers, networks=networks)
    stops = [line for line in plan.lines(date(2026, 11, 30)) if line.startswith("docker stop ")]
    assert len(stops) == len(set(stops)) > 10


def test_no_secret_is_in_plan_and_import_file(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """No secret of a container is in the plan or the import file."""
    assert CANARY not in "".join(
        (taken[3] / name).read_text() for name in ("adopt-home.md", "imports-home.json")
    )


def test_a_stack_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing stack file is one line and status 2, and nothing is written."""
    assert adopt.main(["--stack", "nowhere"], tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []
