"""Rules for a router whose rules, or whose machine, this stack provides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.rule import Severity, Violation, policy
from policies.secrecy import leaves
from resources.proxmox_guests import RouterMachine, VirtualMachine
from resources.router_machine import is_meant, settings, wanted
from resources.site import Graph
from resources.typed import ProjectCommand, TypedResource, dotted
from topology.index import TopologyIndex


@policy(
    VirtualMachine,
    obligation="The machine of a router must be exactly what the stack file makes of it.",
    remedy="Declare in the stack file what is to differ, and make it by components/router_machine.py.",
    severity=Severity.CRITICAL,
)
def router_machine_as_declared(view: TypedResource[VirtualMachine], topology: TopologyIndex) -> Iterator[str]:
    """Yield each setting that differs: by another card or file it could pass what no rule of its names."""
    if not is_meant(view.inputs, topology):
        return
    given, declared = (_by_path(each) for each in (settings(view), wanted(topology)))
    for path in sorted(given.keys() | declared.keys()):
        if given.get(path) != declared.get(path):
            yield f"{path}: expected {declared.get(path, 'nothing')}"


def _by_path(found: Mapping[str, object]) -> Mapping[str, object]:
    return {dotted(at): value for at, value in leaves(dict(found), (str, int, float)) if value != ""}


@policy(
    obligation="A router that is declared as a guest must be in the stack.",
    remedy="Add components.router_machine, or remove the router's guest and make its machine by hand.",
)
def router_machine_made(graph: Graph) -> Iterator[Violation]:
    """Yield a declared router without its machine: no flow that crosses it works."""
    router = graph.topology.router
    if router and router.guest and not graph.of(RouterMachine):
        yield router.name, f"its machine {router.guest.vmid} is not in the stack as declared"


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
