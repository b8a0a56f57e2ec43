"""Rules for guests and the Proxmox firewall: one VLAN, three switches on, and rules that are declared flows.

What a reader would get wrong: Proxmox filters a guest only when the datacenter, the guest and the network
card all have the firewall on, and its default policy for what a guest sends is ACCEPT. Any one of them left
out leaves everything open without a word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from policies.declared import Declared
from policies.graph.proxmox import (
    Alias,
    Bridge,
    DatacenterFirewall,
    FirewallOptions,
    FirewallRule,
    FirewallRules,
    Ipset,
    NodeFirewall,
    SecurityGroup,
    SystemContainer,
    VirtualMachine,
    VlanInterface,
    bare_name,
)
from policies.graph.site import Graph
from policies.graph.view import View
from policies.rule import Severity, Violation, policy
from topology.model import INTERNET, Flow, Guest, ProxmoxHost, Role
from topology.reach_names import LOCAL_NETWORK, MANAGEMENT, Scope, UnknownError, addresses_of
from topology.reach_spans import ALL, Spans, cut, gather, prefix
from topology.reach_words import WordError

_REMEDY_RULES: Final = "State type, action ACCEPT, the peer of a declared flow, its protocol and its port."


def _declared(view: View[Any], topology: Declared) -> Guest | None:
    return topology.guests_by_name.get(view.inputs.name)


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest must be a declared service, with the id that is declared.",
    remedy="Declare the service in the stack file, or remove the guest.",
)
def guests_have_a_role(view: View[Any], topology: Declared) -> Iterator[str]:
    """A guest without a role: no zone, no flow and no rule says what it may do."""
    guest = _declared(view, topology)
    if guest is None:
        yield f"guest {view.inputs.name or '(unnamed)'} is no declared service"
    elif view.inputs.vm_id != guest.vm:
        yield f"its id is not the declared {guest.vm}, by which the firewall knows it"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest must have one network card, on its zone's VLAN and on no other.",
    remedy="Give it one card on the declared bridge with vlanId of its zone and without trunks.",
    severity=Severity.CRITICAL,
)
def guests_on_their_vlan(view: View[Any], topology: Declared) -> Iterator[str]:
    """A card without a tag sees every VLAN of its bridge; a second card joins two zones."""
    guest = _declared(view, topology)
    cards = [(index, card) for index, card in enumerate(view.inputs.cards) if card.connected]
    if len(cards) != 1:
        yield f"has {len(cards)} connected network cards instead of one"
    for index, card in cards:
        path = f"net{index}"
        if card.trunks:
            yield f"{path}: trunks {card.trunks} puts it on every VLAN of the trunk"
        if not card.vlan_id:
            yield f"{path}: vlanId is not set, so it sees every VLAN of {card.bridge}"
        elif guest and card.vlan_id != topology.zones[guest.zones[0]].vlan:
            yield f"{path}: VLAN {card.vlan_id} is not that of its zone {guest.zones[0]}"
        if card.bridge != topology.proxmox.bridge:
            yield f"{path}: bridge {card.bridge} is not the declared {topology.proxmox.bridge}"
    if view.inputs.node_name != topology.proxmox.node:
        yield f"is on node {view.inputs.node_name or '(none)'}, not on the declared {topology.proxmox.node}"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest must have its declared address and no other.",
    remedy="State the zone's address for the first card, the zone's gateway or none, and no IPv6.",
)
def guests_keep_their_address(view: View[Any], topology: Declared) -> Iterator[str]:
    """Rules name guests by address, so a guest with another address has another's rights."""
    guest = _declared(view, topology)
    if guest is None:
        return
    zone = topology.zones[guest.zones[0]]
    configs = view.inputs.initialization.ip_configs
    if [config.ipv4.address for config in configs] != [guest.address]:
        yield f"its address is not the declared {guest.address}"
    for config in configs:
        if config.ipv6 is not None:
            yield "has IPv6, which no rule of this site filters"
        if config.ipv4.gateway not in {"", str(zone.gateway)}:
            yield f"its gateway is not its zone's {zone.gateway}"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest must set itself up by its own declared cloud-init file, or by none.",
    remedy="Name the file that make cloud-init writes for it; no vendor, network or meta data, no SMBIOS.",
)
def guests_set_up_by_their_own(view: View[Any], topology: Declared) -> Iterator[str]:
    """User data decides what a guest runs, network data which address it takes."""
    guest, given = _declared(view, topology), view.inputs.initialization
    own = topology.user_data(guest) if guest else None
    if given.user_data_file_id != (own or ""):
        yield f"userDataFileId is {given.user_data_file_id or 'not set'}, not {own or 'left out'}"
    for name, file in (
        ("vendorDataFileId", given.vendor_data_file_id),
        ("networkDataFileId", given.network_data_file_id),
        ("metaDataFileId", given.meta_data_file_id),
    ):
        if file:
            yield f"{name} is {file}, not left out"
    if isinstance(view.inputs, VirtualMachine) and view.inputs.smbios:
        yield "smbios is set, where cloud-init looks for user data"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest's disks must be its own: copied from the declared template, or empty.",
    remedy="Clone the template of the Proxmox host; no file, path or volume that is there already.",
    severity=Severity.CRITICAL,
)
def guests_have_their_own_disks(view: View[Any], topology: Declared) -> Iterator[str]:
    """Another guest's disk holds its data, the node's holds everyone's, and a seed image brings user data."""
    clone, host = view.inputs.clone, topology.proxmox
    if clone and clone.vm_id != host.template:
        yield f"clone.vmId is {clone.vm_id or 'not set'}, not the template {host.template}"
    if clone and clone.node_name not in {"", host.node}:
        yield f"clone.nodeName is {clone.node_name}, not the declared {host.node}"
    for path, medium in view.inputs.media:
        for name in medium.foreign:
            yield f"{path}.{name} gives it content that is there already"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest's network cards must be its only way to the host.",
    remedy="Remove the property, or declare an exception that says what it is for.",
)
def guests_have_no_back_door(view: View[Any], _: Declared) -> Iterator[str]:
    """Passed-through devices, hook scripts and emulator arguments lead past the firewall."""
    for name in view.inputs.doors:
        yield f"{name} leads past its network cards"


@policy(
    VirtualMachine,
    SystemContainer,
    obligation="A guest's network card must have the firewall on.",
    remedy="Set firewall on the network card; without it the guest's rules do nothing.",
    severity=Severity.CRITICAL,
)
def cards_firewalled(view: View[Any], _: Declared) -> Iterator[str]:
    """The third switch, off by default."""
    for index, card in enumerate(view.inputs.cards):
        if card.connected and not card.firewall:
            yield f"net{index}: its firewall is off, so the guest's rules do nothing"


@policy(
    FirewallOptions,
    obligation="A guest's firewall must be on, drop both ways, and pin the guest's addresses.",
    remedy="Set enabled, inputPolicy and outputPolicy DROP, ipfilter and macfilter on, dhcp and radv off.",
    severity=Severity.CRITICAL,
)
def guest_options_closed(view: View[FirewallOptions], _: Declared) -> Iterator[str]:
    """The second switch; Proxmox's own default accepts whatever a guest sends."""
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
    remedy="Add firewall options and rules with the guest's vmId and node, and an ipfilter set for its card.",
    severity=Severity.CRITICAL,
)
def guests_firewalled(graph: Graph) -> Iterator[Violation]:
    """A guest without options has Proxmox's defaults: no firewall."""
    guests = {view.inputs.vm_id: view for view in graph.guests}
    for view in graph.guests:
        if not any(isinstance(each.inputs, FirewallOptions) for each in graph.owned(view.inputs.vm_id)):
            yield view, "has no firewall options, so its firewall is off"
    for vm_id, owned in graph.scoped.items():
        for each in owned if vm_id else ():
            guest = guests.get(vm_id)
            if guest is None:
                yield each, f"belongs to guest {vm_id}, which is not in the stack"
            elif each.inputs.node_name != guest.inputs.node_name:
                yield each, f"is for node {each.inputs.node_name or '(none)'}, where {guest.name} is not"


@policy(
    obligation="A guest's card must be pinned to the guest's declared address.",
    remedy="Add an ipset ipfilter-net0 with the guest's vmId, which holds that one address.",
    severity=Severity.CRITICAL,
)
def guests_pinned(graph: Graph) -> Iterator[Violation]:
    """The IP filter of a machine passes what its set holds: nothing without one, too much with more."""
    for view in graph.guests:
        guest = _declared(view, graph.topology)
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
def datacenter_closed(view: View[Any], _: Declared) -> Iterator[str]:
    """The first switch; with it off no other switch does anything."""
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
    obligation="Where there are guests, the datacenter's firewall must be on.",
    remedy="Add the cluster firewall, with a rule for management first.",
    severity=Severity.CRITICAL,
)
def datacenter_firewalled(graph: Graph) -> Iterator[Violation]:
    """Without the first switch all others are decoration."""
    if graph.guests and not graph.of(DatacenterFirewall):
        yield "datacenter", "its firewall is not in the stack, so no rule of any guest does anything"


@policy(
    obligation="A firewall that drops must let its administrators in.",
    remedy="Add an accept rule at the datacenter, from a management zone to the API's port.",
    severity=Severity.CRITICAL,
)
def administrators_not_locked_out(graph: Graph) -> Iterator[Violation]:
    """A datacenter that drops input without a management rule locks everybody out, the program included."""
    topology = graph.topology
    rules = [
        rule
        for view in graph.of(FirewallRules)
        if not view.inputs.guest
        for _, _, rule in _expanded(view, graph.groups)
    ]
    for view in graph.of(DatacenterFirewall):
        for flow in topology.flows_to(topology.proxmox.name) if view.inputs.enabled else ():
            if not any(
                _is_flow(rule, topology.proxmox.name, graph.scope(None), topology, flow) for rule in rules
            ):
                yield view, f"drops what comes in, and no rule accepts {flow}"


@policy(
    FirewallRules,
    SecurityGroup,
    obligation="An accept rule must state direction, peer, protocol and port.",
    remedy=_REMEDY_RULES,
)
def accept_rules_narrow(view: View[Any], _: Declared) -> Iterator[str]:
    """An accept rule without one of them is a door of unknown width."""
    for index, rule in enumerate(view.inputs.rules):
        if rule.security_group or rule.action != "ACCEPT":
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
    """A rule wider than its flow opens to whoever comes next, even if nobody is there today."""
    topology = graph.topology
    guests = {view.inputs.vm_id: guest for view in graph.guests if (guest := _declared(view, topology))}
    for view in graph.of(FirewallRules):
        guest = guests.get(view.inputs.guest)
        name = guest.name if guest else topology.proxmox.name
        for owner, index, rule in _expanded(view, graph.groups):
            # A group's names are the datacenter's, whichever guest includes it.
            scope = graph.scope(view.inputs.guest if owner is view else None)
            if rule.action == "ACCEPT" and rule.enabled and not _is_flow(rule, name, scope, topology):
                yield owner, f"rules[{index}] accepts what no declared flow of {name} needs ({rule})"


def _expanded(
    view: View[FirewallRules], groups: Mapping[str, View[SecurityGroup]]
) -> Iterator[tuple[View[Any], int, FirewallRule]]:
    for index, rule in enumerate(view.inputs.rules):
        group = groups.get(rule.security_group or "")
        if group:
            yield from ((group, position, inner) for position, inner in enumerate(group.inputs.rules))
        elif not rule.security_group:
            yield view, index, rule


def _is_flow(
    rule: FirewallRule, name: str, scope: Scope, topology: Declared, only: Flow | None = None
) -> bool:
    """Whether a rule accepts one declared flow of `name` (or just `only`), and nothing beside it."""
    inward = rule.type == "in"
    if rule.action != "ACCEPT" or not rule.enabled:
        return False
    declared = topology.flows_to(name) if inward else topology.flows_from(name)
    peers = _addresses(rule.source if inward else rule.dest, scope)
    return any(
        (rule.proto, rule.dport) == (str(flow.port.protocol), str(flow.port.number))
        and peers is not None
        and peers == _peer(flow.source if inward else flow.destination, name, topology)
        for flow in ((only,) if only else declared)
    )


def _peer(name: str, guest: str, topology: Declared) -> Spans | None:
    service = topology.services.get(name)
    if name == topology.ingress.name and guest in topology.services:
        leg = topology.zones[topology.services[guest].zones[0]].ingress
        return prefix(IPv4Network(leg)) if leg else None
    if isinstance(service, Guest):
        return prefix(IPv4Network(service.address))
    if name == INTERNET:
        return cut(ALL, gather(map(prefix, topology.nearby)))
    return prefix(topology.zones[name].prefix) if name in topology.zones else None


def _addresses(text: str | None, scope: Scope) -> Spans | None:
    """Addresses that a rule's source or dest stands for; None when that can't be told, or is left out."""
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
    """A rule that never matches is a promise that nobody keeps."""
    lists: list[View[FirewallRules] | View[SecurityGroup]] = [
        *graph.of(FirewallRules),
        *graph.of(SecurityGroup),
    ]
    for view in lists:
        seen: set[str] = set()
        for index, rule in enumerate(view.inputs.rules):
            for text in _useless(rule):
                yield view, f"rules[{index}] {text}"
            if str(rule) in seen:
                yield view, f"rules[{index}] repeats another ({rule})"
            seen.add(str(rule))
    rules = [rule for view in lists for rule in view.inputs.rules]
    included = {rule.security_group for rule in rules}
    for group in graph.of(SecurityGroup):
        if group.inputs.name not in included:
            yield group, f"no guest includes group {group.inputs.name}"
    named = {bare_name(part) for rule in rules for part in _parts(rule)} | {MANAGEMENT, LOCAL_NETWORK}
    names: list[View[Ipset] | View[Alias]] = [*graph.of(Ipset), *graph.of(Alias)]
    for each in names:
        if bare_name(each.inputs.name) not in named and not each.inputs.name.startswith("ipfilter-"):
            yield each, f"no rule names {each.inputs.name}"


def _useless(rule: FirewallRule) -> Iterator[str]:
    """Why a rule can't match."""
    if not rule.enabled:
        yield f"is switched off ({rule})"
    if not rule.security_group and (rule.type not in {"in", "out"} or not rule.action):
        yield f"has type {rule.type or '(none)'} and action {rule.action or '(none)'}, which is never applied"
    if rule.iface and rule.iface != "net0":
        yield f"is for {rule.iface}, which no guest here has"


def _parts(rule: FirewallRule) -> list[str]:
    ends = f"{rule.source or ''},{rule.dest or ''}".split(",")
    return [part.strip() for part in ends if part.strip()]


@policy(
    Bridge,
    VlanInterface,
    obligation="The bridge must carry the declared VLANs alone, and the node be on none of them.",
    remedy="Set vlanAware and vids to the declared VLANs; no address, gateway or port that nobody declared.",
)
def bridge_carries_declared_vlans(view: View[Any], topology: Declared) -> Iterator[str]:
    """A trunk wider than used carries what is plugged in next; a node on a VLAN is its guests' neighbour."""
    interface = view.inputs
    for name in ("address", "address6", "gateway", "gateway6"):
        if getattr(interface, name):
            yield f"{name} puts the node itself on it"
    if interface.node_name != topology.proxmox.node:
        yield f"is on node {interface.node_name or '(none)'}, not on the declared {topology.proxmox.node}"
    declared = {zone.vlan for zone in topology.vlans if zone.vlan}
    if isinstance(interface, Bridge):
        yield from _trunk(interface, topology.proxmox, declared)
    elif interface.vlan not in declared:
        yield f"VLAN {interface.vlan or '(none)'} is no declared zone"


def _trunk(bridge: Bridge, host: ProxmoxHost, declared: set[int]) -> Iterator[str]:
    if host.existing_bridge:
        yield f"makes a bridge, where {host.bridge} is declared to be there already"
    if bridge.name != host.bridge:
        yield f"bridge {bridge.name or '(unnamed)'} is not the declared {host.bridge}"
    if not bridge.vlan_aware:
        yield "vlanAware is off, so all guests share one network"
    for tag in _ranges(bridge.tags - declared):
        yield f"vids carries VLAN {tag}, which is no declared zone"
    for tag in _ranges(declared - bridge.tags):
        yield f"vids does not carry VLAN {tag}"
    for port in sorted({*bridge.ports} - {host.uplink}):
        yield f"port {port} leads to machines that nobody declared"
    if host.uplink and host.uplink not in bridge.ports:
        yield f"the declared uplink {host.uplink} is not its port, so no VLAN leaves the node"


def _ranges(tags: Iterable[int]) -> Iterator[str]:
    run: list[int] = []
    for tag in [*sorted(tags), -1]:
        if run and tag != run[-1] + 1:
            yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
            run = []
        run.append(tag)


@policy(
    obligation="The bridge that a guest is on must be in the stack, or declared to be there already.",
    remedy="Make the bridge in the same program, so that the pack sees which VLANs it carries.",
)
def bridges_exist(graph: Graph) -> Iterator[Violation]:
    """What the pack can't see may carry any VLAN, or tell none from the other: its owner's word is needed."""
    made = {view.inputs.name for view in graph.of(Bridge)}
    if graph.topology.proxmox.existing_bridge:
        made.add(graph.topology.proxmox.bridge)
    for view in graph.guests:
        for name in sorted({card.bridge for card in view.inputs.cards} - made):
            yield view, f"is on bridge {name}, which is not in the stack"


@policy(
    obligation="An isolated zone must have one tenant.",
    remedy="Move the other guest to a zone of its own.",
    severity=Severity.CRITICAL,
)
def isolated_guests_are_alone(graph: Graph) -> Iterator[Violation]:
    """Neighbours on a VLAN see each other's frames, whatever the firewall does with packets."""
    tenants = defaultdict(list)
    for view in graph.guests:
        for card in view.inputs.cards:
            tenants[card.vlan_id].append(view)
    for zone in graph.topology.vlans:
        if zone.role is Role.ISOLATED:
            for view in tenants[zone.vlan][1:]:
                yield view, f"is a second tenant of isolated VLAN {zone.vlan}"
