"""Rules for a router whose rules this stack installs."""

from __future__ import annotations

from collections.abc import Iterator

from policies.rule import Severity, Violation, policy
from resources.site import Graph
from resources.typed import ProjectCommand


@policy(
    obligation="A router that the stack reaches must have its rules, and restore them at boot.",
    remedy="Add components.router_firewall, or remove the router's ssh and install its rules by hand.",
    severity=Severity.CRITICAL,
)
def router_rules_installed(graph: Graph) -> Iterator[Violation]:
    """Yield a router without its rules: it forwards everything, after its next boot if not at once."""
    router = graph.topology.router
    if router is None or router.ssh is None:
        return
    for command, what in (
        (ProjectCommand.ROUTER_RULES, "its rules are"),
        (ProjectCommand.ROUTER_BOOT_RULES, "what restores its rules at boot is"),
    ):
        if command not in graph.commands:
            yield router.name, f"{what} not in the stack"
