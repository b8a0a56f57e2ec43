"""One security group a guest: an accept rule for each declared flow to or from the guest, and no other rule.

Note: a guest's policy is DROP in both directions, so a flow between two guests of one VLAN needs a rule in
both groups. Both rules come from the same declared flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import INTERNET, Flow, Guest, Topology


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
            _rule(flow, "in", source=_peer(args, flow.source)) for flow in topology.flows_to(guest.name)
        ]
        outbound = [
            _rule(flow, "out", dest=_peer(args, flow.destination)) for flow in topology.flows_from(guest.name)
        ]
        self.name = proxmox.cluster.firewall.security.GroupLegacy(
            name,
            name=topology.physical(guest.name),
            comment=f"Declared flows of {guest.name}",
            rules=[*inbound, *outbound],
            opts=pulumi.ResourceOptions(parent=self),
        ).name
        self.register_outputs({"name": self.name})


def _peer(args: SecurityGroupArgs, name: str) -> pulumi.Input[str]:
    """Return the other end of a flow in Proxmox's notation."""
    topology = args.topology
    if name == INTERNET and args.internet is not None:
        return pulumi.Output.concat("+dc/", args.internet)
    near = args.guest.zones[0]
    for leg in topology.legs.every:
        if (leg.service, leg.zone.name) == (name, near):
            return pulumi.Output.concat("dc/", args.aliases[leg.alias])
    if name == topology.ingress_name:
        return str(topology.docker.address)
    if topology.router and name == topology.router.name:
        return str(topology.router.own_address(topology.zones[near]))
    peer = topology.services.get(name)
    return str(peer.address) if isinstance(peer, Guest) else str(topology.zones[name].prefix)


def _rule(
    flow: Flow,
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
        proto=str(flow.port.protocol),
        dport=str(flow.port.number),
        comment=str(flow),
    )
