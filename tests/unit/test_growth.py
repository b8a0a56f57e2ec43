"""How the work of loading, of judging a firewall and of nested services grows, in the interpreter's steps."""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from policies.rule import RULES, of_stack
from reachability.facts import Proxy, ProxyService, Router, RouterProtocol
from reachability.proxy import servers
from resources.site import Graph
from resources.traefik import Configuration
from resources.typed import view
from tests.policies.sound import sound
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex

SIZES = (40, 80, 160)


def steps(run: Callable[[], Any]) -> int:
    """Return how many bytecodes a call runs, the same on each machine."""
    found = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal found
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        found += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return found


def of_flows(count: int) -> dict[str, Any]:
    """Return a site in which the ingress has flows to that many services."""
    config = configuration()
    for index in range(count):
        name = f"app-{index}"
        config["services"][name] = {"zones": ["frontend"], "image": "app:1", "ports": [7000]}
        config["flows"].append(f"traefik -> {name}:7000/tcp")
    return config


def of_ports(count: int) -> dict[str, Any]:
    """Return a site in which one guest has that many ports, each with a flow to it."""
    config = configuration()
    config["services"]["jellyfin"]["ports"] += range(20000, 20000 + count)
    config["flows"] += [f"stirling-pdf -> jellyfin:{20000 + index}/tcp" for index in range(count)]
    return config


@pytest.mark.parametrize("site", [of_flows, of_ports])
def test_loading_grows_linearly(site: Callable[[int], dict[str, Any]]) -> None:
    """Twice as many services, flows or ports add about twice as many steps."""
    load(site(1))  # builds the validators
    small, middle, large = (steps(partial(load, site(size))) for size in SIZES)
    assert (large - middle) / (middle - small) < 2.3


def firewall(count: int) -> Graph:
    """Return a stack with a guest of that many rules, and that many other guests with a group each."""
    stack = sound()
    group = stack.inputs("group", "jellyfin")
    for index in range(count):
        rule = {"type": "in", "action": "ACCEPT", "source": "10.10.20.12", "proto": "tcp"}
        group["rules"].append({**rule, "dport": str(20000 + index)})
        stack.add("group", f"g{index}", {"name": f"g{index}", "rules": [{**rule, "dport": "80"}]})
        of_guest = {"nodeName": "pve1", "vmId": 1000 + index, "rules": [{"securityGroup": f"g{index}"}]}
        stack.add("rules", f"r{index}", of_guest)
    return Graph(tuple(map(view, stack.resources)), TopologyIndex.of(load(of_ports(count))))


@pytest.mark.parametrize("rule", ["firewall-can-be-built", "accept-rules-declared"])
def test_firewall_rules_are_judged_in_linear_time(rule: str) -> None:
    """Twice as many rules, groups and flows cost a rule of the pack about twice as many steps."""

    def judge(graph: Graph) -> None:
        findings = [*of_stack(RULES[rule], graph)]
        assert not any("can't be judged" in each.message for each in findings)

    judge(firewall(SIZES[-1]))  # fills the caches of words and addresses
    small, middle, large = (steps(partial(judge, firewall(size))) for size in SIZES)
    assert (large - middle) / (middle - small) < 2.3


CHAIN = {f"s{level}": (f"s{level + 1}", f"s{level + 1}") for level in range(16)}
"""Services that forward to the next one by two ways each."""


def test_each_server_of_nested_services_is_read_once() -> None:
    """Services nested 16 deep, with two ways each, lead to their one server once: to engine and pack."""
    url = "http://loki:3100"
    weighted = {
        name: {"weighted": {"services": [{"name": each} for each in inner]}} for name, inner in CHAIN.items()
    }
    weighted["s16"] = {"loadBalancer": {"servers": [{"url": url}]}}
    http = {"services": weighted, "routers": {"r": {"service": "s0", "rule": "Path(`/`)"}}}
    found = Configuration(static={}, dynamic=(("routes.yml", {"http": http}),), unread=())
    assert [target for _, _, target in found.targets()] == [url]
    last = ProxyService(name="s16", origin="o", servers=(url,))
    nested = [ProxyService(name=name, origin="o", services=inner) for name, inner in CHAIN.items()]
    router = Router(name="r", origin="r", kind=RouterProtocol.HTTP, service="s0")
    proxy = Proxy(container="traefik", origin="o", routers=(router,), services=(*nested, last))
    assert [server.host for server in servers(proxy)] == ["loki"]
