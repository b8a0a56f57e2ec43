"""What Docker-SRV shows of itself: what the probe asks, what it makes of it, and what the agent finds."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.policies.test_closed import keys
from tests.unit.test_verify import AGENT, FRONT, World, endpoints_of
from topology.config import load
from topology.model import Port, Topology
from verify import exposed, report
from verify.driver import Answers
from verify.expect import Address, EndpointKind, Expected, cells
from verify.verdicts import ProbeFinding, Verdict

pytestmark = pytest.mark.usefixtures("authority")
EVERY = 65535
OTHER = 60999


@pytest.fixture
def closed(authority: None) -> Topology:
    """Return the site with a closed Docker host."""
    del authority
    return load(keys())


def judged(site: Topology, answers: Mapping[str, Mapping[str, object]], **host: Any) -> list[ProbeFinding]:
    """Return the findings for answers by source; both machines outside found nothing unless they say so."""
    nothing = {"internet": {"scan": [[], EVERY]}, "management": {"scan": [[], EVERY]}}
    given = {name: Answers(by_id=by_id) for name, by_id in {**nothing, **answers}.items()}
    ends = [replace(e, **host) if e.kind is EndpointKind.HOST else e for e in endpoints_of(site)]
    return exposed.judge(site, ends, given, OTHER)


def test_outside_asks_every_port_and_the_host_whose_they_are(site: Topology) -> None:
    """Each machine outside scans the address at which it reaches the host, which is told what is inside."""
    asked = [*exposed.asks(site, endpoints_of(site))]
    scans = [(source, str(ask.address)) for source, ask in asked if ask.kind == "scan"]
    assert scans == [("internet", str(FRONT)), ("management", str(FRONT))]
    assert {ask.port for _, ask in asked if ask.kind == "udp"} == {*exposed.COMMON_UDP}
    (prefixes,) = (ask.host.split() for source, ask in asked if source == "docker-srv")
    assert "172.30.3.0/24" in prefixes
    assert "172.30.0.0/24" not in prefixes
    assert "10.10.30.0/24" in prefixes
    assert "10.10.1.0/24" not in prefixes


def test_an_open_host_shows_its_ports(site: Topology, closed: Topology) -> None:
    """An undeclared port is in a note with its process, and no finding; published ones are cells."""
    sockets = [["22/tcp", "sshd (pid 1)", []], ["53/udp", "", []]]
    scan: Mapping[str, object] = {
        "scan": [[22, 80, 443, OTHER], EVERY],
        "scan:53": "open",
        "scan:123": "silent",
    }
    given: Mapping[str, Mapping[str, object]] = {
        "internet": scan,
        "management": {"scan": [[80], EVERY]},
        "docker-srv": {"sockets": sockets},
    }
    assert judged(site, given) == []
    answers = {name: Answers(by_id=by_id) for name, by_id in given.items()}
    shown = "22/tcp (sshd (pid 1)), 53/udp (a program that can't be seen from here)"
    assert [*exposed.notes(site, endpoints_of(site), answers, OTHER)] == [
        f"docker-srv is open: internet reaches {shown}",
        "docker-srv is open: management reaches no other port",
    ]
    del answers["docker-srv"]
    first_note, *_ = exposed.notes(closed, endpoints_of(closed), answers, OTHER)
    assert "no agent runs there" in first_note
    answers["docker-srv"] = Answers(by_id=given["docker-srv"])
    assert [*exposed.notes(closed, endpoints_of(closed), answers, OTHER)] == []


def test_a_closed_host_shows_none(closed: Topology) -> None:
    """A scan that finds nothing agrees, one that finds a port disagrees and names the process."""
    found = judged(closed, {})
    assert [(f.what, f.verdict) for f in found] == [
        (f"{source} -> docker-srv: other ports", Verdict.AGREES) for source in ("internet", "management")
    ]
    sockets = {"sockets": [["9999/tcp", "python3 (pid 8)", []]]}
    found = judged(closed, {"internet": {"scan": [[9999], EVERY]}, "docker-srv": sockets})
    wrong = [(f.what, f.cause) for f in found if f.verdict is Verdict.DISAGREES]
    assert wrong == [
        ("internet -> docker-srv: other ports", "its own rules let in more than is declared"),
        ("internet -> docker-srv:9999/tcp", "python3 (pid 8) answers there"),
    ]


@pytest.mark.parametrize("answer", [{}, {"scan": "silent"}, {"scan": [[], 40000]}])
def test_a_scan_that_did_not_end_is_inconclusive(
    site: Topology, closed: Topology, answer: dict[str, object]
) -> None:
    """A scan of a closed host that was cut off proves nothing; of an open one the note says so."""
    first, *_ = judged(closed, {"internet": answer})
    assert (first.source, first.verdict) == ("internet", Verdict.INCONCLUSIVE)
    assert judged(site, {"internet": answer}) == []
    first_note, *_ = exposed.notes(site, endpoints_of(site), {"internet": Answers(by_id=answer)}, OTHER)
    assert "asked" in first_note


def test_a_relay_on_the_host_is_named(site: Topology) -> None:
    """A program that leads on to a container is found, open host or not; Docker's own proxies are none."""
    loki = next(a.ip for e in endpoints_of(site) if e.name == "loki" for a in e.addresses)
    sockets = [
        ["9999/tcp", "socat (pid 77)", [f"{loki}:3100"]],
        ["443/tcp", "docker-proxy (pid 5)", ["172.30.0.2:443"]],
    ]
    (found,) = judged(site, {"docker-srv": {"sockets": sockets}})
    assert (found.what, found.verdict) == (
        "docker-srv passes 9999/tcp on to loki:3100/tcp",
        Verdict.DISAGREES,
    )
    assert "socat (pid 77)" in found.cause


@pytest.mark.parametrize(
    ("network", "ip", "zone"),
    [
        ("eth7", "10.10.10.77", "wordpress"),
        ("trunk.10", "192.0.2.1", "wordpress"),
        ("br-backend", "172.30.3.253", "backend"),
    ],
)
def test_an_address_that_the_host_does_not_need_is_named(
    site: Topology, network: str, ip: str, zone: str
) -> None:
    """An address of the host on a VLAN of guests or an internal bridge is found, by prefix or interface."""
    here = (
        Address(network=network, ip=IPv4Address(ip)),
        Address(network="lan", ip=IPv4Address("10.10.1.9")),
        Address(network="br-edge", ip=IPv4Address("172.30.0.1")),
    )
    (found,) = judged(site, {}, addresses=here)
    assert (found.what, found.verdict) == (f"docker-srv has {ip} on {zone}", Verdict.DISAGREES)


def test_other_ports_from_outside_are_cells_of_a_closed_host(site: Topology, closed: Topology) -> None:
    """On a closed host they are denied; on an open one the scan lists them, and no cell is left to judge."""
    for each, wanted in ((site, set()), (closed, {Expected.DENIED})):
        asked = cells(each, endpoints_of(each))
        outside = [c for c in asked if (c.destination, c.source) == ("docker-srv", "internet")]
        assert {c.expected for c in outside if c.port == "*/tcp"} == wanted


def test_a_declared_port_of_the_host_is_for_management(closed: Topology) -> None:
    """Its flow is allowed, and nothing else reaches that port."""
    ssh = Port(number=22)
    ends = [
        replace(e, ports=(*e.ports, ssh)) if e.kind is EndpointKind.HOST else e for e in endpoints_of(closed)
    ]
    about = [c for c in cells(closed, ends) if (c.destination, c.port) == ("docker-srv", "22/tcp")]
    assert {c.source for c in about if c.expected is Expected.ALLOWED} == {"management"}
    assert {c.expected for c in about if c.source != "management"} == {Expected.DENIED}


def test_a_sound_run_of_a_closed_host_is_good(closed: Topology) -> None:
    """All cells agree, the scans among them, and nothing about the host is left unjudged."""
    findings = World(closed, endpoints_of(closed)).findings()
    made = report.ProbeReport(stack="dev", seconds=1, findings=findings)
    assert made.good, made.wrong
    assert not [f for f in findings if f.verdict is Verdict.FREE and f.destination == "docker-srv"]


def agent(ask: Mapping[str, object]) -> Any:
    """Return the agent's answer to one question."""
    said = json.dumps({"ask": [{"id": "1", "within": 0, **ask}], "authorities": ""})
    done = subprocess.run(
        [sys.executable, "-I", AGENT], input=f"{{}}\n{said}\n", capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[1])["answers"]["1"]


def test_the_agent_finds_every_open_port() -> None:
    """A scan asks all ports, and tells those that listen from those that do not."""
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        numbers, last = agent({"kind": "scan", "address": "127.0.0.1", "port": 1})
        assert last == EVERY
        assert there.getsockname()[1] in numbers
        assert bound.getsockname()[1] not in numbers


def test_the_agent_names_processes() -> None:
    """Each socket beside loopback has its process, if this user may see it."""
    with socket.create_server(("", 0)) as there, socket.create_server(("127.0.0.1", 0)) as loopback:
        rows = agent({"kind": "sockets", "address": "127.0.0.1", "port": 1, "host": "192.0.2.0/24"})
        processes = {port: process for port, process, _ in rows}
        assert f"{loopback.getsockname()[1]}/tcp" not in processes
        assert processes[f"{there.getsockname()[1]}/tcp"].endswith(f"(pid {os.getpid()})")


def test_the_agent_finds_a_relay() -> None:
    """A port that makes this machine connect into the prefixes is named with the other end."""
    with (
        socket.create_server(("127.0.0.2", 0)) as end,
        socket.create_server(("", 0)) as listener,
        socket.create_server(("", 0)) as other,
        ExitStack() as undo,
    ):

        def relay() -> None:
            with suppress(OSError):
                while True:
                    undo.enter_context(listener.accept()[0])
                    undo.enter_context(socket.create_connection(end.getsockname()))

        threading.Thread(target=relay, daemon=True).start()
        rows = agent({"kind": "sockets", "address": "127.0.0.1", "port": 1, "host": "127.0.0.2/32"})
        leads = {port: where for port, _, where in rows}
        assert leads[f"{listener.getsockname()[1]}/tcp"] == [f"127.0.0.2:{end.getsockname()[1]}"]
        assert leads[f"{other.getsockname()[1]}/tcp"] == []
