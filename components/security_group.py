"""One security group a guest: accept rules for the declared flows to or from the guest, and no other rule.

Note: a guest's policy is DROP in both directions, so a flow between two guests of one VLAN needs a rule in
both groups. Both rules come from the same declared flow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import INTERNET, Container, Flow, Guest, Port, Topology


@dataclass(frozen=True, kw_only=True)
class SecurityGroupArgs:
    """`aliases` and `internet` come from the datacenter's firewall."""

    topology: Topology
    guest: Guest
    aliases: Mapping[str, pulumi.Input[str]]
    internet: pulumi.Input[str] | None


class SecurityGroup(pulumi.ComponentResource):
    """The group; a guest's rules refer to it by the `name` output."""

    def __init__(
        self, name: str, args: SecurityGroupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:SecurityGroup", name, None, opts)
        topology, guest = args.topology, args.guest
        inbound = [
            _rule(flows, "in", source=_peer(args, flows[0].source)) for flows in _alike(topology, guest)
        ]
        outbound = [
            _rule([flow], "out", dest=_peer(args, flow.destination))
            for flow in topology.flows_from(guest.name)
        ]
        self.name = proxmox.cluster.firewall.security.GroupLegacy(
            name,
            name=topology.physical(guest.name),
            comment=f"Declared flows of {guest.name}",
            rules=[*inbound, *outbound],
            opts=pulumi.ResourceOptions(parent=self),
        ).name
        self.register_outputs({"name": self.name})


def _alike(topology: Topology, guest: Guest) -> Iterable[list[Flow]]:
    """Return the flows to a guest by their rules: containers behind Docker-SRV's address share one."""
    found: defaultdict[tuple[str, Port], list[Flow]] = defaultdict(list)
    for flow in topology.flows_to(guest.name):
        found[topology.docker.name if flow in topology.routed else flow.source, flow.port].append(flow)
    return found.values()


def _peer(args: SecurityGroupArgs, name: str) -> pulumi.Input[str]:
    """Return the other end of a flow in Proxmox's notation."""
    topology = args.topology
    if name == INTERNET and args.internet is not None:
        return pulumi.Output.concat("+dc/", args.internet)
    near = args.guest.zones[0]
    for leg in topology.legs.every:
        if (leg.service, leg.zone.name) == (name, near):
            return pulumi.Output.concat("dc/", args.aliases[leg.alias])
    peer = topology.services.get(name)
    if isinstance(peer, Container):
        return str(topology.docker.address)
    if topology.router and name == topology.router.name:
        return str(topology.router.own_address(topology.zones[near]))
    return str(peer.address) if isinstance(peer, Guest) else str(topology.zones[name].prefix)


def _rule(
    flows: list[Flow],
    direction: str,
    *,
    source: pulumi.Input[str] | None = None,
    dest: pulumi.Input[str] | None = None,
) -> proxmox.cluster.firewall.security.GroupLegacyRuleArgs:
    return proxmox.cluster.firewall.security.GroupLegacyRuleArgs(
        type=direction,
        action="ACCEPT",
        source=source,
        dest=dest,
        proto=str(flows[0].port.protocol),
        dport=str(flows[0].port.number),
        comment=", ".join(map(str, flows)),
    )
