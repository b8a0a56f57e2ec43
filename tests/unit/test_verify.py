import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from commands import verify as command
from lab import paths, tls
from reachability.engine import Reachability
from resources.site import Graph
from resources.typed import view
from tests.egress import with_egress
from tests.policies.sound import Stack, sound
from tests.site import CERTIFICATE, changed, configuration
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Flow, Port, Route, Topology
from verify import agent as agent_program
from verify import host, namespaces, probe, proof, report, vantages
from verify.discovery import Discovery
from verify.discovery import address as discovery_address
from verify.driver import Answers, Ask, ProbeError
from verify.expect import (
    Address,
    Cell,
    Endpoint,
    EndpointKind,
    Expected,
    alive,
    cells,
    declared_zones,
    guest,
    heard,
)
from verify.verdicts import NOT_THERE, OPEN, ProbeFinding, Seen, Verdict, judge, judge_routes

PROJECT = Path(__file__).resolve().parents[2]
AGENT = PROJECT / "verify" / "agent.py"
FRONT = IPv4Address("198.51.100.1")

pytestmark = pytest.mark.usefixtures("authority")


def endpoints_of(site: Topology) -> list[Endpoint]:
    """Return a site's endpoints as declared, with an undeclared container on backend, probe and wordpress."""
    found = [
        Endpoint(
            name=name,
            kind=EndpointKind.OUTSIDE,
            addresses=(Address(network=name, ip=IPv4Address(f"198.51.100.{last}")),),
            docker_host_address=FRONT,
        )
        for name, last in (("internet", 2), ("management", 6))
    ]
    for number, service in enumerate(site.containers, 10):
        zones = declared_zones(site, service.name)
        where = tuple(
            Address(
                network=z,
                ip=site.zones[z].prefix[number],
                heard=heard(site, service.name, z, site.zones[z].prefix[number]),
            )
            for z in sorted(zones)
        )
        found.append(
            Endpoint(
                name=service.name,
                kind=EndpointKind.CONTAINER,
                addresses=where,
                zones=zones,
                ports=service.ports,
            )
        )
    found += [guest(site, service, there=True) for service in site.guests]
    found += [
        Endpoint(
            name=f"stranger@{zone}",
            kind=EndpointKind.MEMBER,
            addresses=(Address(network=zone, ip=site.zones[zone].prefix[254]),),
            zones=frozenset({zone}),
        )
        for zone in ("backend", "probe", "wordpress")
    ]
    gateway = Address(network="br-edge", ip=IPv4Address("172.30.0.1"))
    host = (Address(network="verify0", ip=FRONT), gateway)
    ports = (Port(number=80), Port(number=443))
    return [*found, Endpoint(name="docker-srv", kind=EndpointKind.HOST, addresses=host, ports=ports)]


def page(ask: Ask) -> dict[str, object]:
    """Return the page that a sound ingress and a sound service serve."""
    if ask.id == "unknown":
        return {"status": 404, "title": "", "location": ""}
    if ask.id == "redirect":
        return {"status": 301, "title": "", "location": f"https://{ask.host}/"}
    if ask.sni and ask.host == "prometheus.homelab.localhost":
        return {"status": 401, "title": "", "location": ""}
    return {"status": 200, "title": ask.host, "location": ""}


@dataclass
class World:
    """A driver whose network does what is declared, except where `change` returns another answer.

    `arrives` says which questions over UDP the agents see arrive; None: no agent may look.
    """

    site: Topology
    endpoints: list[Endpoint]
    change: Callable[[str, Ask], object] = lambda _source, _ask: None
    left_out: list[str] = field(default_factory=list)
    changed_rules: Sequence[str] | None = ()
    other: int = 60999
    arrives: Callable[[Cell], bool] | None = None

    def ask(self, questions: Mapping[str, Iterable[Ask]]) -> Mapping[str, Answers]:
        """Answer as the flows say; an endpoint that is asked about itself listens."""
        wanted = {str(n): cell for n, cell in enumerate([*self.questions, *alive(self.endpoints)])}
        arrived = {n for n, cell in wanted.items() if self.arrives(cell)} if self.arrives else None
        return {
            source: Answers(
                by_id={ask.id: self.change(source, ask) or self.answer(wanted, ask) for ask in asks},
                arp_neighbours=["172.30.3.1"],
                arrived=arrived,
            )
            for source, asks in questions.items()
            if next(endpoint for endpoint in self.endpoints if endpoint.name == source).there
        }

    @property
    def questions(self) -> list[Cell]:
        """Return every cell."""
        return cells(self.site, self.endpoints)

    def answer(self, wanted: Mapping[str, Cell], ask: Ask) -> object:
        """Return the answer of a sound network."""
        if ask.kind == "page":
            return page(ask)
        if ask.kind in {"scan", "sockets"}:
            return [[80, 443, self.other], 65535] if ask.kind == "scan" else []
        if ask.id.startswith("scan:"):
            return "refused"
        return "silent" if wanted[ask.id].expected is Expected.DENIED else OPEN

    def findings(self) -> list[ProbeFinding]:
        """Return the findings of one run."""
        return probe.run(self.site, self, lambda _line: None)


@pytest.fixture
def world(site: Topology) -> World:
    """Return a sound network."""
    return World(site, endpoints_of(site))


def of(world: World, expected: Expected) -> set[str]:
    """Return the cells with this expectation."""
    return {str(cell) for cell in world.questions if cell.expected is expected}


def test_what_is_allowed_is_what_flows_name(world: World, site: Topology) -> None:
    """The allowed cells are the declared flows; the internet's are probed at Docker-SRV's address."""
    asked = [f for f in site.flows if f.source != "internet" and f.destination != "proxmox-srv"]
    watchers = ("prometheus", "blackbox-exporter", "stranger@probe")
    assert of(world, Expected.ALLOWED) == {str(flow) for flow in asked} | {
        f"{source} -> docker-srv:{port}/tcp"
        for source in ("internet", "management", *watchers)
        for port in (80, 443)
    }


def test_a_probe_zone_sees_published_ports_and_nothing_else(world: World, site: Topology) -> None:
    """From a probe zone, Docker-SRV answers only on published 80 and 443, on no other port or address."""
    here = [c for c in world.questions if (c.source, c.destination) == ("stranger@probe", "docker-srv")]
    assert {(c.port, c.expected) for c in here} == {
        ("80/tcp", Expected.ALLOWED),
        ("443/tcp", Expected.ALLOWED),
        ("*/tcp", Expected.DENIED),
    }
    docker = site.docker.model_copy(update={"address": FRONT})
    there = cells(site.model_copy(update={"docker_hosts": (docker,)}), world.endpoints)
    open_at = {c.address.ip for c in there if (c.source, c.expected) == ("stranger@probe", Expected.ALLOWED)}
    assert open_at == {FRONT}


@pytest.mark.parametrize(
    "cell",
    [
        "internet -> traefik:443/tcp",
        "internet -> loki:3100/tcp",
        "internet -> node-exporter:*/tcp",
        "management -> vaultwarden:80/tcp",
        "traefik -> loki:3100/tcp",
        "traefik -> site-1:*/tcp",
        "grafana -> node-exporter:9100/tcp",
        "loki -> docker-srv:*/tcp",
        "loki -> docker-srv:443/tcp",
        "traefik -> internet:*/tcp",
        "vaultwarden -> internet:*/tcp",
        "vaultwarden -> traefik:443/tcp",
        "site-1 -> site-2:443/tcp",
        "site-1 -> site-2:icmp",
        "site-1 -> jellyfin:8096/tcp",
        "stranger@wordpress -> site-1:443/tcp",
        "stranger@backend -> grafana:3000/tcp",
    ],
)
def test_what_is_denied(world: World, cell: str) -> None:
    """Everything else is denied at every address: egress, the host, a guest's neighbours, other ports."""
    assert cell in of(world, Expected.DENIED)
    assert cell not in of(world, Expected.ALLOWED)


def test_every_cell_is_judged(world: World, site: Topology) -> None:
    """No cell of the sound site is without expectation; newcomers reach no port of a leg."""
    assert of(world, Expected.EITHER) == set()
    legs = site.legs.of(site.ingress.name)
    asked = {
        c.port: c.expected
        for c in world.questions
        if c.source == "stranger@wordpress" and c.address.network in legs
    }
    assert {asked[port] for port in ("443/tcp", "*/tcp")} == {Expected.DENIED}


def test_a_declared_flow_counts_at_the_shared_network(world: World) -> None:
    """Grafana must reach the gateway on query, and not at the gateway's address on backend."""
    flow = "grafana -> loki-gateway:3100/tcp"
    found = {c.address.network: c.expected for c in world.questions if str(c) == flow}
    assert found == {"query": Expected.ALLOWED, "backend": Expected.DENIED}


def test_the_ingress_is_heard_where_flows_come_from() -> None:
    """At its address on a network of a service with a flow, its other ports are judged by the probe's own."""
    site = load(changed({"flows[+]": "grafana -> traefik:443/tcp"}))
    frontend, edge = (site.address_on("traefik", site.zones[name]) for name in ("frontend", "edge"))

    def listener(network: str, ip: IPv4Address, port: str) -> str:
        where = Address(network=network, ip=ip, heard=heard(site, "traefik", network, ip))
        ends = {"source": "grafana", "destination": "traefik"}
        return Cell(**ends, port=port, address=where, expected=Expected.DENIED).target[1]

    assert listener("frontend", frontend, "443/tcp") == "443/tcp"
    assert listener("frontend", frontend, "80/tcp") == "*/tcp"
    assert listener("edge", edge, "80/tcp") == "80/tcp"
    assert listener("wordpress", IPv4Address("10.10.10.2"), "443/tcp") == "*/tcp"


def test_declared_egress_is_expected(site: Topology) -> None:
    """A flow to the internet is allowed on its port and on no other."""
    flow = site.flows[0].model_copy(
        update={"source": "traefik", "destination": "internet", "port": Port(number=8443)}
    )
    site = site.model_copy(update={"flows": (*site.flows, flow)})
    found = [
        replace(p, ports=(Port(number=8443),)) if p.name == "internet" else p for p in endpoints_of(site)
    ]
    world = World(site, found)
    assert "traefik -> internet:8443/tcp" in of(world, Expected.ALLOWED)
    assert {"traefik -> internet:*/tcp", "loki -> internet:8443/tcp"} <= of(world, Expected.DENIED)


def test_egress_by_its_own_zone_is_expected() -> None:
    """A member reaches its own ports on the internet; a newcomer there, and the host, none."""
    site = load(with_egress(configuration()))
    ports = (Port(number=443), Port(number=80))
    found = [replace(p, ports=ports) if p.name == "internet" else p for p in endpoints_of(site)]
    newcomer = (Address(network="egress", ip=IPv4Address("172.30.9.250")),)
    found.append(
        Endpoint(
            name="stranger@egress",
            kind=EndpointKind.MEMBER,
            addresses=newcomer,
            zones=frozenset({"egress"}),
        )
    )
    world = World(site, found)
    assert {"paperless -> internet:443/tcp", "crawler -> internet:80/tcp"} <= of(world, Expected.ALLOWED)
    assert {
        "paperless -> internet:80/tcp",
        "paperless -> internet:*/tcp",
        "crawler -> internet:443/tcp",
        "crawler -> paperless:8000/tcp",
        "crawler -> docker-srv:443/tcp",
        "crawler -> docker-srv:*/tcp",
        "crawler -> traefik:443/tcp",
        "stranger@egress -> internet:443/tcp",
        "stranger@egress -> docker-srv:443/tcp",
        "stranger@egress -> crawler:*/tcp",
        "stranger@backend -> internet:80/tcp",
        "internet -> paperless:8000/tcp",
        "loki -> internet:443/tcp",
    } <= of(world, Expected.DENIED)
    assert {finding.verdict for finding in world.findings()} == {Verdict.AGREES}


def test_what_a_router_passes_is_not_judged(site: Topology) -> None:
    """A guest's egress and management's flows to guests are EITHER: they pass a router outside the stack."""
    declared = (Flow.parse("site-1 -> internet:443/tcp"), Flow.parse("management -> site-1:443/tcp"))
    endpoints = [
        replace(endpoint, ports=(Port(number=443),)) if endpoint.name == "internet" else endpoint
        for endpoint in endpoints_of(site)
    ]
    routed = cells(site.model_copy(update={"flows": (*site.flows, *declared)}), endpoints)
    found = {str(cell): cell.expected for cell in routed}
    assert [found[str(flow)] for flow in declared] == [Expected.EITHER] * 2
    assert found["site-2 -> internet:443/tcp"] is Expected.DENIED
    assert found["internet -> site-1:443/tcp"] is Expected.DENIED


def test_an_address_of_proxmox_is_asked(site: Topology) -> None:
    """Where Proxmox-SRV has an address, management must reach its ports and no other source may."""
    where = (Address(network="proxmox", ip=IPv4Address("10.10.1.5")),)
    node = Endpoint(name="proxmox-srv", kind=EndpointKind.NODE, addresses=where, ports=site.proxmox.ports)
    world = World(site, [*endpoints_of(site), node])
    assert "management -> proxmox-srv:8006/tcp" in of(world, Expected.ALLOWED)
    assert {"internet -> proxmox-srv:8006/tcp", "site-1 -> proxmox-srv:22/tcp"} <= of(world, Expected.DENIED)
    assert {finding.verdict for finding in world.findings()} == {Verdict.AGREES}
    world.change = answer("internet", IPv4Address("10.10.1.5"), OPEN, 8006)
    (line,) = lines(world, Verdict.DISAGREES)
    assert "proxmox-srv's firewall lets in more than its flows name: is it on at datacenter and node?" in line


@pytest.mark.parametrize(("runs", "asked"), [(True, {"8006/tcp", "22/tcp"}), (False, set())])
def test_a_node_that_is_entered_is_asked_whether_it_listens(
    site: Topology, runs: bool, asked: set[str]
) -> None:
    """In the lab the node reports its own listeners; on a real node management's connections show them."""
    where = (Address(network="proxmox", ip=IPv4Address("10.10.1.5")),)
    ports = site.proxmox.ports
    node = Endpoint(name="proxmox-srv", kind=EndpointKind.NODE, addresses=where, ports=ports, runs=runs)
    assert {cell.port for cell in alive([node])} == asked


def test_a_sound_network_agrees(world: World) -> None:
    """Where the network does what is declared, no cell disagrees and no cell is inconclusive."""
    findings = world.findings()
    assert {finding.verdict for finding in findings} == {Verdict.AGREES}
    assert len(findings) > 800
    assert all(f.control for f in findings if f.verdict is Verdict.AGREES and f.expected == Expected.DENIED)


def lines(world: World, verdict: Verdict) -> list[str]:
    """Return the findings of a run that have this verdict, as text."""
    return [str(finding) for finding in world.findings() if finding.verdict is verdict]


def at(world: World, name: str, network: str) -> IPv4Address:
    """Return an endpoint's address on a network."""
    endpoint = next(endpoint for endpoint in world.endpoints if endpoint.name == name)
    return next(a.ip for a in endpoint.addresses if a.network == network and a.ip)


def answer(source: str, ip: IPv4Address, said: str, port: int | None = None) -> Callable[[str, Ask], object]:
    """Return a change of what one source gets from one address and port."""
    return lambda who, ask: (
        said if (who, ask.address, ask.port) == (source, ip, port) and ask.kind != "page" else None
    )


def test_an_open_denial_disagrees(world: World) -> None:
    """A denied connection that opens is reported with its cell, address and likely cause."""
    ip = at(world, "node-exporter", "backend")
    world.change = answer("grafana", ip, OPEN, 9100)
    (line,) = lines(world, Verdict.DISAGREES)
    assert line == (
        f"grafana -> node-exporter:9100/tcp at {ip} on backend: expected DENIED, got ALLOWED "
        "(likely cause: Docker-SRV forwards it: look for a rule, a masquerade or a published port)"
    )


@pytest.mark.parametrize(
    ("cell", "network", "port", "cause"),
    [
        (("site-1", "site-2"), "wordpress", 443, "site-2's firewall lets in more than its flows name: is it"),
        (("traefik", "site-2"), "wordpress", None, "lets in more than its flows name, on any port"),
        (("vaultwarden", "traefik"), "vault", 443, "vaultwarden's firewall lets out what no flow names"),
        (("loki", "docker-srv"), "br-edge", None, "Docker-SRV's input rules do not cover this bridge"),
        (("internet", "loki"), "backend", 3100, "Docker-SRV forwards it"),
    ],
)
def test_causes(world: World, cell: tuple[str, str], network: str, port: int | None, cause: str) -> None:
    """The likely cause names the part that should have stopped the connection."""
    world.change = answer(cell[0], at(world, cell[1], network), OPEN, port)
    (line,) = [one for one in lines(world, Verdict.DISAGREES) if ":icmp" not in one]
    assert cause in line


def test_missing_host_rules_are_named(world: World) -> None:
    """Where the project's nftables table is missing, the finding names that as the cause."""
    world.changed_rules = ["own rules"]
    world.change = answer("loki", at(world, "docker-srv", "br-edge"), OPEN)
    assert "Docker-SRV's own rules are missing" in lines(world, Verdict.DISAGREES)[0]


def test_changed_host_rules_are_told_without_a_cell(world: World) -> None:
    """Host rules that differ from the written ones are a finding, even when every cell agrees."""
    world.changed_rules = ["rules that let the probe zone see published ports"]
    (line,) = lines(world, Verdict.DISAGREES)
    assert "docker-srv's rules that let the probe zone see published ports" in line
    assert "`make up` puts them back" in line


def test_a_network_joined_by_hand_is_named(world: World) -> None:
    """A container attached by hand to an undeclared network is probed there, as source and as destination."""
    stray = Address(network="frontend", ip=IPv4Address("172.30.1.77"))
    world.endpoints = [
        replace(p, addresses=(*p.addresses, stray)) if p.name == "loki" else p for p in world.endpoints
    ]
    world.change = answer("traefik", IPv4Address("172.30.1.77"), OPEN, 3100)
    assert lines(world, Verdict.DISAGREES) == [
        (
            "traefik -> loki:3100/tcp at 172.30.1.77 on frontend: expected DENIED, got ALLOWED "
            "(likely cause: loki is on frontend, which is not declared)"
        ),
        (
            "loki is on frontend: expected no such thing, got one "
            "(likely cause: it was joined to that network by hand)"
        ),
    ]


def test_a_port_published_by_hand_is_named(world: World) -> None:
    """A published port without a flow is denied to every source, the internet first."""
    world.endpoints = [replace(p, extra=(Port(number=8099),)) if p.name == "docker-srv"
                    else p for p in world.endpoints]  # fmt: skip
    world.change = answer("internet", FRONT, OPEN, 8099)
    (line,) = lines(world, Verdict.DISAGREES)
    assert line.startswith("internet -> docker-srv:8099/tcp")
    assert "a container publishes this port" in line


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("refused", "nothing listens on loki-gateway's port"),
        ("silent", "dropped on the way"),
        ("unreachable", "no way there"),
        ("Too many open files", "the question itself failed"),
    ],
)
def test_a_closed_flow_disagrees(world: World, said: str, cause: str) -> None:
    """A declared flow that does not open disagrees, and the finding says what came back instead."""
    world.change = answer("promtail", at(world, "loki-gateway", "backend"), said, 3100)
    (line,) = lines(world, Verdict.DISAGREES)
    assert f"expected ALLOWED, got DENIED ({said}) (likely cause: {cause}" in line


def test_a_source_that_is_cut_off_is_inconclusive(world: World) -> None:
    """Where none of a source's packets pass, its denied cells prove nothing."""
    vm = at(world, "site-1", "wordpress")
    world.change = lambda who, ask: (
        "silent"
        if ask.kind != "page" and (who == "site-1" or (who == "traefik" and ask.address == vm))
        else None
    )
    inconclusive = [f for f in world.findings() if f.verdict is Verdict.INCONCLUSIVE]
    assert {f.cause for f in inconclusive if f.source == "site-1"} == {
        "no packet of site-1 was seen to pass in this run"
    }
    assert not [f for f in world.findings() if f.source == "site-1" and f.verdict is Verdict.AGREES]


def test_silence_of_one_who_does_not_listen_is_inconclusive(world: World) -> None:
    """A denial counts only if the destination was seen to listen in the same run."""
    vault = at(world, "vaultwarden", "vault")
    world.change = lambda _who, ask: "refused" if (ask.address, ask.port) == (vault, 80) else None
    causes = {f.cause for f in world.findings() if f.what == "internet -> vaultwarden:80/tcp"}
    assert causes == {"vaultwarden does not listen there, so silence says nothing"}


def test_an_agent_that_fails_is_inconclusive(world: World) -> None:
    """Only an answer of the network counts as a denial; a probe error or a missing answer does not."""
    ip = at(world, "loki", "backend")
    world.change = answer("internet", ip, "Too many open files", 3100)
    assert [f.verdict for f in world.findings() if f.what == "internet -> loki:3100/tcp"].count(
        Verdict.INCONCLUSIVE
    ) == 1
    seen = Seen(answers=dict.fromkeys(world.questions, NOT_THERE))
    judged = judge(world.questions, [], world.endpoints, seen)
    assert not [finding for finding in judged if finding.verdict is Verdict.AGREES]


def test_silence_over_udp_is_inconclusive(site: Topology) -> None:
    """A silent UDP port is inconclusive, because a listener may not answer."""
    found = [replace(p, ports=(Port.parse("53/udp"),)) if p.name == "loki" else p for p in endpoints_of(site)]
    verdicts = {f.verdict for f in World(site, found).findings() if f.what == "internet -> loki:53/udp"}
    assert verdicts == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("arrives", "verdict"),
    [("loki", Verdict.AGREES), ("grafana", Verdict.DISAGREES), ("", Verdict.INCONCLUSIVE)],
)
def test_what_arrives_over_udp_is_told_from_silence(site: Topology, arrives: str, verdict: Verdict) -> None:
    """A lost datagram is denied if one of the listener's own arrived; one that arrives is open."""
    found = [replace(p, ports=(Port.parse("53/udp"),)) if p.name == "loki" else p for p in endpoints_of(site)]
    world = World(site, found, change=silent_over_udp, arrives=lambda cell: cell.source == arrives)
    verdicts = {f.verdict for f in world.findings() if f.what == "grafana -> loki:53/udp"}
    assert verdicts == {verdict}


def silent_over_udp(_source: str, ask: Ask) -> str | None:
    """Answer no question over UDP."""
    return "silent" if ask.kind == "udp" else None


@pytest.mark.parametrize("arrives", [True, False])
def test_a_published_port_over_udp_is_judged_at_the_ingress(arrives: bool) -> None:
    """What is sent from outside to Docker-SRV's port has to arrive at the ingress, which says nothing."""
    names = {"zones": ["frontend"], "image": "example/names:1", "ports": ["53/udp"], "streams": ["53:53/udp"]}
    flows = [*configuration()["flows"], "internet -> traefik:53/udp", "traefik -> names:53/udp"]
    keys = {"services.names": names, "services.traefik.ports": [80, 443, "53/udp"], "flows": flows}
    site = load(changed(keys))
    found = [replace(p, ports=site.published) if p.name == "docker-srv" else p for p in endpoints_of(site)]
    world = World(site, found, change=silent_over_udp, arrives=lambda _cell: arrives)
    (seen,) = (f for f in world.findings() if f.what == "internet -> docker-srv:53/udp")
    assert seen.verdict is (Verdict.AGREES if arrives else Verdict.DISAGREES)
    world.arrives = None
    (unknown,) = (f for f in world.findings() if f.what == "internet -> docker-srv:53/udp")
    assert unknown.verdict is Verdict.FREE


def test_a_stopped_service_is_named(world: World) -> None:
    """For a stopped service a declared flow disagrees and a denial is inconclusive, both with the reason."""
    world.endpoints = [
        replace(p, addresses=tuple(replace(a, ip=None) for a in p.addresses)) if p.name == "loki" else p
        for p in world.endpoints
    ]
    assert {line.rpartition("cause: ")[2] for line in lines(world, Verdict.DISAGREES)} == {
        "loki does not run)"
    }
    assert {f.cause for f in world.findings() if f.source == "loki" and f.verdict is not Verdict.FREE} == {
        "loki does not run"
    }


@pytest.mark.parametrize(
    ("mark", "said", "words"),
    [
        ("page:site-1.homelab.localhost", {"status": 502, "title": "", "location": ""}, "elsewhere"),
        ("page:site-1.homelab.localhost", {"status": 200, "title": "Other", "location": ""}, "elsewhere"),
        ("page:site-1.homelab.localhost", "certificate verify failed", "does not serve it"),
        (
            "page:prometheus.homelab.localhost",
            {"status": 200, "title": "prometheus.homelab.localhost", "location": ""},
            "without asking for a login",
        ),
        ("unknown", {"status": 200, "title": "x", "location": ""}, "a route catches every host name"),
        ("redirect", {"status": 200, "title": "x", "location": ""}, "more than redirect"),
        (
            "redirect",
            {"status": 200, "title": "x", "location": "https://grafana.homelab.localhost/"},
            "more than redirect",
        ),
    ],
)
def test_routes(world: World, mark: str, said: object, words: str) -> None:
    """Each route serves its page or asks for a login; an unknown host name gets 404; port 80 redirects."""
    world.change = lambda who, ask: said if (who, ask.id) == ("internet", mark) else None
    (line,) = lines(world, Verdict.DISAGREES)
    assert words in line


@pytest.mark.parametrize(
    ("status", "right"), [(401, True), (302, True), (200, False), (500, False), (404, False)]
)
def test_a_login_by_a_service(status: int, right: bool) -> None:
    """A service behind another's login answers a stranger with a refusal, or the way to the login page."""
    route = Route(
        port=Port(number=1),
        service="photos",
        host="photos.x",
        url="http://photos:1",
        stated_login="auth",
        login_url="http://a/",
    )
    page = {"status": status, "title": "Photos", "location": ""}
    (found,) = judge_routes([route], {"photos.x": page}, {"photos.x": page | {"status": 200}})
    assert (found.verdict is Verdict.AGREES) is right


def test_a_path_is_asked_as_it_is_served() -> None:
    """The probe asks the ingress for the route's path, and the service for what is left of it."""
    changes: dict[str, Any] = {"host": "site-1", "paths": ["/photos"], "strip-paths": True}
    site = load(changed({f"services.jellyfin.{key}": value for key, value in changes.items()}))
    world = World(site, endpoints_of(site))
    asked: dict[tuple[str, str], str] = {}
    world.change = lambda who, ask: asked.setdefault((who, ask.id), ask.path) and None
    assert not lines(world, Verdict.DISAGREES)
    mark = "page:site-1.homelab.localhost"
    assert {where: asked[where] for where in asked if where[1].startswith(mark)} == {
        ("internet", mark): "/",
        ("traefik", mark): "/",
        ("internet", f"{mark}/photos"): "/photos/",
        ("traefik", f"{mark}/photos"): "/",
    }


def test_a_listener_that_nobody_declared_is_seen(world: World) -> None:
    """A guest that listens on an undeclared port fails the run, even if its firewall blocks that port."""
    world.endpoints = [
        replace(p, extra=(Port(number=9999),)) if p.name == "jellyfin" else p for p in world.endpoints
    ]
    (line,) = lines(world, Verdict.DISAGREES)
    assert line.startswith("jellyfin listens on 9999/tcp: expected no such thing, got one")


def test_a_leg_that_nobody_declared_is_seen(world: World) -> None:
    """A container on an undeclared network fails the run, even if no connection opens."""
    leg = Address(network="edge", ip=IPv4Address("172.30.0.99"))
    world.endpoints = [
        replace(p, addresses=(*p.addresses, leg)) if p.name == "prometheus" else p for p in world.endpoints
    ]
    told = [line for line in lines(world, Verdict.DISAGREES) if line.startswith("prometheus is on edge:")]
    assert len(told) == 1
    assert "it was joined to that network by hand" in told[0]


def test_a_service_without_a_page_is_seen(world: World) -> None:
    """A route does not agree when the ingress and the service fail in the same way."""
    world.change = lambda _who, ask: "refused" if ask.id == "page:site-1.homelab.localhost" else None
    (line,) = lines(world, Verdict.DISAGREES)
    assert "site-1 itself gave the ingress no page" in line


def test_a_service_that_fails_is_seen(world: World) -> None:
    """A route does not agree when the service answers 5xx, although the ingress passes the same page on."""
    page = {"status": 500, "title": "", "location": ""}
    world.change = lambda _who, ask: page if ask.id == "page:site-1.homelab.localhost" else None
    (line,) = lines(world, Verdict.DISAGREES)
    assert "site-1 itself answers 500" in line


def made(world: World) -> report.ProbeReport:
    """Return the report of one run."""
    return report.ProbeReport(
        stack="dev", seconds=1.5, findings=world.findings(), left_out=["x: reason"], notes=["y"], pairs=7
    )


def test_report_of_a_sound_network(world: World) -> None:
    """The table has one row per source, and ends with the cells left out and the counts."""
    found = made(world)
    text = report.text(found)
    assert "✗" not in text.split("\n", 1)[1]
    row = next(line for line in text.splitlines() if line.split()[1:2] == ["grafana"])
    assert set(row.split()[2:]) <= set("●·○")
    counts = f"{found.counts['agrees']} as declared"
    assert text.splitlines()[-4:] == [
        "not asked: x: reason",
        "note: y",
        f"{len(found.findings)} cells in 1.5 s: {counts}",
        "7 pairs asked of the proof as well: declared, proved and live agree",
    ]
    assert found.good


def finding(what: str, cause: str) -> ProbeFinding:
    """Return a disagreement."""
    return ProbeFinding(
        source="a", destination=what, what=f"a -> {what}:80/tcp", where="10.0.0.1 on x", expected="ALLOWED",
        got="DENIED", verdict=Verdict.DISAGREES, cause=cause,
    )  # fmt: skip


def test_many_disagreements_of_one_cause_are_told_once() -> None:
    """Thirty disagreements with one cause are one line with it, and thirty places; few stay as they are."""
    many = [finding(f"b{number}", "the switch is off") for number in range(30)]
    few = [finding(f"c{number}", "c is down") for number in range(3)]
    run = report.ProbeReport(stack="dev", seconds=1.0, findings=[*many, *few, finding("d", "")])
    lines = report.text(run).splitlines()
    assert [line for line in lines if line.startswith("✗")] == [
        "✗ 30 disagree, with one likely cause: the switch is off",
        *(f"✗ {each}" for each in few),
        "✗ a -> d:80/tcp at 10.0.0.1 on x: expected ALLOWED, got DENIED",
    ]
    places = [line for line in lines if line.startswith("    a -> b")]
    assert (len(places), places[0]) == (
        30,
        "    a -> b0:80/tcp at 10.0.0.1 on x: expected ALLOWED, got DENIED",
    )


def test_a_route_and_a_published_port_stand_where_the_page_has_them() -> None:
    """A published port is the ingress's in the matrix, and a route the service's, as on the page."""
    common: dict[str, Any] = {"source": "internet", "expected": "ALLOWED", "got": "ALLOWED"}
    port = ProbeFinding(
        destination="docker-srv", what="internet -> docker-srv:443/tcp", where="10.0.0.1 on x",
        verdict=Verdict.AGREES, **common,
    )  # fmt: skip
    page = replace(port, destination="grafana", what="https://grafana.x/", where="")
    published = {"docker-srv:443/tcp": "traefik"}
    run = report.ProbeReport(stack="dev", seconds=1.0, findings=[port, page], published=published)
    lines = report.text(run).splitlines()
    assert [line.split() for line in lines[2:6]] == [
        ["1", "2"],
        ["internet", "●", "◐"],
        ["1", "traefik"],
        ["2", "grafana"],
    ]


def test_the_matrix_has_the_pages_signs() -> None:
    """The signs of the terminal's matrix are in the page's script, for the same things."""
    script = (PROJECT / "report/assets/page.js").read_text(encoding="utf-8")
    for sign, word in (
        ("●", "declared"),
        ("◐", "proxied"),
        ("·", "denied"),
        ("✗", "disagrees"),
        ("?", "inconclusive"),
    ):
        assert f'{word}: ["{sign}"' in script
        assert (
            f"{sign} "
            in report.text(report.ProbeReport(stack="dev", seconds=1.0, findings=[])).splitlines()[0]
        )


def test_report_of_a_quarrel(world: World) -> None:
    """One disagreement fails the run and appears in every form of the report."""
    world.change = answer("site-1", at(world, "site-2", "wordpress"), OPEN, 443)
    found = made(world)
    text, tree = report.text(found), ET.fromstring(report.as_junit(found))  # noqa: S314  # our own
    assert not found.good
    assert "✗ site-1 -> site-2:443/tcp at 10.10.10.12 on wordpress: expected DENIED, got ALLOWED" in text
    assert (tree.get("tests"), tree.get("failures"), tree.get("errors")) == (
        str(len(found.findings)),
        "1",
        "0",
    )
    assert len(tree.findall("testcase/failure")) == 1
    told = json.loads(report.as_json(found))
    assert (told["schemaVersion"], told["good"], told["counts"]["disagrees"]) == (1, False, 1)
    (cell,) = [cell for cell in told["cells"] if cell["verdict"] == "disagrees"]
    assert (cell["source"], cell["destination"], cell["expected"]) == ("site-1", "site-2", "DENIED")


def test_inconclusive_fails_and_is_grouped(world: World) -> None:
    """A cause that makes many cells inconclusive is reported once, with their number, and fails the run."""
    world.endpoints = [
        replace(p, addresses=tuple(replace(a, ip=None) for a in p.addresses)) if p.name == "cadvisor" else p
        for p in world.endpoints
    ]
    found = made(world)
    told = [line for line in report.text(found).splitlines() if line.startswith("? ")]
    assert not found.good
    assert len(told) == 1
    assert told[0].endswith("cadvisor does not run")


def test_nothing_asked_is_not_good() -> None:
    """A run without cells is not successful."""
    empty = report.ProbeReport(stack="dev", seconds=0, findings=[])
    assert not empty.good
    assert "nothing was asked" in report.text(empty)


def opened(stack: Stack) -> None:
    """Attach Traefik to query, the gateway's network."""
    stack.inputs("container", "traefik")["networksAdvanced"].append({"name": "query"})


def closed(stack: Stack) -> None:
    """Remove every rule of Site-1's security group."""
    stack.inputs("group", "site-1")["rules"] = []


@pytest.mark.parametrize(
    ("cell", "change", "live", "odd"),
    [
        ("traefik -> loki-gateway:3100/tcp", None, OPEN, "the live network"),
        ("traefik -> site-1:443/tcp", None, "silent", "the live network"),
        ("traefik -> loki-gateway:3100/tcp", opened, None, "the proof"),
        ("traefik -> site-1:443/tcp", closed, None, "the proof"),
        ("traefik -> loki-gateway:3100/tcp", opened, OPEN, "the declaration"),
        ("traefik -> site-1:443/tcp", closed, "silent", "the declaration"),
        ("internet -> docker-srv:443/tcp", None, "silent", "the live network"),
    ],
)
def test_the_odd_one_is_named(
    world: World, cell: str, change: Callable[[Stack], None] | None, live: object, odd: str
) -> None:
    """If one of declared flows, proof and live network differs from the other two, it is named."""
    wanted = {str(n): question for n, question in enumerate(world.questions)}
    world.change = lambda _who, ask: live if str(wanted.get(ask.id)) == cell else None
    stack = sound()
    if change:
        change(stack)
    found, _ = proof.compared(world.findings(), reachability(stack, world.site), world.site)
    assert {f.odd for f in found if f.what == cell and f.verdict is Verdict.DISAGREES} == {odd}


def test_all_three_agree_on_the_sound_site(world: World) -> None:
    """On the sound site the three agree, and more than 300 pairs have a verdict from each."""
    findings = world.findings()
    found, pairs = proof.compared(findings, reachability(sound(), world.site), world.site)
    assert found == findings
    assert pairs > 300


def reachability(stack: Stack, site: Topology) -> Reachability:
    """Return what the resources of a stack make possible."""
    return Graph(tuple(map(view, stack.resources)), TopologyIndex.of(site)).reachability


def test_only_the_sites_addresses_are_asked(site: Topology) -> None:
    """An address outside the site's zones and the run's own is refused before any packet is sent."""
    ask = Ask(id="0", kind="tcp", address=IPv4Address("203.0.113.9"), port=80)
    probe.fence(site, {ask.address}, [ask])
    probe.fence(site, set(), [replace(ask, address=IPv4Address("10.10.10.11"))])
    with pytest.raises(ProbeError, match=r"203\.0\.113\.9: not an address of the site"):
        probe.fence(site, set(), [ask])


def test_positives_are_patient_and_denials_are_not(world: World) -> None:
    """A connection that should open is retried within a limit; one that should not is tried once."""
    asked: dict[str, list[Ask]] = {}

    def note(source: str, ask: Ask) -> None:
        asked.setdefault(source, []).append(ask)

    world.change = note
    world.findings()
    wanted = {str(n): cell for n, cell in enumerate([*world.questions, *alive(world.endpoints)])}
    patient = {
        wanted[a.id].expected for asks in asked.values() for a in asks if a.within and a.kind != "page"
    }
    hasty = {wanted[a.id].expected for asks in asked.values() for a in asks
             if not a.within and a.port is not None and a.kind == "tcp"}  # fmt: skip
    assert patient == {Expected.ALLOWED}
    assert hasty == {Expected.DENIED}


def container(name: str, ip: Mapping[str, str], ports: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the part of a container's `docker inspect` that the discovery reads."""
    return {
        "Name": f"/{name}",
        "State": {"Running": bool(ip), "Pid": 4711},
        "Config": {"ExposedPorts": {"9999/tcp": {}}},
        "NetworkSettings": {
            "Ports": ports or {},
            "Networks": {network: {"IPAddress": address} for network, address in ip.items()},
        },
    }


def discovered(site: Topology, containers: Iterable[Mapping[str, Any]] = (), **how: bool) -> Discovery:
    """Return the discovery of a machine without guests of the lab."""
    discovery = Discovery(site, Path("known_hosts"), **{"guests_here": False, **how})
    discovery.discover(containers)
    return discovery


def test_survey_reads_what_runs(site: Topology) -> None:
    """Addresses are read by zone, none for stopped containers; extra networks and containers are found."""
    discovery = discovered(
        site,
        [
            container("traefik", {"edge": "172.30.0.2", "frontend": "172.30.1.2", "vlan10": "10.10.10.2"}),
            container("loki", {"backend": "172.30.3.3", "frontend": "172.30.1.9"}),
            container("grafana", {}),
            container("rogue", {"backend": "172.30.3.99"}),
            container("elsewhere", {"bridge": "172.17.0.2"}),
        ],
    )
    by_name = {endpoint.name: endpoint for endpoint in discovery.containers}
    assert {a.network: str(a.ip) for a in by_name["traefik"].addresses} == {
        "apps": "None",
        "edge": "172.30.0.2",
        "frontend": "172.30.1.2",
        "vault": "None",
        "wordpress": "10.10.10.2",
    }
    assert {a.network for a in by_name["loki"].addresses} - by_name["loki"].zones == {"frontend"}
    assert (by_name["grafana"].there, by_name["loki"].there) == (False, True)
    assert (by_name["rogue"].zones, by_name["rogue"].ports) == (frozenset(), (Port(number=9999),))
    assert "elsewhere" not in by_name
    assert discovery.transports["loki"].words[:2] == ("nsenter", "--net=/proc/4711/ns/net")
    assert "grafana" not in discovery.transports


def test_ipv6_and_names_of_others_are_found(world: World, site: Topology) -> None:
    """An IPv6 address, and an alias that is another service's name in any case, are findings with causes."""
    loki = container("loki", {"backend": "172.30.3.3", "my-net": "198.51.100.2"})
    joined = loki["NetworkSettings"]["Networks"]
    joined["backend"] |= {"GlobalIPv6Address": "fd00::3", "Aliases": ["loki", "Promtail", "4711abcd"]}
    joined["my-net"] |= {"GlobalIPv6Address": "fd00::4", "Aliases": ["promtail"]}
    (found,) = (p.oddities for p in discovered(site, [loki]).containers if p.name == "loki")
    world.endpoints = [replace(p, oddities=found) if p.name == "loki" else p for p in world.endpoints]
    assert [line.partition(":")[0] for line in lines(world, Verdict.DISAGREES)] == [
        "loki has fd00",
        "loki is called promtail on backend",
    ]
    assert "with this alias" in lines(world, Verdict.DISAGREES)[1]


def test_survey_finds_published_ports(site: Topology) -> None:
    """Only the ingress's published ports belong to a flow of the internet; a port on loopback is ignored."""

    def published(*binding: tuple[str, str]) -> dict[str, Any]:
        return {"80/tcp": [{"HostIp": ip, "HostPort": port} for ip, port in binding], "1/tcp": None}

    discovery = discovered(
        site,
        [
            container("traefik", {}, published(("0.0.0.0", "80"), ("0.0.0.0", "8080"))),  # noqa: S104  # Docker's words
            container("loki", {}, published(("127.0.0.1", "3100"), ("192.0.2.2", "443"))),
        ],
    )
    assert discovery.extra == (Port(number=443), Port(number=8080))


def test_other_containers_are_a_note(site: Topology) -> None:
    """A foreign container's published port is noted, and is a finding only on a network of the site."""
    ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8099"}]}  # noqa: S104  # Docker's words
    mine = container("mine", {"my-net": "198.51.100.2"}, ports)
    assert discovered(site, [mine]).extra == ()
    assert [*host.others(site, [mine])] == ["container mine, not of this site, publishes 8099/tcp"]
    joined = container("mine", {"edge": "172.30.0.9"}, ports)
    assert discovered(site, [joined]).extra == (Port(number=8099),)
    assert [*host.others(site, [joined])] == []


@pytest.mark.parametrize(
    ("version", "told"), [("20.10.24+dfsg1", "Docker 20.10.24+dfsg1 ignores"), ("29.0.1", "")]
)
def test_an_engine_that_ignores_a_gateway_mode_is_told(
    monkeypatch: pytest.MonkeyPatch, version: str, told: str
) -> None:
    """Where the engine ignores the strictest gateway mode, the report says so."""
    monkeypatch.setattr(host, "run", lambda *_: f"{version}\n")
    assert "".join(host.notes()).startswith(told)
    assert bool(host.notes()) is bool(told)


DROPS = {
    "28": "*raw\n-A PREROUTING -d 172.30.9.2/32 ! -i {bridge} -j DROP\nCOMMIT\n",
    "29-nftables": '\t\tip daddr 172.30.9.2 iifname != "{bridge}" counter packets 0 bytes 0 drop '
    'comment "DROP DIRECT ACCESS"\n',
}


@pytest.mark.parametrize("engine", DROPS)
@pytest.mark.parametrize(("bridge", "dropped"), [("br-probe", True), ("br-edge", False)])
def test_probe_network_of_an_older_engine_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, site: Topology, engine: str, bridge: str, dropped: bool
) -> None:
    """A probe network whose replies the engine drops is replaced; drops for others are the engine's."""
    monkeypatch.setattr(host, "OWN", {})
    monkeypatch.setattr(host, "run", lambda *_: DROPS[engine].format(bridge=bridge))
    network = ("docker:index/network:Network::probe", "gateway mode of network probe")
    assert [*host.changed(site)] == ([network] if dropped else [])


def test_documentation_prefix_is_nobodys() -> None:
    """The internet side uses a documentation prefix that overlaps no network of this machine."""
    taken = [IPv4Network("198.51.0.0/16"), IPv4Network("203.0.113.0/25")]
    assert namespaces.documentation([]) == IPv4Network("198.51.100.0/30")
    assert namespaces.documentation(taken) == IPv4Network("192.0.2.0/30")
    with pytest.raises(ProbeError, match="documentation prefixes"):
        namespaces.documentation([IPv4Network("0.0.0.0/0")])


@pytest.mark.parametrize(
    ("endpoint", "address", "here"),
    [
        ("https://127.0.0.1:8006/", IPv4Address("127.0.0.1"), True),
        ("https://localhost:8006/", None, True),
        ("https://proxmox-srv:8006/", None, False),
        ("https://10.10.1.5:8006/", IPv4Address("10.10.1.5"), False),
    ],
)
def test_where_the_proxmox_side_is(
    tmp_path: Path, endpoint: str, address: IPv4Address | None, here: bool
) -> None:
    """Proxmox-SRV is probed where its endpoint is an address; guests are entered where it is loopback."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(f"config: {{'proxmoxve:endpoint': '{endpoint}'}}")
    host_name = command.proxmox_host(file)
    assert (discovery_address(host_name), vantages.loopback(host_name)) == (address, here)


def test_guests_of_another_machine_are_asked_and_ask_nobody(site: Topology, world: World) -> None:
    """A guest that can't be entered is probed on its declared ports and is no source, and the run says so."""
    discovery = discovered(site)
    endpoints = discovery.endpoints({}, 4711, None)
    assert "site-1 as a source: it is a guest of another machine; add vantages.site-1" in discovery.left_out
    strangers = [endpoint for endpoint in endpoints if endpoint.kind is EndpointKind.GUEST]
    world.endpoints = [p for p in world.endpoints if p.kind is not EndpointKind.GUEST] + strangers
    guests = {endpoint.name for endpoint in strangers}
    asked = [cell for cell in world.questions if cell.destination in guests]
    assert {cell.source for cell in world.questions} & guests == set()
    assert {cell.port for cell in asked if cell.destination == "site-1"} == {"443/tcp"}
    assert [str(f) for f in world.findings() if f.verdict in {Verdict.DISAGREES, Verdict.INCONCLUSIVE}] == []


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the command believe that it runs as root, and leave signal handlers alone."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("words", "engine", "said"),
    [
        ("--stack nope", "", "Pulumi.nope.yaml: no such stack file"),
        ("--jobs 0", "", "--jobs: 0 is not a number of endpoints"),
        ("", "ssh://docker-srv", "DOCKER_HOST: Docker-SRV is another machine"),
        ("", "unix:///nowhere/docker.sock", "Is the stack up (`make up`)"),
    ],
)
def test_bad_input(
    root: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, engine: str, said: str
) -> None:
    """Each reason that prevents a run is printed as a message, with exit status 2."""
    root.setenv("DOCKER_HOST", engine)
    assert command.main(words.split()) == 2
    assert said in capsys.readouterr().err


def test_only_root_may(root: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without root the command ends with a message before anything else."""
    root.setattr("os.geteuid", lambda: 1000)
    assert command.main([]) == 2
    assert "verify: needs root" in capsys.readouterr().err


def test_a_stack_that_is_down_says_so(root: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no container of the stack runs, nothing is probed and nothing is created."""
    root.setattr(host, "containers", lambda: [container("loki", {})])
    root.setattr(namespaces, "run", lambda *words: pytest.fail(f"ran {words}"))
    assert command.main([]) == 2
    assert (
        capsys.readouterr().err == "stack dev: down, none of its containers runs; run `make up STACK=dev`\n"
    )


class Web(BaseHTTPRequestHandler):
    """A server of one page with a title."""

    def do_GET(self) -> None:
        """Answer with the requested host name."""
        body = f"<title> {self.headers['Host']} &amp; co </title>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def web() -> Iterator[int]:
    """Start a web server on loopback; yields its port."""
    with HTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_agent_listens_asks_and_ends(web: int) -> None:
    """The agent binds free ports, tells open from refused, retries within its limit, ends with its input."""
    free = next(vantages._free_ports())

    def ask(number: str, port: int, **more: object) -> dict[str, object]:
        given = {"id": number, "kind": "tcp", "address": "127.0.0.1", "port": port, "within": 0}
        return {**given, **more}

    asks = [
        ask("own", free),
        ask("web", web),
        ask("shut", 1),
        ask("patient", 1, within=0.5),
        ask("udp", 1, kind="udp"),
        ask("page", web, kind="page", path="/", host="a.b", sni=""),
    ]
    with subprocess.Popen(
        [sys.executable, "-I", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        said, _ = agent.communicate(
            json.dumps({"listen": [free, web]}) + "\n" + json.dumps({"ask": asks, "authorities": ""}) + "\n",
            timeout=120,
        )
    first, second = map(json.loads, said.splitlines())
    assert (agent.returncode, {free, web} & {*first["listeners"]}) == (0, {free})
    assert (first["pings"], "127.0.0.1" in first["addresses"]) == (True, False)
    assert second["answers"] == {
        "own": "open",
        "web": "open",
        "shut": "refused",
        "patient": "refused",
        "udp": "refused",
        "page": {"status": 200, "title": "a.b & co", "location": ""},
    }


def test_the_agent_checks_who_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS page counts only if the certificate is for the name and from the authority of the question."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    certificate, key = tls.leaf("site-1", ["site-1"])
    own = tls.authority()[0].read_text()
    monkeypatch.setattr(paths, "STATE", tmp_path / "another")
    strange = tls.authority()[0].read_text()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    asks = [
        {
            "id": f"{name} {number}",
            "kind": "page",
            "path": "/",
            "address": "127.0.0.1",
            "within": 0,
            "host": "a.b",
            "sni": name,
        }
        | {"authorities": authority}
        for name in ("site-1", "site-2")
        for number, authority in enumerate((own, strange, ""))
    ]
    with HTTPServer(("127.0.0.1", 0), Web) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = json.dumps(
            {"ask": [ask | {"port": server.server_port} for ask in asks], "authorities": strange}
        )
        done = subprocess.run(
            [sys.executable, "-I", AGENT], input=f"{{}}\n{said}\n", capture_output=True, text=True, check=True
        )
        server.shutdown()
    answers = json.loads(done.stdout.splitlines()[1])["answers"]
    assert [name for name, answer in answers.items() if isinstance(answer, dict)] == ["site-1 0"]
    assert "Hostname mismatch" in answers["site-2 0"]


def test_guests_are_asked_as_the_ingress_asks_them(world: World) -> None:
    """Guests are asked by TLS under their own name and authority, if declared; a missing file is a fault."""
    asked: dict[str, Ask] = {}
    world.change = lambda who, ask: asked.update({ask.host: ask}) if who == "traefik" and ask.host else None
    world.findings()
    told = {host.partition(".")[0]: (ask.sni, ask.authorities) for host, ask in asked.items()}
    assert (told["site-1"], told["jellyfin"]) == (("site-1", CERTIFICATE), ("", ""))
    Path(os.environ["HOMELAB_STATE"], "tls/ca.crt").unlink()
    with pytest.raises(ProbeError, match=r"^services\.site-1\.ca-file: .*/ca\.crt: No such file"):
        world.findings()


def test_the_agent_tries_again() -> None:
    """A connection that opens within the limit counts as open, even if the first attempt was refused."""
    port = next(vantages._free_ports())
    ask = {"id": "late", "kind": "tcp", "address": "127.0.0.1", "port": port, "within": 60}
    with subprocess.Popen(
        [sys.executable, "-I", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdin
        assert agent.stdout
        print("{}", json.dumps({"ask": [ask], "authorities": ""}), sep="\n", file=agent.stdin, flush=True)
        agent.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            agent.wait(1)
        with HTTPServer(("127.0.0.1", port), Web):
            said = json.loads(agent.stdout.readline())
        agent.stdin.close()
    assert said["answers"] == {"late": "open"}


def test_an_agent_that_is_told_nothing_ends() -> None:
    """The end of input ends the agent, so a killed probe leaves none behind."""
    done = subprocess.run(
        [sys.executable, "-I", AGENT], input="", capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout).keys() == {"addresses", "listeners", "pings"}


def test_an_agent_works_without_packet_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel lacks such sockets, as in some containers, what arrives is unknown."""
    monkeypatch.setattr(socket, "AF_PACKET", 255)
    assert agent_program.arrived(agent_program.watching()) is None
