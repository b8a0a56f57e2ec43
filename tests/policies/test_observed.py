"""A zone that is observed for a while: proof, pack, walk and probe know that its members are open."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

import pytest

from policies.evaluate import evaluate
from reachability.intent import Intent, surplus
from resources.host_rules import within
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import KINDS, TODAY, run
from tests.site import changed
from tests.unit.packet_walk import Walk
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Port
from verify.expect import Address, Endpoint, EndpointKind, Expected, cells

DAY = "2027-01-15"
EXCEPTION = {
    "rule": "zones-enforced",
    "resource": "zone backend",
    "reason": "the first weeks on the old site",
    "owner": "the owner",
    "expires": DAY,
}
OBSERVED: dict[str, Any] = {"zones.backend.observed-until": DAY, "exceptions": [EXCEPTION]}


def keys(more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the sound site's keys with backend observed."""
    return changed(OBSERVED | (more or {}))


@cache
def graph() -> Graph:
    """Return the graph of the observed site."""
    return Graph(tuple(map(view, run(keys()))), TopologyIndex.of(load(keys())))


def judged(today: date, more: dict[str, Any] | None = None) -> list[str]:
    """Return the pack's messages on a day."""
    made = keys(more)
    return [each.message for each in evaluate(run(made), load(made), today).findings]


def test_an_exception_permits_it_until_its_day() -> None:
    """With the exception the pack finds nothing; without it, and from the next day on, it does."""
    assert judged(TODAY) == []
    said = f"zone backend: its members reach each other on every port through {DAY}"
    assert judged(TODAY, {"exceptions": []}) == [said]
    expired = f"exception zones-enforced for zone backend: expired on {DAY}"
    assert judged(date(2027, 1, 16)) == [said, expired]


def test_only_neighbours_there_are_left_out() -> None:
    """What is possible within backend is no surplus with the key, and is without; all else would be one."""
    found = graph()
    intent = Intent.of(found.topology)
    assert [*surplus(found.reachability, intent)] == []
    strict = [*surplus(found.reachability, Intent.of(load(changed({}))))]
    assert {(each.how.value, each.trace.hops[0]) for each in strict} == {("neighbour", "backend")}
    assert "loki -> cadvisor:8080/tcp" in map(str, strict)


@pytest.mark.parametrize("port", [Port(number=8080), Port(number=1)])
def test_the_packet_walk_agrees(port: Port) -> None:
    """A packet from Loki arrives at cAdvisor, and none from Grafana, which is on other networks."""
    walk = Walk(graph().facts)
    ends = [end for end in walk.targets("cadvisor", port) if end[2] is None]
    assert walk.arrives("loki", ends)
    assert not walk.arrives("grafana", ends)


def test_another_line_is_not_taken_for_an_observing_one() -> None:
    """Rules that observe every address, or without an end, close no bridge at all."""
    (text,) = (
        each.inputs["stdin"]
        for each in run(keys())
        if (each.type, each.name) == (KINDS["command"], "host-rules")
    )
    assert sorted(within(text)) == ["br-edge", "br-frontend", "br-probe", "br-query"]
    for part in (" ip saddr @observed", " ip daddr @observed", " meta time < 1800057600"):
        assert part in text
        assert within(text.replace(part, "")) == {}


def test_the_probe_shows_such_cells_and_judges_them_not() -> None:
    """Undeclared cells between members are EITHER until the day is over, a newcomer's are always denied."""
    site = load(keys())
    zone = site.zones["backend"]

    def end(name: str, kind: EndpointKind) -> Endpoint:
        at = zone.prefix[250] if kind is EndpointKind.MEMBER else site.address_on(name, zone)
        ports = () if kind is EndpointKind.MEMBER else site.services[name].ports
        zones = frozenset({"backend"})
        return Endpoint(
            name=name, kind=kind, zones=zones, ports=ports, addresses=(Address(network="backend", ip=at),)
        )

    ends = [end(name, EndpointKind.CONTAINER) for name in ("prometheus", "cadvisor", "loki")]
    ends.append(end("by-hand", EndpointKind.MEMBER))
    found = {str(each): each.expected for each in cells(site, ends, date(2027, 1, 15))}
    assert found["prometheus -> cadvisor:8080/tcp"] is Expected.ALLOWED
    assert found["loki -> cadvisor:8080/tcp"] is found["loki -> cadvisor:*/tcp"] is Expected.EITHER
    assert found["by-hand -> cadvisor:8080/tcp"] is Expected.DENIED
    after = {str(each): each.expected for each in cells(site, ends, date(2027, 1, 16))}
    assert {key for key in found if found[key] is not after[key]} >= {"loki -> cadvisor:8080/tcp"}
    assert {*after.values()} == {Expected.ALLOWED, Expected.DENIED}
