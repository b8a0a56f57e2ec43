"""A guest that is observed for a while: open today, and judged by what its firewall will be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from ipaddress import IPv4Address
from typing import Any

import pytest

from policies.evaluate import evaluate
from policies.review import base_of, review
from reachability.intent import Intent, surplus
from report.model import Report, State
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import TODAY, Stack, run
from tests.routers import routed
from tests.site import changed
from tests.unit.packet_walk import Walk
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Port, Topology
from verify.expect import Address, Endpoint, EndpointKind, Expected, cells, guest

DAY = "2027-01-15"
NAMES = ("site-1", "site-2")
OPEN = f"its firewall lets everything in and out through {DAY}"
IN, OUT = ({"type": way, "action": "ACCEPT", "log": "info"} for way in ("in", "out"))


def exception(name: str, expires: str = DAY) -> dict[str, str]:
    """Return the exception that permits a guest to be observed."""
    return {
        "rule": "guests-enforced",
        "resource": name,
        "reason": "the first weeks on the old site",
        "owner": "the owner",
        "expires": expires,
    }


def keys(more: dict[str, Any] | None = None, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Return the sound site's keys with a guest that reaches the internet, and guests that are observed."""
    made: dict[str, Any] = {f"services.{name}.observed-until": DAY for name in names}
    made |= {"flows[+]": "site-1 -> internet:443/tcp", "exceptions": [exception(name) for name in names]}
    return changed(made | (more or {}))


@cache
def graph(names: tuple[str, ...] = NAMES) -> Graph:
    """Return the graph of the site with observed guests."""
    made = keys(names=names)
    return Graph(tuple(map(view, run(made))), TopologyIndex.of(load(made)))


def judged(today: date, more: dict[str, Any] | None = None) -> list[str]:
    """Return the pack's messages on a day."""
    made = keys(more)
    return [each.message for each in evaluate(run(made), load(made), today).findings]


def test_an_exception_permits_it_until_the_guests_day() -> None:
    """With exceptions the pack finds nothing; from the next day on it does, and no exception helps."""
    assert judged(TODAY) == judged(date(2027, 1, 15)) == []
    assert judged(TODAY, {"exceptions": []}) == [f"{name}: {OPEN}" for name in NAMES]
    late = {"exceptions": [exception(name, "2099-01-01") for name in NAMES]}
    over = f"was observed through {DAY}, and is open until `make up`"
    assert judged(date(2027, 1, 16), late) == [f"{name}: {over}" for name in NAMES]


def test_what_is_open_is_known_and_what_is_enforced_is_judged() -> None:
    """Both ways are open by the rules alone, so surplus today; the flows judged are those of the end."""
    found = graph()
    intent = Intent.of(found.topology)
    said = {str(each) for each in surplus(found.reachability, intent)}
    assert {
        *("site-1 -> site-2:443/tcp", "site-2 -> site-1:*", "traefik -> site-1:*"),
        *("site-1 -> internet:*", "site-2 -> internet:*", "management -> site-1:443/tcp"),
    } <= said
    assert not [each for each in said if each.partition(" -> ")[2].startswith(("loki", "vaultwarden"))]
    assert [*surplus(found.enforced, intent)] == []
    assert found.enforced.evaluate("site-1", "internet", Port(number=443)).allowed
    plain = graph(())
    assert plain.enforced is plain.reachability


def test_another_guest_stays_closed() -> None:
    """An observed guest reaches no enforced one, and is reached by none."""
    intent = Intent.of(graph(("site-1",)).topology)
    said = {str(each) for each in surplus(graph(("site-1",)).reachability, intent)}
    assert "management -> site-1:443/tcp" in said
    assert not [each for each in said if {*NAMES} <= {*each.replace(":", " ").split()}]


@pytest.mark.parametrize("port", [Port(number=443), Port(number=1)])
def test_the_packet_walk_agrees(port: Port) -> None:
    """A packet of one observed guest arrives at the other, and none at an enforced one of another VLAN."""
    walk = Walk(graph().facts)
    assert walk.arrives("site-1", [end for end in walk.targets("site-2", port) if end[2] is None])
    assert not walk.arrives("site-1", [end for end in walk.targets("jellyfin", port) if end[2] is None])


def test_an_assertion_is_about_today() -> None:
    """An assertion that denies what observation opens fails until the guest is enforced."""
    (said,) = judged(TODAY, {"assertions[+]": {"src": "site-2", "deny": ["site-1:443/tcp"]}})
    assert said == "site-2 -> site-1:443/tcp: expected DENIED, got ALLOWED via vlan10 -> site-1"


def rules(stack: Stack) -> list[dict[str, Any]]:
    """Return the rules of a guest, to change in place."""
    found: list[dict[str, Any]] = stack.inputs("rules", "site-1")["rules"]
    return found


def unlogged(stack: Stack) -> None:
    """Let the guest's rules accept without a log."""
    del rules(stack)[1]["log"]


def silenced(stack: Stack) -> None:
    """Switch the log of the guest's rules off by its word."""
    rules(stack)[1]["log"] = "nolog"


def levelless(stack: Stack) -> None:
    """Give the log of the guest's rules no level, which the provider takes for none."""
    rules(stack)[1]["log"] = ""


def undeclared(stack: Stack) -> None:
    """Let the rules observe a guest that is not declared so."""
    del stack.config["services"]["site-1"]["observed-until"]
    stack.config["exceptions"] = stack.config["exceptions"][1:]


def at_another(stack: Stack) -> None:
    """Give the rules to a guest that is not declared so."""
    stack.inputs("rules", "jellyfin")["rules"] += [IN, OUT]


def narrowed(stack: Stack) -> None:
    """Limit a rule to a protocol, so that it is a permission of its own."""
    rules(stack)[1]["proto"] = "tcp"


def without_a_flow(stack: Stack) -> None:
    """Take the rule of a declared flow away, which works today by observation alone."""
    del stack.inputs("group", "site-1")["rules"][0]


def in_a_group(stack: Stack) -> None:
    """Put a rule into the security group, which may be any guest's."""
    stack.inputs("group", "site-1")["rules"].append(dict(IN))


def at_the_datacenter(stack: Stack) -> None:
    """Let every node accept everything and log it."""
    stack.inputs("rules", "datacenter")["rules"].append(dict(IN))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unlogged, "site-1: rules[1] accepts without source, proto, dport"),
        (silenced, "site-1: rules[1] accepts without source, proto, dport"),
        (levelless, "site-1: rules[1] accepts without source, proto, dport"),
        (undeclared, "site-1: rules[2] accepts without dest, proto, dport"),
        (undeclared, "site-1: rules[1] accepts what no declared flow of site-1 needs (in ACCEPT)"),
        (undeclared, "traefik -> site-1:*: expected DENIED, got ALLOWED via vlan10 -> site-1"),
        (at_another, "jellyfin: rules[1] accepts without source, proto, dport"),
        (narrowed, "site-1: rules[1] accepts without source, dport"),
        (narrowed, "site-1: rules[1] accepts what no declared flow of site-1 needs (in ACCEPT proto tcp)"),
        (narrowed, "traefik -> site-1:*: expected DENIED, got ALLOWED via vlan10 -> site-1"),
        (
            without_a_flow,
            "traefik -> site-1:443/tcp: expected ALLOWED, got DENIED: input policy of site-1: DROP",
        ),
        (in_a_group, "site-1: rules[2] accepts without source, proto, dport"),
        (in_a_group, "traefik -> site-1:*: expected DENIED, got ALLOWED via vlan10 -> site-1"),
        (at_the_datacenter, "datacenter: rules[2] accepts without source, proto, dport"),
    ],
)
def test_only_the_declared_rules_are_taken_for_it(change: Callable[[Stack], None], said: str) -> None:
    """A rule without a log, of another guest, of a group or of the datacenter observes nothing."""
    made = keys()
    stack = Stack(resources=run(made), config=made)
    change(stack)
    assert said in [each.message for each in stack.judge().findings]


def test_the_review_says_that_it_opens() -> None:
    """The change leads, and each connection that opens is said to be observed and not to follow a flow."""
    before, after = graph(()), graph()
    verdict = evaluate([each.resource for each in after.views], after.topology, TODAY)
    found = review("Pulumi.x.yaml", base_of(before, keys(names=())), after, keys(), verdict)
    assert f"observation of site-1: `none` → `through {DAY}`" in [each.text for each in found.other or ()]
    standings = {str(each.flow): each.standing for each in found.opened}
    assert standings["site-1 -> site-2:443/tcp"] == standings["site-2 -> internet:*"] == "observed"


def test_the_report_tells_it_from_what_is_not_meant() -> None:
    """A cell of an observed guest is not declared, and says why it is open; the declared one is as ever."""
    found = graph()
    resources = tuple(each.resource for each in found.views)
    page = Report(stack="x", day=TODAY, resources=resources, topology=found.topology)
    told = {each.ports: (each.state, each.why) for each in page.answers("site-1", "internet")}
    observed = (State.UNDECLARED, "not declared, and let pass while it is observed")
    assert told == {("443/tcp",): (State.DECLARED, "declared"), ("*",): observed}


def test_the_report_tells_an_observed_zones_neighbours_apart() -> None:
    """Neighbours in an observed Docker network are not said to be there by a host's right."""
    made = changed({"zones.backend.observed-until": DAY})
    page = Report(stack="x", day=TODAY, resources=run(made), topology=load(made))
    answers = {each.why for each in page.answers("loki", "cadvisor")}
    assert answers == {"not declared, and let pass while it is observed"}


def ends(site: Topology) -> list[Endpoint]:
    """Return guests, containers with and without a leg, hosts, newcomers, and a zone outside."""

    def end(
        name: str, kind: EndpointKind, *places: tuple[str, IPv4Address], ports: tuple[Port, ...] = ()
    ) -> Endpoint:
        at = tuple(Address(network=zone, ip=ip) for zone, ip in places)
        return Endpoint(
            name=name, kind=kind, zones=frozenset(zone for zone, _ in places), addresses=at, ports=ports
        )

    def container(name: str, *zones: str) -> Endpoint:
        places = [(zone, site.address_on(name, site.zones[zone])) for zone in zones]
        return end(name, EndpointKind.CONTAINER, *places, ports=site.services[name].ports)

    by_name = {each.name: each for each in site.guests}
    outside, own = site.zones["management"].prefix[9], IPv4Address("10.10.1.5")
    return [
        *(guest(site, by_name[name], there=True) for name in ("site-1", "site-2", "jellyfin")),
        replace(
            end("management", EndpointKind.OUTSIDE, ("management", outside)),
            zones=frozenset(),
            docker_host_address=own,
        ),
        container("loki", "backend"),
        container("traefik", "frontend", site.services["site-1"].zones[0]),
        end("docker-srv", EndpointKind.HOST, ("eth0", own), ports=(*site.published, Port(number=22))),
        end(
            "proxmox-srv",
            EndpointKind.NODE,
            ("management", IPv4Address("10.10.1.6")),
            ports=(Port(number=8006),),
        ),
        *(
            end(f"newcomer on {zone}", EndpointKind.MEMBER, (zone, site.zones[zone].prefix[-9]))
            for zone in ("backend", site.services["site-1"].zones[0])
        ),
    ]


def expected(site: Topology, day: date) -> dict[str, Expected]:
    """Return what the live probe expects of each cell between such endpoints on a day."""
    return {str(each): each.expected for each in cells(site, ends(site), day)}


def test_the_probe_shows_such_cells_and_judges_them_not() -> None:
    """What an observed guest's firewall alone would deny is EITHER until the day is over."""
    site = load(keys(names=("site-1", "jellyfin")))
    found, vlan = expected(site, date(2027, 1, 15)), site.services["site-1"].zones[0]
    either = {
        *("management -> site-1:443/tcp", "site-1 -> jellyfin:8096/tcp", "traefik -> site-1:*/tcp"),
        *(
            "site-1 -> docker-srv:22/tcp",
            "site-1 -> docker-srv:443/tcp",
            f"newcomer on {vlan} -> site-1:443/tcp",
        ),
    }
    assert {each: found[each] for each in either} == dict.fromkeys(either, Expected.EITHER)
    after = expected(site, date(2027, 1, 16))
    assert {each: after[each] for each in either} == dict.fromkeys(either, Expected.DENIED)


def test_the_probe_judges_what_other_rules_deny() -> None:
    """Rules of another guest, of a node and of Docker-SRV hold where an observed guest lets all pass."""
    names = ("site-1", "jellyfin")
    found = expected(load(keys(names=names)), date(2027, 1, 15))
    denied = {
        *("management -> site-2:443/tcp", "site-1 -> site-2:443/tcp", "site-1 -> loki:3100/tcp"),
        *(
            "loki -> site-1:443/tcp",
            "newcomer on backend -> site-1:443/tcp",
            "site-1 -> proxmox-srv:8006/tcp",
        ),
    }
    assert {each: found[each] for each in denied} == dict.fromkeys(denied, Expected.DENIED)
    closed = {"hosts.docker-srv.closed": True, "hosts.docker-srv.ports": [22]}
    at_host = expected(load(keys(closed, names)), date(2027, 1, 15))
    told = {each: at_host[f"site-1 -> docker-srv:{each}"] for each in ("22/tcp", "*/tcp", "443/tcp")}
    assert told == {"22/tcp": Expected.DENIED, "*/tcp": Expected.DENIED, "443/tcp": Expected.EITHER}


def behind_a_router() -> Graph:
    """Return the graph of the site behind a router, with observed guests on two networks."""
    config = routed()
    for name in ("site-1", "site-2", "jellyfin"):
        config["services"][name]["observed-until"] = DAY
    return Graph(tuple(map(view, run(config))), TopologyIndex.of(load(config)))


def test_the_probe_judges_what_a_declared_router_denies() -> None:
    """Between two networks the router's rules hold; on one network there is none."""
    found = expected(behind_a_router().topology, date(2027, 1, 15))
    denied = ("site-1 -> jellyfin:22/tcp", "management -> site-1:443/tcp", "jellyfin -> site-2:*/tcp")
    assert {each: found[each] for each in denied} == dict.fromkeys(denied, Expected.DENIED)
    told = {each: found[each] for each in ("site-1 -> site-2:443/tcp", "jellyfin -> site-1:443/tcp")}
    assert told == {
        "site-1 -> site-2:443/tcp": Expected.EITHER,
        "jellyfin -> site-1:443/tcp": Expected.ALLOWED,
    }


@pytest.mark.parametrize("made", [graph, behind_a_router])
def test_the_proof_holds_for_possible_what_the_probe_does_not_judge(made: Callable[[], Graph]) -> None:
    """No cell is EITHER by observation that the proof excludes; it tells no own ports of an open host."""
    found = made()
    site, known = found.topology, found.reachability
    either = [each for each, what in expected(site, date(2027, 1, 15)).items() if what is Expected.EITHER]
    told = [each for each in either if not {"newcomer", "docker-srv", "icmp"} & {*re.split("[ :]", each)}]
    ways = {(source, one.destination, one.port) for one in known.connection_sets() for source in one.sources}
    assert told
    for each in told:
        source, _, end = each.partition(" -> ")
        name, _, port = end.partition(":")
        assert (source, name, None if port.startswith("*") else Port.parse(port)) in ways, each
