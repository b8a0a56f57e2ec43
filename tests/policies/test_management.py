"""Management reaches guests through the site's router, on declared flows only."""

from functools import cache

from resources.site import Graph
from resources.typed import view
from tests.policies.sound import Stack, run, sound
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex


@cache
def _resources() -> Stack:
    config = configuration()
    for name in ("site-1", "vaultwarden"):
        config["services"][name]["ports"].append(22)
        config["flows"].append(f"management -> {name}:22/tcp")
    return Stack(resources=run(config), config=config)


def told(stack: Stack) -> list[str]:
    """Return the pack's messages about a stack."""
    return [finding.message for finding in stack.judge().findings]


def test_a_declared_flow_to_a_guest_is_possible() -> None:
    """SSH to a guest of a tenant or isolated zone can be declared like any other flow."""
    assert told(_resources()) == []


def test_the_router_opens_nothing_else() -> None:
    """The router is assumed to filter nothing: a guest's rule that admits management is a finding."""
    stack = sound()
    stack.resources, stack.config = _resources().resources, _resources().config
    rule = stack.inputs("group", "site-2")["rules"][0]
    source, rule["source"] = rule["source"], "10.10.1.0/24"
    try:
        found = told(stack)
    finally:
        rule["source"] = source
    assert any(
        line.startswith("management -> site-2:443/tcp: expected DENIED, got ALLOWED via router")
        for line in found
    ), found


def test_a_role_still_keeps_management_from_containers() -> None:
    """A container's published port bypasses the ingress, so `roles-hold` refuses it for management too."""
    stack = sound()
    stack.inputs("container", "grafana")["ports"] = [{"internal": 3000.0, "external": 3000.0}]
    stack.inputs("container", "grafana")["networksAdvanced"].append({"name": "edge"})
    assert {
        f.rule for f in stack.judge().findings if f.message.startswith("management -> grafana:3000/tcp")
    } == {"roles-hold"}


def test_without_such_a_flow_there_is_no_router() -> None:
    """Without a declared flow nothing leads from management to a VLAN."""
    stack = sound()
    graph = Graph(tuple(map(view, stack.resources)), TopologyIndex.of(load(stack.config)))
    assert graph.facts.gateways == ()
