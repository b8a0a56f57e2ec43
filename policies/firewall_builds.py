"""Rules for Proxmox's build of the firewall: whether it succeeds, and which standing ports it opens.

`reachability.faults` finds what Proxmox refuses, skips, or builds so that the kernel refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from policies.rule import Severity, Violation, policy
from policies.secrecy import texts
from reachability.address_sets import difference, prefix, union_all
from reachability.facts import IpsetEntry
from reachability.faults import RulesOwner, name_faults, rule_faults
from reachability.names import (
    MANAGEMENT,
    UnknownError,
    alias_faults,
    ipset,
    set_faults,
)
from reachability.rules import STANDING
from reachability.words import CompileError, KernelError, OctalError, WordError
from resources.facts import rules_of
from resources.proxmox import (
    Alias,
    DatacenterFirewall,
    FirewallRules,
    Ipset,
    SecurityGroup,
    bare_name,
)
from resources.site import Graph
from resources.typed import TypedResource, dotted
from topology.model import LOCAL_NETWORK


@policy(
    obligation="Proxmox must be able to build every rule, group, set and alias, and the kernel to take them.",
    remedy="Write it as Proxmox takes it, and name what the stack has in the scope where it is looked up.",
    severity=Severity.CRITICAL,
)
def firewall_can_be_built(graph: Graph) -> Iterator[Violation]:
    """Yield firewall configuration that Proxmox or the kernel refuses.

    A single such rule can leave guests without a filter, or all later rules without effect.
    """
    for rules in graph.of(FirewallRules):
        owner = RulesOwner.GUEST if rules.inputs.guest else RulesOwner.NODE
        yield from _of_rules(rules, owner, graph)
        for index, rule in enumerate(rules.inputs.rules):
            if rule.security_group and rule.security_group not in graph.groups:
                yield rules, f"rules[{index}] includes group {rule.security_group}, which is not in the stack"
    for group in graph.of(SecurityGroup):
        yield from _told(group, "", name_faults(group.inputs.name), RulesOwner.GROUP)
        yield from _of_rules(group, RulesOwner.GROUP, graph)
    for found in graph.of(Ipset):
        faults = set_faults(found.inputs.name, entries_of(found.inputs), graph.scope(found.inputs.guest))
        yield from _told(found, "", faults, RulesOwner.NODE)
    for alias in graph.of(Alias):
        yield from _told(alias, "", alias_faults(alias.inputs.name, alias.inputs.cidr), RulesOwner.NODE)
    yield from _lines_of_files(graph)


def _lines_of_files(graph: Graph) -> Iterator[Violation]:
    """Yield texts that add a line to a file of Proxmox's; only a guest's description is encoded there."""
    for view in graph.views:
        if view.resource.type.startswith("proxmoxve:"):
            for trail, text in texts(view.resource.inputs, ()):
                if trail[0] != "description" and len(text.splitlines()) > 1:
                    yield view, f"{dotted(trail)} can't be built: it is more than one line of Proxmox's file"


def _of_rules(view: TypedResource[Any], owner: RulesOwner, graph: Graph) -> Iterator[Violation]:
    scope = graph.scope(view.inputs.guest if owner is RulesOwner.GUEST else None)
    for index, rule in enumerate(rules_of(view)):
        yield from _told(view, f"rules[{index}] ", rule_faults(rule, scope, owner), owner)


def _told(
    view: TypedResource[Any], path: str, faults: Iterable[WordError], owner: RulesOwner
) -> Iterator[Violation]:
    for fault in faults:
        match fault:
            case OctalError():
                effect = "so iptables takes it for an octal number"
            case KernelError():
                effect = "so no further rule of the node takes effect"
            case CompileError() if owner is RulesOwner.GROUP:
                effect = "so Proxmox leaves the guests of the group without any filter"
            case CompileError():
                effect = "so Proxmox leaves it out"
            case _:
                effect = "so Proxmox refuses it"
        yield view, f"{path}can't be built: {fault}, {effect}"


def entries_of(found: Ipset) -> tuple[IpsetEntry, ...]:
    """Return the members of an ipset as facts."""
    return tuple(IpsetEntry(cidr=member.name, nomatch=member.nomatch) for member in found.cidrs)


@policy(
    obligation="The ports that Proxmox keeps open on a node must be open to management alone.",
    remedy="Add the datacenter's alias local_network, the management prefix; ipset management has no other.",
    severity=Severity.CRITICAL,
)
def standing_ports_for_management(graph: Graph) -> Iterator[Violation]:
    """Yield standing ports that are open beyond management.

    Proxmox itself opens these ports to its local network and to the members of ipset management.
    """
    wanted = graph.topology.local_network
    aliases = [
        each
        for each in graph.of(Alias)
        if not each.inputs.guest and each.inputs.name.lower() == LOCAL_NETWORK
    ]
    for each in aliases:
        if each.inputs.cidr != str(wanted):
            yield (
                each,
                f"{LOCAL_NETWORK} is {each.inputs.cidr or '(empty)'}, not the management prefix {wanted}",
            )
    for view in graph.of(DatacenterFirewall) if not aliases else ():
        ports = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in STANDING)
        yield (
            view,
            f"has no alias {LOCAL_NETWORK}, so ports {ports} of the node are open to its routed network",
        )
    inside = union_all(prefix(zone.prefix) for zone in graph.topology.management)
    for found in graph.of(Ipset):
        if found.inputs.guest or found.inputs.name.lower() != MANAGEMENT:
            continue
        try:
            beyond = difference(ipset(entries_of(found.inputs), graph.scope(None)), inside)
        except (UnknownError, WordError):
            continue
        if beyond or any(":" in _cidr(member.name, graph) for member in found.inputs.cidrs):
            yield found, "lets in addresses that are in no management zone"


def _cidr(member: str, graph: Graph) -> str:
    """Return a member of an ipset as the datacenter's alias of that name says it; IPv6 is in no zone."""
    aliases = {bare_name(each.inputs.name): each.inputs.cidr for each in graph.of(Alias)}
    return aliases.get(bare_name(member), member)
