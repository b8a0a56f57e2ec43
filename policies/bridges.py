"""Rules for the guests' bridge: it carries only the declared VLANs, and the node has no address on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from policies.rule import Violation, policy
from resources.proxmox import (
    Bridge,
    VlanInterface,
)
from resources.proxmox_guests import RouterMachine
from resources.resource import UNKNOWN
from resources.site import Graph
from resources.typed import TypedResource
from topology.index import TopologyIndex
from topology.model import ProxmoxHost


@policy(
    Bridge,
    VlanInterface,
    obligation="The bridge must carry the declared VLANs alone, and the node be on none of them.",
    remedy="Set vlanAware and vids to the declared VLANs; no undeclared address, gateway or port.",
)
def bridge_carries_declared_vlans(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared VLANs, addresses and ports of a bridge or VLAN interface.

    An unused VLAN on a trunk connects the next machine plugged in; a node with an address on a VLAN is a
    neighbour of its guests.
    """
    interface = view.inputs
    for name in ("address", "address6", "gateway", "gateway6"):
        if view.resource.inputs.get(name) not in {None, "", UNKNOWN}:
            yield f"{name} puts the node itself on it"
    nodes = {host.node: host for host in topology.proxmox_hosts}
    host = nodes.get(interface.node_name)
    if host is None:
        yield f"is on node {interface.node_name or '(none)'}, not on the declared {' or '.join(nodes)}"
    declared = {zone.vlan for zone in topology.vlans if zone.vlan}
    if isinstance(interface, Bridge):
        yield from _trunk(interface, host or topology.proxmox, declared, needed=topology.needs_bridge)
    elif interface.vlan not in declared:
        yield f"VLAN {interface.vlan or '(none)'} is no declared zone"


def _trunk(bridge: Bridge, host: ProxmoxHost, declared: set[int], *, needed: bool) -> Iterator[str]:
    if host.existing_bridge or not needed:
        yield f"makes a bridge, where {host.bridge} is declared to be there already"
    if bridge.name != host.bridge:
        yield f"bridge {bridge.name or '(unnamed)'} is not the declared {host.bridge}"
    if declared and not bridge.vlan_aware:
        yield "vlanAware is off, so all guests share one network"
    if not declared and bridge.vlan_aware:
        yield "vlanAware is on, so guests without a tag see every VLAN of it"
    carried = bridge.tags if declared or bridge.vlan_aware else set()
    for tag in _ranges(carried - declared):
        yield f"vids carries VLAN {tag}, which is no declared zone"
    for tag in _ranges(declared - carried):
        yield f"vids does not carry VLAN {tag}"
    for port in sorted({*bridge.ports} - {host.uplink}):
        yield f"port {port} leads to undeclared machines"
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
    """Yield guests on a bridge that is not in the stack: a bridge unknown to the pack may mix VLANs."""
    made = {(view.inputs.node_name, view.inputs.name) for view in graph.of(Bridge)}
    made |= {(host.node, host.bridge) for host in graph.topology.proxmox_hosts if host.existing_bridge}
    flats = {zone.bridge for zone in graph.topology.vlans if zone.bridge}
    made |= {(host.node, name) for host in graph.topology.proxmox_hosts for name in flats}
    router = graph.topology.router
    own = {each.bridge for each in (*router.legs.values(), router.wan) if each} if router else set()
    made |= {(host.node, name) for host in graph.topology.proxmox_hosts for name in own if name}
    for view in (*graph.guests, *graph.of(RouterMachine)):
        for name in sorted({card.bridge for card in view.inputs.cards}):
            if (view.inputs.node_name, name) not in made:
                yield view, f"is on bridge {name}, which is not in the stack"
