"""Containers that ask external machines: sound sites pass, and each way past the host's rules is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from reachability.intent import Intent, missing, surplus
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.egress import with_machines
from tests.half import docker_alone
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import run
from tests.routers import attached, routed
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex

SITES: dict[str, Callable[[], dict[str, Any]]] = {
    "beyond the router": lambda: with_machines(configuration()),
    "Docker alone": lambda: with_machines(docker_alone()),
    "by a router": lambda: with_machines(routed()),
    "on a VLAN, by a router": lambda: _on_a_vlan(attached("vyos")),
}


def _on_a_vlan(config: dict[str, Any]) -> dict[str, Any]:
    found = with_machines(config)
    found["zones"]["machines"] = {**found["zones"]["machines"], "prefix": "10.10.20.64/28"}
    return found


def graph(resources: list[Resource], config: dict[str, Any]) -> Graph:
    """Return the graph of what the program makes."""
    return Graph(tuple(map(view, resources)), TopologyIndex.of(load(config)))


@pytest.mark.parametrize("name", SITES)
def test_the_flow_is_possible_and_no_other(name: str) -> None:
    """The pack finds nothing; proof and packet walk know one way to the machines, that of the flow."""
    config = SITES[name]()
    assert findings(config) == []
    seen = graph([*run(config)], config)
    for ways in (proved(seen), walked(seen)):
        hosts = {host.name for host in seen.topology.hosts}
        asked = {(source, str(port)) for source, end, port in ways if end == "machines"}
        containers = {each.name for each in seen.topology.containers}
        assert {each for each in asked if each[0] in containers - hosts} == {("crawler", "444/tcp")}


LINE = r'^    iifname "br-egress" ip saddr 172\.30\.9\.51 ip daddr 192\.168\.77\.0/24 tcp dport 444 accept\n'
TEXTS: dict[str, tuple[str, str, str]] = {
    "another member": (r"ip saddr 172\.30\.9\.51 (ip daddr 192)", r"ip saddr 172.30.9.35 \1", "paperless"),
    "another port": (r"tcp dport 444 accept", "tcp dport 445 accept", "crawler -> machines:*"),
    "another protocol": (r"tcp dport 444 accept", "udp dport 444 accept", "crawler -> machines:*"),
    "a wider prefix": (r"daddr 192\.168\.77\.0/24", "daddr 0.0.0.0/0", "crawler -> internet:*"),
    "management's prefix": (
        r"daddr 192\.168\.77\.0/24",
        "daddr 10.10.1.0/24",
        "crawler -> management:*",
    ),
    "no line": (LINE, "", "crawler -> machines:444/tcp"),
    "without a source": (r" ip saddr 172\.30\.9\.51 ip daddr 192", " ip daddr 192", "paperless -> machines"),
}
"""A change of the text of the host's own rules, and the beginning of a flow that it opens or closes."""


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_is_read_as_what_it_opens(name: str) -> None:
    """The proof tells what a changed line opens or closes."""
    old, new, flow = TEXTS[name]
    config = SITES["beyond the router"]()
    seen = graph([*run(config)], config)
    text = seen._host_rules  # the installed text, which the test changes
    changed = re.sub(old, new, text, flags=re.MULTILINE)
    assert changed != text
    seen = graph([*run(config)], config)
    seen.__dict__["_host_rules"] = changed
    intent = Intent.of(seen.topology)
    found = [str(each) for each in (*surplus(seen.reachability, intent), *missing(seen.reachability, intent))]
    assert any(each.startswith(flow) for each in found), found
