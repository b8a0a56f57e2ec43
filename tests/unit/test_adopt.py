"""The plan and the import file of a take-over: order, way back, what is kept, and no secret."""

import json
import shlex
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adoption import source, stack_file
from adoption.plan import Plan
from commands import adopt
from preflight.checks import PreflightReport
from preflight.docker import PlannedSite, There, in_the_way
from preflight.finding import Check, PreflightFinding
from preflight.found import Found
from preflight.state import PulumiState
from preflight.wanted import bridges as wanted_bridges
from preflight.wanted import groups as wanted_groups
from preflight.wanted import volumes as wanted_volumes
from survey import docker
from survey.docker_api import DockerApi
from survey.site import RunningSite
from tests.unit.test_adoption import loaded
from tests.unit.test_survey import CANARY, HERE, RECORDINGS, recorded, served
from topology.config import from_file
from topology.model import Topology
from topology.project import PROJECT

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
    site_planned = PlannedSite(topology=topology, state=PulumiState(), stack="home")
    report = PreflightReport(findings=(), in_the_way=tuple(in_the_way(site_planned, there)))
    adopt.written(folder, "home", topology, report, (containers, networks))
    return topology, containers, networks, folder


def below(text: str, title: str) -> list[list[str]]:
    """Return the words of each command below a heading of a plan."""
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found
    return [shlex.split(line, comments=True) for line in rest.split("```")[1].splitlines()[1:]]


def commands(taken: tuple[Topology, Rows, Rows, Path], title: str) -> list[list[str]]:
    """Return the words of each command below a heading of the recorded host's plan."""
    return below((taken[3] / "adopt-home.md").read_text(), title)


def planned(taken: tuple[Topology, Rows, Rows, Path], *more: dict[str, Any], **changes: Any) -> Plan:
    """Return the plan of the recorded host with further containers, and with other fields."""
    topology, containers, networks, _ = taken
    fields = {"stack": "home", "topology": topology, "networks": networks, **changes}
    return Plan(containers=[*containers, *more], **fields)


def like(taken: tuple[Topology, Rows, Rows, Path], name: str, new: str, **host: Any) -> dict[str, Any]:
    """Return a container like another, under a new name and id, with other settings of its host."""
    row = next(each for each in taken[1] if each["Name"] == f"/{name}")
    return {**row, "Name": f"/{new}", "Id": new * 8, "HostConfig": {**row["HostConfig"], **host}}


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
    """A security group is imported below its component; networks and renamed containers are not."""
    wanted = wanted_groups(from_file(PROJECT / "Pulumi.dev.yaml"))[0]
    group = Found(
        check=Check.FIREWALL_NAME_TAKEN, wanted=wanted, path="security group site-1",
        what="one of the datacenter's", removal="remove it", identity="site-1",
    )  # fmt: skip
    there = There(containers=(), networks=taken[2])
    site = PlannedSite(topology=taken[0], state=PulumiState(), stack="home")
    report = PreflightReport(findings=(), in_the_way=(*in_the_way(site, there), group))
    adopt.written(taken[3], "kept", taken[0], report, (taken[1], taken[2]))
    entries = json.loads((taken[3] / "imports-kept.json").read_text())["resources"]
    assert [(each["logicalName"], each["id"]) for each in entries if "id" in each] == [
        (wanted.name, "site-1")
    ]
    assert all(each["parent"] for each in entries if "id" in each)
    known = below((taken[3] / "adopt-kept.md").read_text(), "4. Import and make")
    assert ["pulumi", "import"] in [words[:2] for words in known]


def test_each_network_in_the_way_is_removed_and_made_again(
    taken: tuple[Topology, Rows, Rows, Path],
) -> None:
    """A network with a zone's name or prefix is removed before `make up`, and made first on the way back."""
    networks = [{**row, "Name": "home_default"} if row["Name"] == "proxy" else row for row in taken[2]]
    text = "\n".join(planned(taken, networks=networks).lines(date(2026, 11, 30)))
    removed = [words[-1] for words in below(text, "3. Networks")]
    assert {*removed} == {"home_default", "app", "media", "pair", "quiet", "store"}
    assert removed == [words[-1] for words in below(text, "The way back") if "create" in words]
    assert below(text, "4. Import and make") == [["make", "up", "STACK=home", "YES=1"]]


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


def test_what_no_step_settles_is_told_before_the_outage(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A fault of a host that the plan leaves is at its head; what makes way is not."""
    lasting = PreflightFinding(
        Check.PREFIX_TAKEN, "zones.edge.prefix", "overlaps interface wg0", "take it off"
    )
    settled = (
        PreflightFinding(Check.CONTAINER_TAKEN, "container redis", "taken by a container", "remove it"),
        PreflightFinding(
            Check.PORT_TAKEN, "port 80/tcp", "taken by container traefik (traefik:v3.7)", "stop it"
        ),
        PreflightFinding(Check.PREFIX_TAKEN, "zones.proxy.prefix", "overlaps Docker network proxy (…)", "no"),
    )
    plan = planned(taken, faults=(lasting, *settled))
    assert plan.first == [str(lasting)]
    text = "\n".join(plan.lines(date(2026, 11, 30)))
    assert text.index("## Mend first") < text.index(str(lasting)) < text.index("## The way back")


def test_a_container_that_its_stop_removes_is_told(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A container that was started with --rm is told first, and neither renamed nor started again."""
    plan = planned(taken, like(taken, "redis", "passing", AutoRemove=True))
    assert [line.partition(":")[0] for line in plan.first] == ["container passing"]
    text = "\n".join(plan.lines(date(2026, 11, 30)))
    assert [
        line.partition(" #")[0] for line in text.splitlines() if "passing" in line and "docker" in line
    ] == ["docker stop passing"]


def test_each_point_of_no_return_is_named(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """The plan names old containers, another image, a container of --rm, and a guest's notes."""

    def told(plan: Plan) -> set[str]:
        text = "\n".join(plan.lines(date(2026, 11, 30)))
        return {*text.partition("\n## Points of no return\n")[2].partition("\n\n")[0].splitlines()}

    plain = planned(taken)
    rows = [
        {**row, "Config": {**row["Config"], "Image": "redis:1"}} if row["Name"] == "/redis" else row
        for row in taken[1]
    ]
    passing = like(taken, "redis", "passing", AutoRemove=True)
    assert any("-before" in line for line in told(plain))
    for plan, word in (
        (replace(plain, containers=rows), "not redis:1,"),
        (planned(taken, passing), "stop of passing,"),
        (planned(taken, guests={"urn": "pve1/101"}), "pve1/101"),
    ):
        (line,) = told(plan) - told(plain)
        assert word in line


def test_what_shares_a_network_stack_makes_way_before_its_owner(
    taken: tuple[Topology, Rows, Rows, Path],
) -> None:
    """A container in another's network stack stops before it, and starts after it on the way back."""
    owner = next(each for each in taken[1] if each["Name"] == "/redis")
    sidecar = like(taken, "redis", "sidecar", NetworkMode=f"container:{owner['Id']}")
    sidecar["NetworkSettings"] = {"Networks": {}, "Ports": {}}
    text = "\n".join(planned(taken, sidecar).lines(date(2026, 11, 30)))
    stops = [words[-1] for words in below(text, "2. Make way") if words[:2] == ["docker", "stop"]]
    starts = [words[-1] for words in below(text, "The way back") if words[:2] == ["docker", "start"]]
    assert stops.index("sidecar") < stops.index("redis")
    assert starts.index("redis") < starts.index("sidecar")


def test_a_container_that_does_not_run_is_not_started(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A stopped container on a network that is made anew is connected again on the way back, not started."""
    stopped = {**like(taken, "redis", "old"), "State": {"Status": "exited"}}
    back = below("\n".join(planned(taken, stopped).lines(date(2026, 11, 30))), "The way back")
    assert ["docker", "rename", "old-before", "old"] in back
    assert ["docker", "start", "old"] not in back


def test_the_plan_names_its_engine_and_shell(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """The commands of an engine on another machine begin with its name; each plan sets its environment."""
    text = "\n".join(planned(taken, host="ssh://root@docker-srv").lines(date(2026, 11, 30)))
    assert '`export DOCKER_HOST=ssh://root@docker-srv; eval "$(make -s env STACK=home)"`' in text
    assert "DOCKER_HOST" not in (taken[3] / "adopt-home.md").read_text()


def test_an_image_without_a_version_is_tagged_before(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """An image that the stack file names by the survey's own tag gets that tag before the outage."""
    before = commands(taken, "1. Before")
    tags = {words[-1] for words in before if words[:2] == ["docker", "tag"]}
    named = {each.image for each in taken[0].containers if each.image.endswith(":as-surveyed")}
    assert (tags == named, bool(named)) == (True, True)
    assert not any(words[-1] in named for words in before if words[:2] == ["docker", "pull"])


def test_a_network_is_made_again_with_its_range(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """The command that makes a network again has its range of addresses and its IPv6."""
    config = {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1", "IPRange": "172.18.5.0/24"}
    networks = [
        {**row, "EnableIPv6": True, "IPAM": {"Config": [config]}} if row["Name"] == "proxy" else row
        for row in taken[2]
    ]
    text = "\n".join(planned(taken, networks=networks).lines(date(2026, 11, 30)))
    (made,) = (words for words in below(text, "The way back") if words[-1] == "proxy" and "create" in words)
    assert made[made.index("--ip-range") + 1] == "172.18.5.0/24"
    assert "--ipv6" in made


def test_a_volume_with_data_is_not_imported(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A volume that has a wanted name is no part of the import, whose way back would remove it."""
    volume = {"Name": "grafana-data", "Driver": "local", "CreatedAt": "2026-01-01"}
    wanted = next(
        each
        for each in wanted_volumes(from_file(PROJECT / "Pulumi.dev.yaml"))
        if each.physical == "grafana-data"
    )
    found = Found(
        check=Check.VOLUME_TAKEN, wanted=wanted, path="volume grafana-data", what="a volume with data",
        removal="remove it", identity=volume["Name"],
    )  # fmt: skip
    report = PreflightReport(findings=(), in_the_way=(found,))
    adopt.written(taken[3], "apart", taken[0], report, (taken[1], taken[2]))
    assert json.loads((taken[3] / "imports-apart.json").read_text())["resources"] == []
    assert "- volume grafana-data: a volume with data" in (taken[3] / "adopt-apart.md").read_text()


def test_a_bridge_of_a_node_is_not_imported(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A bridge that others' guests are on is no part of the import, and its remedy is told first."""
    found = Found(
        check=Check.NODE_BRIDGE_TAKEN, wanted=wanted_bridges(from_file(PROJECT / "Pulumi.dev.yaml"))[0],
        path="bridge vmbr1 of pve1", what="a bridge", removal="remove it", identity="pve1:vmbr1",
        instead="write existing-bridge: true",
    )  # fmt: skip
    told = found.finding("bridged", PulumiState())
    report = PreflightReport(findings=(told,), in_the_way=(found,))
    lines = adopt.written(taken[3], "bridged", taken[0], report, (taken[1], taken[2]))
    assert json.loads((taken[3] / "imports-bridged.json").read_text())["resources"] == []
    assert f"mend before the outage: {told}" in lines


def test_only_protected_volumes_are_said_to_stay(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """Without `protect`, `make down` removes the volumes that the stack made; the way back says so."""
    open_ = taken[0].model_copy(update={"protect": False})
    back, bare = (
        next(line for line in plan.lines(date(2026, 11, 30)) if line.startswith("make down"))
        for plan in (planned(taken), planned(taken, topology=open_))
    )
    assert back.endswith("# volumes stay, with their data")
    assert bare.endswith("# volumes that are external stay; protect: false lets the others go")


def test_the_way_back_forgets_imported_guests_first(taken: tuple[Topology, Rows, Rows, Path]) -> None:
    """A guest leaves the state, and its firewall is off, before `make down`, which would remove the guest."""
    urn = "urn:pulumi:home::homelab-network::VmLegacy::web"
    back = below(
        "\n".join(planned(taken, guests={urn: "pve1/101"}).lines(date(2026, 11, 30))), "The way back"
    )
    assert (back[0][:3], back[0][-1]) == (["pulumi", "state", "delete"], urn)
    assert back[1] == ["pvesh", "set", "/nodes/pve1/qemu/101/firewall/options", "--enable", "0"]
    assert ["make", "down", "STACK=home", "YES=1"] in back[2:]
