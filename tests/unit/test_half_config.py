"""Stack files of half sites: what is refused in them, and that engine and packet walk agree on sound ones."""

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from commands import flows, report
from preflight import checks
from preflight.state import PulumiState
from resources.site import Graph
from resources.typed import view
from tests.half import docker_alone, flat, proxmox_alone
from tests.policies.sound import run
from tests.site import changed, listed, numbered
from tests.unit.packet_walk import Walk
from topology import schema
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from verify.discovery import Discovery
from verify.expect import Expected
from verify.expect import cells as probe_cells

Config = dict[str, Any]
SITES: dict[str, Callable[[], Config]] = {
    "docker alone": docker_alone,
    "proxmox alone": proxmox_alone,
    "flat": flat,
    "flat, proxmox alone": partial(flat, docker=False),
}
BAD: list[dict[str, Any]] = yaml.safe_load(
    listed(Path(__file__).with_name("bad_half_sites.yaml").read_text(encoding="utf-8"))
)


def document(config: Config) -> Config:
    """Return a stack file with these keys."""
    return {"config": {f"homelab-network:{key}": value for key, value in config.items()}}


@pytest.mark.parametrize("site", SITES)
def test_a_sound_half_site_is_read(site: str) -> None:
    """The loader and the schema take the site."""
    load(SITES[site]())
    jsonschema.validate(document(SITES[site]()), schema.configuration())


@pytest.mark.parametrize("site", SITES)
def test_engine_and_walk_agree_on_half_sites(site: str) -> None:
    """On the facts of the program's resources the engine and the packet walk find the same flows."""
    config = SITES[site]()
    graph = Graph(tuple(map(view, run(config))), TopologyIndex.of(load(config)))
    found = {flow.key for flow in graph.reachability.flows()}
    assert found
    assert found == Walk(graph.facts).flows()


@pytest.mark.parametrize("case", BAD, ids=[case["id"] for case in BAD])
def test_a_broken_half_site_is_refused(case: dict[str, Any]) -> None:
    """Each fault is one line with its remedy, and nothing else is said."""
    values = changed(case["change"], SITES[case["site"]]())
    with pytest.raises(ConfigError) as refused:
        load(values)
    assert str(refused.value) == numbered(case["message"], values)


def stack_file(folder: Path, site: str) -> Path:
    """Write a half site as a stack file, with its secrets; returns the file."""
    secrets = {key: {"secure": ""} for key in ("grafana:adminPassword", "traefik:users", "ssh:privateKey")}
    file = folder / "Pulumi.half.yaml"
    file.write_text(yaml.safe_dump({"config": {**document(SITES[site]())["config"], **secrets}}))
    return file


@pytest.mark.parametrize("site", SITES)
def test_commands_take_half_sites(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pack finds nothing in the stack file, flows are listed, and page and flowchart are made."""
    file = stack_file(tmp_path, site)
    assert (flows.main(["judge", str(file)]), capsys.readouterr().out) == (0, "")
    assert flows.main(["list", str(file)]) == 0
    assert "internet" in capsys.readouterr().out
    assert report.main([str(file), "--mermaid"]) == 0
    drawn = capsys.readouterr().out
    topology = load(SITES[site]())
    assert all(f"at_{service.replace('-', '_')}[" in drawn for service in topology.services)
    assert report.main([str(file), "--output", str(tmp_path / "page.html")]) == 0


class Nobody:
    """A Proxmox API that is not asked."""

    def get(self, path: str) -> Any:
        """Fail at every question."""
        raise AssertionError(path)


def test_only_the_declared_host_is_asked_before_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pre-flight asks no engine about Proxmox-SRV alone, and no Proxmox about Docker-SRV alone."""
    asked: list[str] = []

    def ask(host: str) -> Callable[..., checks.PreflightReport]:
        def answer(*_: object, **__: object) -> checks.PreflightReport:
            asked.append(host)
            return checks.PreflightReport(findings=())

        return answer

    monkeypatch.setattr(checks, "_docker", ask("docker"))
    monkeypatch.setattr(checks, "_proxmox", ask("proxmox"))
    for site in ("docker alone", "proxmox alone"):
        checks.check_hosts(load(SITES[site]()), PulumiState(), stack="half", api=None, node=Nobody())
    assert asked == ["docker", "proxmox"]


@pytest.mark.parametrize("site", SITES)
def test_the_probe_asks_the_machines_that_are_there(site: str) -> None:
    """The survey finds the places of the declared hosts, and only declared flows are allowed between them."""
    topology = load(SITES[site]())
    survey = Discovery(topology, Path("known_hosts"), inside=False, elsewhere=True)
    running = [
        {
            "Name": f"/{service.name}",
            "State": {"Running": True, "Pid": 1},
            "Config": {},
            "NetworkSettings": {
                "Ports": {},
                "Networks": {
                    zone: {"IPAddress": str(topology.zones[zone].prefix[10 + at])} for zone in service.zones
                },
            },
        }
        for at, service in enumerate(topology.containers)
    ]
    survey.discover(running)
    places = survey.endpoints({}, 9, IPv4Address("10.10.10.250"))
    kinds = {place.kind for place in places if place.name in {host.name for host in topology.hosts}}
    assert len(kinds) == len(topology.hosts)
    found = probe_cells(topology, places)
    declared = {str(flow) for flow in topology.flows}
    assert {str(cell) for cell in found if cell.expected is Expected.ALLOWED} <= declared
    assert not [cell for cell in found if topology.ingress_name is None and cell.destination == "docker-srv"]
