"""Engine, packet walk and policy pack answer every case of the conformance suite as it expects.

`tests/parts/conformance_inside.py` asks the live probe the same cases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address

import pytest

from policies.evaluate import evaluate
from reachability.engine import Reachability
from reachability.facts import ContainerFact, Facts, Leg
from reachability.result import ConnectionSet, EdgeKind
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.conformance import (
    BROKEN,
    NONE,
    OTHER,
    Case,
    Changes,
    Expected,
    Kind,
    cases,
    keys,
    networks,
    newcomer,
    newcomers_address,
    site,
)
from tests.policies.sound import KINDS, TODAY, run
from tests.unit.packet_walk import Walk
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Assertion, Port
from verify.expect import OTHER as ANY
from verify.expect import Address, Endpoint, EndpointKind, declared_zones, guest, label
from verify.expect import cells as probes_cells

ALL = cases(site())
Answer = Callable[[Case], bool]
"""Whether a case's connection is possible."""


@cache
def resources(changes: Changes = NONE) -> tuple[Resource, ...]:
    """Return the program's resources for the site, or for one with flows more and less."""
    return tuple(run(keys(*changes)))


@cache
def facts(changes: Changes = NONE) -> Facts:
    """Return the facts of these resources, with a container attached by hand to each network."""
    found = Graph(tuple(map(view, resources(changes))), TopologyIndex.of(load(keys(*changes)))).facts
    strangers = (
        ContainerFact(
            name=newcomer(zone),
            origin="by hand",
            host=site().docker.name,
            legs=(
                Leg(
                    network=zone.name if zone.is_docker else zone.network,
                    address=newcomers_address(zone),
                ),
            ),
        )
        for zone in networks(site())
    )
    return replace(found, containers=(*found.containers, *strangers))


def is_published(case: Case) -> bool:
    """Whether a case asks for a port that the ingress publishes on the host."""
    return case.destination == site().docker.name and case.port is not None


def answers(case: Case) -> str:
    """Return the service behind what a case asks for: the ingress behind its published ports."""
    return site().ingress.name if is_published(case) else case.destination


@cache
def by_engine(changes: Changes = NONE) -> Answer:
    """Return the reachability engine's answers."""
    engine = Reachability(facts(changes))
    containers = {each.name for each in engine.facts.containers}

    @cache
    def ways(name: str, port: Port | None, address: IPv4Address | None) -> tuple[ConnectionSet, ...]:
        at = frozenset({address}) if address and name in containers else None
        return tuple(engine._packets(engine._group(name, port), at))

    def answer(case: Case) -> bool:
        published = is_published(case)
        return any(
            case.source in bundle.sources
            for bundle in ways(answers(case), case.port, None if published else case.address)
            if (bundle.how is EdgeKind.PUBLISHED) is published
        )

    return answer


@cache
def by_walk(changes: Changes = NONE) -> Answer:
    """Return the packet walk's answers."""
    walk = Walk(facts(changes))

    def answer(case: Case) -> bool:
        name, published = answers(case), is_published(case)
        anywhere = published or case.address is None or name in walk.hosts
        return walk.arrives(
            case.source,
            (
                end
                for end in walk.targets(name, case.port or OTHER)
                if (end[2] is not None) is published and (anywhere or case.address in end[0].answers)
            ),
        )

    return answer


def wrong(answer: Answer, asked: Iterable[Case] = ALL) -> list[str]:
    """Return the cases that are not answered as expected; where no rule decides, possible is expected."""
    return [str(case) for case in asked if answer(case) is (case.expected is Expected.DENIED)]


@pytest.mark.parametrize("by", [by_engine, by_walk])
@pytest.mark.parametrize("kind", Kind)
def test_every_case_is_answered_as_expected(by: Callable[[], Answer], kind: Kind) -> None:
    """The engine and the packet walk answer every case of a kind as the declared flows say."""
    assert wrong(by(), (case for case in ALL if case.kind is kind)) == []


@pytest.mark.parametrize("breakage", BROKEN)
def test_a_broken_rule_is_noticed(breakage: str) -> None:
    """With one flow more or less in the rules, both answer the one case about it in another way."""
    (found,) = wrong(by_engine(BROKEN[breakage]))
    assert wrong(by_walk(BROKEN[breakage])) == [found]
    more, less = BROKEN[breakage]
    (flow,) = (*more, *less)
    source, _, port = flow.split()
    assert f": {source} -> " in found
    assert f":{port.partition(':')[2]}" in found


def test_there_are_enough_cases() -> None:
    """There are at least 250 cases, no two the same; each kind has some that are possible and some denied."""
    assert len({str(case) for case in ALL}) == len(ALL) >= 250
    for kind in Kind:
        expected = {case.expected for case in ALL if case.kind is kind}
        possible = Expected.EITHER if kind is Kind.ROUTER else Expected.ALLOWED
        assert expected >= {possible, Expected.DENIED}, kind


@cache
def between_declared() -> dict[tuple[str, str, Port], bool]:
    """Return whether each connection between declared names is possible at any address."""
    found: defaultdict[tuple[str, str, Port], bool] = defaultdict(bool)
    strangers = {newcomer(zone) for zone in networks(site())}
    for case in ALL:
        if not strangers & {case.source, case.destination}:
            key = (case.source, answers(case), case.port or OTHER)
            found[key] |= case.expected is not Expected.DENIED
    return dict(found)


def asserted(*, right: bool) -> tuple[Assertion, ...]:
    """Return each case between declared names as an assertion of a stack file, or its opposite."""
    tests: defaultdict[str, dict[bool, list[str]]] = defaultdict(lambda: {True: [], False: []})
    for (source, name, port), possible in between_declared().items():
        tests[source][possible is right].append(f"{name}:{port}")
    return tuple(
        Assertion(src=source, accept=tuple(found[True]), deny=tuple(found[False]), directly=True)
        for source, found in tests.items()
    )


def findings(made: Iterable[Resource], assertions: tuple[Assertion, ...] = ()) -> set[str]:
    """Return the flows about which the pack has a finding."""
    declared = site().model_copy(update={"assertions": assertions})
    about = {"assertions-hold", "undeclared-flows", "unreachable-flows", "roles-hold"}
    return {found.subject for found in evaluate([*made], declared, TODAY).findings if found.rule in about}


def test_the_pack_agrees() -> None:
    """The pack accepts every case as an assertion, and refuses the opposite of each."""
    assert findings(resources(), asserted(right=True)) == set()
    opposite = findings(resources(), asserted(right=False))
    assert opposite == {f"{source} -> {name}:{port}" for source, name, port in between_declared()}


def strangers() -> list[Resource]:
    """Return a container attached by hand to each network, as resources."""
    return [
        Resource(
            urn=f"urn:pulumi:dev::homelab-network::{KINDS['container']}::{newcomer(zone)}",
            type=KINDS["container"],
            name=newcomer(zone),
            inputs={
                "name": newcomer(zone),
                "networkMode": "bridge",
                "capabilities": {"drops": ["ALL"]},
                "networksAdvanced": [{"name": zone.network, "ipv4Address": str(newcomers_address(zone))}],
            },
            provider="added",
        )
        for zone in networks(site())
    ]


def about_newcomers(*without: str) -> set[str]:
    """Return the denied cases of newcomers that the pack says are possible, `without` some commands."""
    found = findings([*(each for each in resources() if each.name not in without), *strangers()])
    asked = (case for case in ALL if case.kind is Kind.NEWCOMER and case.expected is Expected.DENIED)
    return {
        line for case in asked if (line := f"{case.source} -> {answers(case)}:{case.port or '*'}") in found
    }


def test_the_pack_knows_what_newcomers_reach() -> None:
    """To the pack a container attached by hand reaches what its cases say; without the switch, neighbours."""
    assert about_newcomers() == set()
    assert "stranger@backend -> loki:3100/tcp" in about_newcomers("bridge-switch")


def endpoints() -> Iterator[Endpoint]:
    """Yield the probe's endpoints, as its discovery finds them where everything runs."""
    topology, outside = site(), EndpointKind.OUTSIDE
    for number, name in enumerate(("internet", "management", "lan"), 1):
        near = IPv4Address(f"198.51.100.{number}")
        ports = tuple(flow.port for flow in topology.flows_to(name))
        yield Endpoint(
            name=name, kind=outside, docker_host_address=near, ports=ports,
            addresses=(Address(network=name, ip=near),),
        )  # fmt: skip
    for one in topology.containers:
        own = {zone: topology.address_on(one.name, topology.zones[zone]) for zone in one.zones}
        own |= topology.legs.of(one.name)
        yield Endpoint(
            name=one.name, kind=EndpointKind.CONTAINER, ports=one.ports,
            zones=declared_zones(topology, one.name),
            addresses=tuple(Address(network=zone, ip=ip) for zone, ip in own.items()),
        )  # fmt: skip
    yield from (guest(topology, one, there=True) for one in topology.guests)
    for zone in networks(topology):
        yield Endpoint(name=newcomer(zone), kind=EndpointKind.MEMBER, zones=frozenset({zone.name}))
    doors = (zone.gateway for zone in topology.zones.values() if zone.is_docker and not zone.internal)
    yield Endpoint(
        name=topology.docker.name, kind=EndpointKind.HOST, ports=topology.published,
        addresses=tuple(Address(network="host", ip=ip) for ip in doors),
    )  # fmt: skip
    node = topology.proxmox
    yield Endpoint(
        name=node.name, kind=EndpointKind.NODE, ports=node.ports,
        addresses=(Address(network="proxmox", ip=node.address),),
    )  # fmt: skip


def test_the_probe_expects_the_same() -> None:
    """What the live probe expects of a cell is what its case does, but where the probe judges nothing."""
    expected: defaultdict[tuple[str, str, str], dict[IPv4Address | None, str]] = defaultdict(dict)
    for cell in probes_cells(site(), endpoints()):
        expected[cell.source, cell.destination, cell.port][cell.address.ip] = str(cell.expected)
    asked = 0
    for case in ALL:
        port = str(case.port) if case.port else label(ANY)
        found = expected[case.source, case.destination, port]
        for at in [case.address] if case.address else found:
            if at in found and case.expected is not Expected.EITHER:
                assert found[at] in {str(case.expected), str(Expected.EITHER)}, case
                asked += 1
    assert asked > 1500
