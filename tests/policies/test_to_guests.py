"""Containers that ask guests behind Docker-SRV's address: the declared flows are possible, and no other."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from policies.evaluate import evaluate_resource
from reachability.intent import Intent, missing, surplus
from reachability.result import EdgeKind
from rendered import router_rules
from resources.resource import Resource
from resources.site import Graph
from tests.egress import with_egress
from tests.half import flat
from tests.policies.seen import proved, walked
from tests.policies.sound import Stack, run
from tests.routers import attached, beside_management, over_ssh, routed
from tests.site import configuration
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.model import RouterSystem
from verify.expect import Endpoint, EndpointKind, Expected, cells, guest

FLOW = "paperless -> site-1:443/tcp"
NAMES = "10.10.1.53"


def _with_the_sites_names() -> dict[str, Any]:
    """Return a site whose containers ask a guest on Docker-SRV's own network for names, as it does itself."""
    config = with_egress(beside_management(), FLOW)
    flows = [str(flow).replace("internet:53/udp", "name-server:53/udp") for flow in config["flows"]]
    kept = {"site-1 -> internet:53/udp", "name-server -> name-server:53/udp"}
    config["flows"] = [*dict.fromkeys(flow for flow in flows if flow not in kept)]
    config["hosts"]["docker-srv"]["name-servers"] = [NAMES]
    return config


def _on_its_own_network() -> dict[str, Any]:
    """Return a site without a router, whose Docker-SRV has an address on the VLAN of the sites."""
    config = with_egress(configuration(), FLOW)
    config["hosts"]["docker-srv"] = {**config["hosts"]["docker-srv"], "address": "10.10.10.4"}
    return config


def _in_a_lan() -> dict[str, Any]:
    """Return a site without a router and VLANs, whose Docker-SRV is in the guests' LAN."""
    config = with_egress(flat(), FLOW)
    config["hosts"]["docker-srv"] = {**config["hosts"]["docker-srv"], "address": "10.10.10.4"}
    return config


def _with_names_of_a_machine() -> dict[str, Any]:
    """Return a site with one container that asks the household's router for names, and others as before."""
    config = with_egress(attached(), FLOW, "paperless -> gate:53/udp")
    config["flows"].remove("paperless -> internet:53/udp")
    config["zones"]["gate"] = {"role": "external", "prefix": "192.168.3.1/32", "ports": ["53/udp"]}
    config["services"]["paperless"]["dns"] = ["192.168.3.1"]
    return config


SITES: dict[str, Callable[[], dict[str, Any]]] = {
    "by a router": lambda: with_egress(attached(), FLOW),
    "by VyOS": lambda: with_egress(attached("vyos"), FLOW),
    "beside legs of the ingress": lambda: with_egress(routed(), FLOW),
    "by a router that the stack sets": lambda: with_egress(over_ssh(), FLOW),
    "on Docker-SRV's own network": _on_its_own_network,
    "in a LAN without VLANs": _in_a_lan,
    "with the site's own names": _with_the_sites_names,
    "with names of a machine": _with_names_of_a_machine,
}


def graph(resources: list[Resource], config: dict[str, Any]) -> Graph:
    """Return the graph of what the program makes."""
    declared = TopologyIndex.of(load(config))
    return Graph(tuple(evaluate_resource(each, declared, {}).view for each in resources), declared)


@pytest.mark.parametrize("name", SITES)
def test_the_flow_is_possible_and_no_other(name: str) -> None:
    """The pack finds nothing; proof and packet walk know the container's flows to guests, and no other's."""
    config = SITES[name]()
    made = run(config)
    assert Stack(resources=made, config=config).judge().findings == ()
    seen = graph(made, config)
    containers = {each.name for each in seen.topology.containers} - {"traefik"}
    guests = {each.name for each in seen.topology.guests}
    wanted = {
        (flow.source, flow.destination, str(flow.port))
        for flow in seen.topology.flows
        if flow.source in containers and flow.destination in guests
    }
    packets = [one for one in seen.reachability.connection_sets() if one.how is not EdgeKind.PROXIED]
    found = {(source, one.destination, str(one.port)) for one in packets for source in one.sources}
    assert {each for each in found if each[0] in containers and each[1] in guests} == wanted
    assert proved(seen) == walked(seen)
    assert ("paperless", "site-1", "443/tcp") in wanted


@cache
def made() -> tuple[Resource, ...]:
    """Return the resources of the site by a router."""
    return tuple(run(SITES["by a router"]()))


def stack() -> Stack:
    """Return a fresh copy of that site's stack."""
    copied = [replace(each, inputs=copy.deepcopy(each.inputs)) for each in made()]
    return Stack(resources=copied, config=SITES["by a router"]())


THERE = r"ip daddr 10\.10\.10\.11"
LINE = r'iifname "br-egress" ip saddr 172\.30\.9\.\d+ ip daddr 10\.10\.10\.11 tcp dport 443 accept'
TEXTS: dict[str, tuple[str, str, str]] = {
    "another member": (rf"saddr \S+ ({THERE})", r"saddr 172.30.9.51 \1", "crawler -> site-1"),
    "every member": (rf"ip saddr 172\S+ ({THERE})", r"\1", "crawler -> site-1"),
    "no line": (rf"    {LINE}\n", "", "paperless -> site-1:443/tcp"),
    "another guest": (r"daddr 10\.10\.10\.11 tcp", "daddr 10.10.20.11 tcp", "paperless -> site-1:443/tcp"),
}
"""A change of the text of the host's own rules, and the beginning of a flow that it opens or closes."""


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_is_read_as_what_it_opens(name: str) -> None:
    """The proof tells what a changed line of the host's rules opens or closes."""
    old, new, flow = TEXTS[name]
    seen = graph([*made()], SITES["by a router"]())
    text = seen._host_rules
    changed = re.sub(old, new, text)
    assert changed != text
    seen = graph([*made()], SITES["by a router"]())
    seen.__dict__["_host_rules"] = changed
    intent = Intent.of(seen.topology)
    found = [str(each) for each in (*surplus(seen.reachability, intent), *missing(seen.reachability, intent))]
    assert any(each.startswith(flow) for each in found), found


GROUPS: dict[str, dict[str, Any]] = {
    "all of management": {"source": "10.10.1.0/24"},
    "the node": {"source": "10.10.1.5"},
    "everyone": {"source": None},
    "every port": {"dport": None},
    "another port": {"dport": "22"},
    "another protocol": {"proto": "udp"},
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_wider_rule_of_the_guest_is_refused(name: str) -> None:
    """A guest's rule for a container's flow accepts Docker-SRV's address on its port alone."""
    broken = stack()
    rules = broken.inputs("group", "site-1")["rules"]
    (rule,) = (each for each in rules if each["comment"] == f"traefik -> site-1:443/tcp, {FLOW}")
    assert (rule["source"], rule["dport"]) == ("10.10.1.4", "443")
    rule.update(GROUPS[name])
    assert broken.judge().findings


def test_the_probe_judges_the_flow() -> None:
    """The live probe expects the container's flow, and denies the guest to others and on other ports."""
    site = load(SITES["by a router"]())
    ends = [
        Endpoint(name=each, kind=EndpointKind.CONTAINER, zones=frozenset(site.services[each].zones))
        for each in ("paperless", "crawler")
    ]
    there = guest(site, site.guests[0], there=True)
    expected = {
        (cell.source, cell.port): cell.expected
        for cell in cells(site, [*ends, there])
        if cell.destination == "site-1"
    }
    assert expected["paperless", "443/tcp"] is Expected.ALLOWED
    assert {each for key, each in expected.items() if key != ("paperless", "443/tcp")} == {Expected.DENIED}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no egress zone": (
        {"paperless": {"zones": ["frontend"]}},
        f"{FLOW} can never work: paperless is in no egress zone; add egress to services.paperless.zones.",
    ),
    "a leg": (
        {"paperless": {"addresses": {"wordpress": "10.10.10.9"}}},
        (
            "can never work: only the ingress and apps that reach guests (prometheus) have legs; "
            "remove services.paperless.addresses.wordpress."
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_never_work_is_refused(name: str) -> None:
    """A container reaches guests from an egress zone alone, and has no leg of its own."""
    change, told = BAD[name]
    config = SITES["by a router"]()
    for service, keys in change.items():
        config["services"][service] = {**config["services"][service], **keys}
    with pytest.raises(ConfigError) as refused:
        load(config)
    assert told in str(refused.value)


@pytest.mark.parametrize("system", RouterSystem)
def test_the_router_has_one_rule_for_all_of_docker_srv(system: RouterSystem) -> None:
    """Containers share Docker-SRV's address, so their flows to one port of a guest are one rule."""
    one, both = with_egress(attached(system)), with_egress(attached(system), FLOW)
    assert router_rules.rules(load(one)) == router_rules.rules(load(both))


def test_an_isolated_guest_stays_alone() -> None:
    """No container but the ingress reaches the guest of an isolated zone."""
    config = SITES["by a router"]()
    config["flows"] += ["paperless -> vaultwarden:80/tcp"]
    with pytest.raises(ConfigError, match="reaches into vault, which is isolated"):
        load(config)


def test_names_need_their_flow() -> None:
    """A container asks the name servers of its host, or its own, by a declared flow."""
    config = _with_the_sites_names()
    config["flows"].remove("paperless -> name-server:53/udp")
    with pytest.raises(ConfigError, match="add paperless -> name-server:53/udp"):
        load(config)
    config = _with_names_of_a_machine()
    config["flows"].remove("paperless -> gate:53/udp")
    told = "192.168.3.1 is no name server that it reaches; declare paperless -> gate:53/udp"
    with pytest.raises(ConfigError, match=re.escape(told)):
        load(config)
