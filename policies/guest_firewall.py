"""Rules for the Proxmox firewall: all three switches are on, and every accept rule is a declared flow.

Note: Proxmox filters a guest only when the datacenter, the guest and the network card all have the firewall
on, and a guest's default output policy is ACCEPT. Without any one of these, everything is open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from policies.guests import declared
from policies.rule import Severity, Violation, policy
from reachability.address_sets import ALL, IPSet, difference, prefix, union_all
from reachability.names import MANAGEMENT, Scope, UnknownError, addresses_of
from reachability.words import WordError
from resources.proxmox import (
    Alias,
    DatacenterFirewall,
    FirewallOptions,
    FirewallRule,
    FirewallRules,
    Ipset,
    NodeFirewall,
    SecurityGroup,
    bare_name,
)
from resources.proxmox_guests import GUESTS, SystemContainer, VirtualMachine
from resources.site import Graph
from resources.typed import TypedResource
from topology.index import TopologyIndex
from topology.model import INTERNET, LOCAL_NETWORK, Container, Flow, Guest

_REMEDY_RULES: Final = "State type, action ACCEPT, the peer of a declared flow, its protocol and its port."


@policy(
    *GUESTS.values(),
    obligation="A guest's network card must have the firewall on.",
    remedy="Set firewall on the network card; without it the guest's rules do nothing.",
    severity=Severity.CRITICAL,
)
def cards_firewalled(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield connected cards without the firewall, which is off by default."""
    for index, card in enumerate(view.inputs.cards):
        if card.connected and not card.firewall:
            yield f"net{index}: its firewall is off, so the guest's rules do nothing"


@policy(
    FirewallOptions,
    obligation="A guest's firewall must be on, drop both ways, and pin the guest's addresses.",
    remedy="Set enabled, inputPolicy and outputPolicy DROP, ipfilter and macfilter on, dhcp and radv off.",
    severity=Severity.CRITICAL,
)
def guest_options_closed(view: TypedResource[FirewallOptions], _: TopologyIndex) -> Iterator[str]:
    """Yield guest options that are not closed; Proxmox's default accepts everything that a guest sends."""
    options = view.inputs
    if not options.enabled:
        yield "enabled is off, so the guest's rules do nothing"
    for name, value in (("inputPolicy", options.input_policy), ("outputPolicy", options.output_policy)):
        if value != "DROP":
            yield f"{name} is {value or 'not set'}, not DROP"
    for name, given, wanted in (
        ("ipfilter", options.ipfilter, True),
        ("macfilter", options.macfilter, True),
        ("dhcp", options.dhcp, False),
        ("radv", options.radv, False),
    ):
        if given is not wanted:
            yield f"{name} is {'off' if wanted else 'on'}, so the guest can {_MEANS[name]}"


_MEANS: Final = {
    "ipfilter": "send from another's address",
    "macfilter": "send from another's hardware address",
    "dhcp": "answer and ask for addresses past its rules",
    "radv": "announce itself as a router",
}


@policy(
    obligation="Every guest must have a firewall of its own, and every firewall a guest.",
    remedy="Add options and rules with the guest's vmId (containerId for a system container) and its node.",
    severity=Severity.CRITICAL,
)
def guests_firewalled(graph: Graph) -> Iterator[Violation]:
    """Yield guests without firewall options, and firewall resources without their guest."""
    guests = {view.inputs.vm_id: view for view in graph.guests}
    for view in graph.guests:
        if not any(isinstance(each.inputs, FirewallOptions) for each in graph.owned(view.inputs.vm_id)):
            yield view, "has no firewall options, so its firewall is off"
    for vm_id, owned in graph.scoped.items():
        for each in owned if vm_id else ():
            guest = guests.get(vm_id)
            if guest is None:
                yield each, f"belongs to guest {vm_id}, which is not in the stack"
                continue
            if each.inputs.node_name != guest.inputs.node_name:
                yield each, f"is for node {each.inputs.node_name or '(none)'}, where {guest.name} is not"
            wrong, kind = (
                (each.inputs.vm_id, "vmId, and it is a system container")
                if isinstance(guest.inputs, SystemContainer)
                else (each.inputs.container_id, "containerId, and it is a virtual machine")
            )
            if wrong:
                yield each, f"names {guest.name} by {kind}"


@policy(
    obligation="A guest's card must be pinned to the guest's declared address.",
    remedy="Add an ipset ipfilter-net0 with the guest's vmId, which holds that one address.",
    severity=Severity.CRITICAL,
)
def guests_pinned(graph: Graph) -> Iterator[Violation]:
    """Yield guests that are not pinned to their declared address.

    A machine's IP filter passes the members of its ipset: nothing without one, too much with other members.
    """
    for view in graph.guests:
        guest = declared(view, graph.topology)
        sets = {
            each.inputs.name: each
            for each in graph.owned(view.inputs.vm_id)
            if isinstance(each.inputs, Ipset) and each.inputs.name.startswith("ipfilter-")
        }
        if guest and "ipfilter-net0" not in sets and isinstance(view.inputs, VirtualMachine):
            yield view, "has no ipset ipfilter-net0, so its IP filter passes nothing"
        for each in sets.values():
            members = [_network(member.name) for member in each.inputs.cidrs if not member.nomatch]
            if guest and members != [[IPv4Network(guest.address)]]:
                yield each, f"does not pin {guest.name} to its declared {guest.address} alone"


@policy(
    DatacenterFirewall,
    NodeFirewall,
    obligation="The firewall of the datacenter and of each node must be on and drop what comes in.",
    remedy="Set enabled, inputPolicy DROP and ebtables; a node's firewall stays enabled, nftables off.",
    severity=Severity.CRITICAL,
)
def datacenter_closed(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield open datacenter and node firewalls; without the datacenter's switch no other one has effect."""
    firewall = view.inputs
    if not firewall.enabled:
        yield "enabled is off, so no rule of any guest does anything"
    if isinstance(firewall, DatacenterFirewall):
        if firewall.input_policy != "DROP":
            yield f"inputPolicy is {firewall.input_policy or 'not set'}, not DROP"
        if not firewall.ebtables:
            yield "ebtables is off, so no guest's hardware address is checked"
    elif firewall.nftables:
        yield "nftables is on, so another firewall acts, which does not filter as these rules say"


@policy(
    obligation="Where there is a Proxmox host, the datacenter's firewall must be on.",
    remedy="Add the cluster firewall, with a rule for management first.",
    severity=Severity.CRITICAL,
)
def datacenter_firewalled(graph: Graph) -> Iterator[Violation]:
    """Yield a violation if a host or a guest is there, but no datacenter firewall in the stack."""
    if (graph.guests or graph.topology.proxmox_host) and not graph.of(DatacenterFirewall):
        yield "datacenter", "its firewall is not in the stack, so no rule of any guest does anything"


@policy(
    obligation="A firewall that drops must let its administrators in.",
    remedy="Add an accept rule at the datacenter, from a management zone to the API's port.",
    severity=Severity.CRITICAL,
)
def administrators_not_locked_out(graph: Graph) -> Iterator[Violation]:
    """Yield management flows that the datacenter drops, which would lock out the program too."""
    topology = graph.topology
    for host in topology.proxmox_hosts:
        rules = [
            rule
            for view in graph.of(FirewallRules)
            if not view.inputs.guest and view.inputs.node_name in {"", host.node}
            for _, _, rule in _expanded(view, graph.groups)
        ]
        for view in graph.of(DatacenterFirewall):
            for flow in topology.flows_to(host.name) if view.inputs.enabled else ():
                needed = {_packets("in", flow, host.name, topology)}
                if not any(_is_flow(rule, graph.scope(None), needed) for rule in rules):
                    yield view, f"drops what comes in, and no rule accepts {flow}"


@policy(
    obligation="A guest's firewall must drop what is undeclared, not only observe it.",
    remedy="Take observed-until out of the stack file, or declare an exception that ends then.",
    severity=Severity.CRITICAL,
)
def guests_enforced(graph: Graph) -> Iterator[Violation]:
    """Yield observed guests: their firewalls accept and log what no declared flow needs."""
    for guest in graph.topology.observed_guests:
        yield guest.name, f"its firewall lets everything in and out through {guest.observed_until}"


@policy(
    FirewallRules,
    SecurityGroup,
    obligation="An accept rule must state direction, peer, protocol and port.",
    remedy=_REMEDY_RULES,
)
def accept_rules_narrow(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield accept rules without direction, peer, protocol or port, or with a macro."""
    for index, rule in enumerate(view.inputs.rules):
        if rule.security_group or rule.action != "ACCEPT" or _observes(rule, view, topology):
            continue
        missing = [
            name
            for name, value in (
                ("source" if rule.type == "in" else "dest", rule.source if rule.type == "in" else rule.dest),
                ("proto", rule.proto),
                ("dport", rule.dport),
            )
            if not value
        ]
        if missing:
            yield f"rules[{index}] accepts without {', '.join(missing)}"
        if rule.macro:
            yield f"rules[{index}] accepts by macro {rule.macro}, which is wider than a flow"


@policy(
    obligation="Every accept rule must be a declared flow.",
    remedy="Declare the flow, or remove the rule.",
    severity=Severity.CRITICAL,
)
def accept_rules_declared(graph: Graph) -> Iterator[Violation]:
    """Yield accept rules that no declared flow needs, even if no guest uses the address today."""
    topology = graph.topology
    guests = {view.inputs.vm_id: guest for view in graph.guests if (guest := declared(view, topology))}
    for view in graph.of(FirewallRules):
        guest = guests.get(view.inputs.guest)
        names = [guest.name] if guest else _nodes(view.inputs.node_name, topology)
        name = " and ".join(names) or "Proxmox-SRV"
        # What every node lets in, a flow to every node must need.
        needed = set.intersection(*(_needed(each, topology) for each in names)) if names else set()
        for owner, index, rule in _expanded(view, graph.groups):
            # A group's rules use the datacenter's names, for every guest that includes the group.
            scope = graph.scope(view.inputs.guest if owner is view else None)
            if _observes(rule, owner, topology):
                continue
            if rule.action == "ACCEPT" and rule.enabled and not _is_flow(rule, scope, needed):
                yield owner, f"rules[{index}] accepts what no declared flow of {name} needs ({rule})"


def _observes(rule: FirewallRule, view: TypedResource[Any], topology: TopologyIndex) -> bool:
    """Whether a rule of an observed guest's own list lets everything pass and logs it."""
    own = rule.observes and isinstance(view.inputs, FirewallRules)
    return own and any(guest.vmid == view.inputs.guest for guest in topology.observed_guests)


def _nodes(node: str, topology: TopologyIndex) -> list[str]:
    """Return the hosts that a rule of no guest acts on: the node it names, else every node."""
    return [host.name for host in topology.proxmox_hosts if node in {"", host.node}]


def _needed(name: str, topology: TopologyIndex) -> set[_Packets]:
    """Return what the declared flows of a guest or node need."""
    inbound = (_packets("in", flow, name, topology) for flow in topology.flows_to(name))
    outbound = (_packets("out", flow, name, topology) for flow in topology.flows_from(name))
    return {*inbound, *outbound}


def _expanded(
    view: TypedResource[FirewallRules], groups: Mapping[str, TypedResource[SecurityGroup]]
) -> Iterator[tuple[TypedResource[Any], int, FirewallRule]]:
    for index, rule in enumerate(view.inputs.rules):
        group = groups.get(rule.security_group or "")
        if group:
            yield from ((group, position, inner) for position, inner in enumerate(group.inputs.rules))
        elif not rule.security_group:
            yield view, index, rule


_Packets = tuple[str, str | None, str | None, IPSet | None]
"""What an accept rule lets pass: direction, protocol, port, and the addresses of the other end."""


def _packets(direction: str, flow: Flow, name: str, topology: TopologyIndex) -> _Packets:
    """Return what a declared flow of `name` needs; addresses None: no rule can name its other end."""
    peer = flow.source if direction == "in" else flow.destination
    return direction, flow.port.protocol, str(flow.port.number), _peer(peer, name, topology)


def _is_flow(rule: FirewallRule, scope: Scope, needed: Collection[_Packets]) -> bool:
    """Whether a rule accepts exactly what one of some flows needs: nothing more, and from any port."""
    if rule.action != "ACCEPT" or not rule.enabled or rule.sport:
        return False
    direction = "in" if rule.type == "in" else "out"
    peers = _addresses(rule.source if direction == "in" else rule.dest, scope)
    return peers is not None and (direction, rule.proto, rule.dport, peers) in needed


def _peer(name: str, guest: str, topology: TopologyIndex) -> IPSet | None:
    service = topology.services.get(name)
    if isinstance(service, Container) and guest in topology.services:
        leg = topology.legs.of(name).get(topology.services[guest].zones[0])
        behind = any((flow.source, flow.destination) == (name, guest) for flow in topology.routed)
        if leg is None and (behind or (topology.router and name == topology.ingress_name)):
            leg = topology.docker.address
        return prefix(IPv4Network(leg)) if leg else None
    if topology.router and name == topology.router.name and guest in topology.services:
        zone = topology.zones[topology.services[guest].zones[0]]
        return prefix(IPv4Network(topology.router.own_address(zone)))
    if isinstance(service, Guest):
        return prefix(IPv4Network(service.address))
    if name == INTERNET:
        return difference(ALL, union_all(map(prefix, topology.nearby)))
    return prefix(topology.zones[name].prefix) if name in topology.zones else None


def _addresses(text: str | None, scope: Scope) -> IPSet | None:
    """Return the addresses of a rule's source or dest; None if missing or unreadable."""
    try:
        return addresses_of(text, scope) if text else None
    except (UnknownError, WordError):
        return None


def _network(text: str) -> list[IPv4Network] | None:
    try:
        return [IPv4Network(text, strict=False)]
    except ValueError:
        return None


@policy(
    obligation="A rule, group, set or alias of the firewall must be able to match.",
    remedy="Remove it, or name what exists.",
    severity=Severity.MEDIUM,
)
def firewall_rules_match(graph: Graph) -> Iterator[Violation]:
    """Yield rules, groups, sets and aliases that never match or are never used."""
    lists: list[TypedResource[FirewallRules] | TypedResource[SecurityGroup]] = [
        *graph.of(FirewallRules),
        *graph.of(SecurityGroup),
    ]
    for view in lists:
        seen: set[str] = set()
        for index, rule in enumerate(view.inputs.rules):
            for text in _useless(rule, view):
                yield view, f"rules[{index}] {text}"
            if str(rule) in seen:
                yield view, f"rules[{index}] repeats another ({rule})"
            seen.add(str(rule))
    rules = [rule for view in lists for rule in view.inputs.rules]
    included = {rule.security_group for rule in rules}
    for group in graph.of(SecurityGroup):
        if group.inputs.name not in included:
            yield group, f"no guest includes group {group.inputs.name}"
    named = {bare_name(part) for rule in rules for part in _parts(rule)} | _STANDING
    names: list[TypedResource[Ipset] | TypedResource[Alias]] = [*graph.of(Ipset), *graph.of(Alias)]
    for each in names:
        if bare_name(each.inputs.name) not in named and not each.inputs.name.startswith("ipfilter-"):
            yield each, f"no rule names {each.inputs.name}"


def _useless(rule: FirewallRule, view: TypedResource[Any]) -> Iterator[str]:
    """Yield the reasons why a rule of a list or group cannot match."""
    of_node = isinstance(view.inputs, FirewallRules) and not view.inputs.guest
    if not rule.enabled:
        yield f"is switched off ({rule})"
    if not rule.security_group and (rule.type not in {"in", "out"} or not rule.action):
        yield f"has type {rule.type or '(none)'} and action {rule.action or '(none)'}, which is never applied"
    if rule.iface and (of_node or rule.iface != "net0"):
        yield f"is for {rule.iface}, which no {'node here is known to have' if of_node else 'guest here has'}"


_STANDING: Final = frozenset({MANAGEMENT, LOCAL_NETWORK, "blacklist"})
"""Names that Proxmox itself uses, whether a rule has them or not."""


def _parts(rule: FirewallRule) -> list[str]:
    ends = f"{rule.source or ''},{rule.dest or ''}".split(",")
    return [part.strip() for part in ends if part.strip()]
