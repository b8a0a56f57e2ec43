"""The tests that `test_conformance` runs in namespaces of their own: the probe on the suite's site.

The probe asks its cells of the kernel, with the program's rules in force. What it does not ask, agents ask.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from lab.process import run
from rendered import host_rules
from tests.conformance import (
    BROKEN,
    NAS,
    TOGETHER,
    Case,
    Expected,
    Kind,
    cases,
    keys,
    networks,
    newcomers_address,
    site,
)
from tests.live.site import eventually
from tests.parts import conformance_site
from tests.parts.conformance_site import ip
from tests.parts.test_within import ASK
from tests.site import state
from tests.unit.test_conformance import by_engine, facts, wrong
from topology.config import load
from topology.model import INTERNET, Protocol, Zone
from verify import host, probe, transports, vantages
from verify.agents import Agents
from verify.driver import Answers
from verify.expect import OTHER, label
from verify.verdicts import OPEN, ProbeFinding

ALL = cases(site())
_LEFT_OUT = 4444
"""A port on which agents listen that ask what the probe does not."""


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the site, and an engine's list of its containers."""
    os.environ["HOMELAB_STATE"] = str(state(tmp_path_factory.mktemp("state")))
    with conformance_site.made(site(), facts()) as containers, pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "containers", lambda: containers)
        yield


class Run:
    """One run of the probe, and after it the questions that it leaves out."""

    def __init__(self) -> None:
        self.findings: dict[str, list[ProbeFinding]] = {}
        with vantages.vantages(site(), "conformance", "127.0.0.1", 16) as driver:
            assert isinstance(driver, vantages.Vantages)
            for finding in probe.run(site(), driver, print):
                self.findings.setdefault(finding.what, []).append(finding)
            self.left_out = [case for case in ALL if not self.about(case) and not _is_unanswerable(case)]
            driver.agents.close()
            ways = {**driver.discovery.transports, NAS: transports.namespace(f"/run/netns/{NAS}", NAS)}
            self.answers = self._asked(ways)

    def _asked(self, ways: Mapping[str, transports.Transport]) -> Mapping[str, Answers]:
        agents = Agents(transports=ways, jobs=16)
        try:
            agents.start(lambda _: [_LEFT_OUT])
            assert agents.faults == {}
            asks: dict[str, dict[str, Any]] = {}
            for case in self.left_out:
                assert case.address, case
                ask = {
                    "id": str(case),
                    "kind": str(case.port.protocol) if case.port else "tcp",
                    "address": str(case.address),
                    "port": case.port.number if case.port else _LEFT_OUT,
                    "within": 0,
                }
                asks.setdefault(case.source, {"ask": [], "authorities": ""})["ask"].append(ask)
            return agents.ask(asks)
        finally:
            agents.close()

    def about(self, case: Case) -> list[ProbeFinding]:
        """Return the probe's findings about a case; several where it asks at every address."""
        port = str(case.port) if case.port else label(OTHER)
        found = self.findings.get(f"{case.source} -> {case.destination}:{port}", [])
        return [each for each in found if case.address in {None, _address(each)}]

    def possible(self, case: Case) -> bool:
        """Whether the case's connection opened."""
        if found := self.about(case):
            return any(finding.open for finding in found)
        return self.answers[case.source].by_id[str(case)] == OPEN


def _address(finding: ProbeFinding) -> IPv4Address | None:
    found = re.match(r"[\d.]+", finding.where)
    return IPv4Address(found[0]) if found else None


def _is_unanswerable(case: Case) -> bool:
    """Whether nothing on the internet's side answers: datagrams that leave."""
    return case.destination == INTERNET and case.port is not None and case.port.protocol is Protocol.UDP


@pytest.fixture(scope="module")
def sound() -> Run:
    """Return a run with the site's own rules in force."""
    return Run()


def asked() -> list[Case]:
    """Return the cases that a rule decides and a machine can answer."""
    return [case for case in ALL if case.expected is not Expected.EITHER and not _is_unanswerable(case)]


@pytest.mark.parametrize("kind", Kind)
def test_every_case_is_as_expected(sound: Run, kind: Kind) -> None:
    """Each case of a kind is open or denied on the wire as the declared flows say."""
    assert wrong(sound.possible, (case for case in asked() if case.kind is kind)) == []


def test_broken_rules_are_seen() -> None:
    """With nine flows more or less in the rules, probe and engine find the nine cases about them."""
    expected = wrong(by_engine(TOGETHER), asked())
    assert len(expected) == len(BROKEN)
    conformance_site.install(load(keys(*TOGETHER)), facts(TOGETHER))
    try:
        # On a busy machine an answer may come too late for one run; a wrong rule is wrong in each.
        for _ in range(4):
            if (found := wrong(Run().possible, asked())) == expected:
                break
        assert found == expected
    finally:
        conformance_site.install(site(), facts())


@contextmanager
def attached(zone: Zone) -> Iterator[tuple[str, IPv4Address]]:
    """Attach a namespace to a zone's network by hand; it may forge addresses. Yields its name and address."""
    name = "by-hand"
    taken = {site().address_on(each.name, zone) for each in site().containers if zone.name in each.zones}
    own = next(at for at in [*zone.prefix.hosts()][::-1] if at not in {newcomers_address(zone), *taken})
    ip("netns", "add", name)
    where = "" if zone.is_docker else conformance_site.SWITCH
    bridge = site().bridge(zone) if zone.is_docker else f"vlan{zone.vlan}"
    try:
        ip("link", "add", "by-hand", "type", "veth", "peer", "name", "eth0", "netns", name, at=where)
        ip("link", "set", "by-hand", "master", bridge, "up", at=where)
        ip("address", "add", f"{own}/{zone.prefix.prefixlen}", "dev", "eth0", at=name)
        ip("link", "set", "eth0", "up", at=name)
        yield name, own
    finally:
        # A namespace outlives its name while a connection in it is closing, and so would its card.
        ip("link", "del", "eth0", at=name)
        ip("netns", "del", name)


def local_address(name: str, card: str) -> str:
    """Return the link-local IPv6 address of a namespace's card; empty while it is not ready."""
    words = ("ip", "-n", name, "-6", "-json", "address", "show", "dev", card, "scope", "link", "-tentative")
    (link, *_) = json.loads(run(words, "address")) or [{}]
    return next((str(each["local"]) for each in link.get("addr_info", ())), "")


def opened(name: str, asks: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return which of the questions, each a protocol, an address and a port, are answered in a namespace."""
    words = ["ip", "netns", "exec", name, sys.executable, "-c", ASK]
    return [tuple(each) for each in json.loads(run(words, "questions", stdin=json.dumps(asks)))]


@pytest.mark.parametrize("zone", [zone for zone in networks(site()) if zone.is_docker], ids=lambda z: z.name)
def test_link_local_addresses_open_nothing(zone: Zone) -> None:
    """By IPv6 a newcomer reaches no member of any network, and would without the switch."""
    members = [each for each in site().containers if zone.name in each.zones]
    with attached(zone) as (name, _):
        for each in ((name, "eth0"), *((m.name, f"eth{m.zones.index(zone.name)}") for m in members)):
            eventually(f"link-local address of {each}", partial(local_address, *each), 10)
        at = [local_address(m.name, f"eth{m.zones.index(zone.name)}") for m in members]
        asks = [("tcp", f"{address}%eth0", conformance_site.BY_IPV6) for address in at]
        assert opened(name, asks) == []
        Path(host_rules.SWITCHES[1]).write_text("0")
        try:
            assert opened(name, asks) == asks
        finally:
            Path(host_rules.SWITCHES[1]).write_text("1")


@pytest.mark.parametrize("zone", site().vlans, ids=lambda z: z.name)
def test_link_local_addresses_of_guests_open_nothing(zone: Zone) -> None:
    """By IPv6 a newcomer on a VLAN reaches no guest there, and would without the guests' firewalls."""
    guests = [each for each in site().guests if zone.name in each.zones]
    with attached(zone) as (name, _):
        for each in (name, *(f"vm-{guest.vmid}" for guest in guests)):
            eventually(f"link-local address of {each}", partial(local_address, each, "eth0"), 10)
        at = [local_address(f"vm-{guest.vmid}", "eth0") for guest in guests]
        asks = [("tcp", f"{address}%eth0", conformance_site.BY_IPV6) for address in at]
        assert opened(name, asks) == []
        try:
            for guest in guests:
                conformance_site.nft("flush ruleset", f"fw-{guest.vmid}")
            assert opened(name, asks) == asks
        finally:
            conformance_site.install(site(), facts())


def test_what_forges_addresses_is_every_neighbour() -> None:
    """With raw sockets a newcomer is on the wire what the proof takes it for: every neighbour, no more."""
    zone = site().zones["backend"]
    near = [each.name for each in site().containers if zone.name in each.zones]
    members = {name: site().address_on(name, zone) for name in near}
    asks = [(str(at), port.number) for name, at in members.items() for port in site().services[name].ports]
    found: set[tuple[str, int]] = set()
    with attached(zone) as (name, own):
        assert found == {*as_source(name, own, asks)}
        for at in members.values():
            ip("address", "add", f"{at}/32", "dev", "eth0", at=name)
            others = [(to, port) for to, port in asks if to != str(at)]
            found |= {*as_source(name, at, others)}
            ip("address", "del", f"{at}/32", "dev", "eth0", at=name)
    declared = [flow for flow in site().flows if {flow.source, flow.destination} <= {*members}]
    tcp = [flow for flow in declared if flow.port.protocol is Protocol.TCP]
    assert found == {(str(members[flow.destination]), flow.port.number) for flow in tcp}


_AS_SOURCE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def opens(ask):
    try:
        socket.create_connection(ask, 2, source_address=(sys.argv[1], 0)).close()
    except OSError:
        return False
    return True
asks = [tuple(each) for each in json.load(sys.stdin)]
with ThreadPoolExecutor(len(asks)) as pool:
    print(json.dumps([ask for ask, there in zip(asks, pool.map(opens, asks)) if there]))
"""


def as_source(name: str, at: IPv4Address, asks: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return which connections open from an address, which the ARP requests before them announce."""
    ip("neigh", "flush", "all", at=name)
    words = ["ip", "netns", "exec", name, sys.executable, "-c", _AS_SOURCE, str(at)]
    return [(to, port) for to, port in json.loads(run(words, "questions", stdin=json.dumps(asks)))]
