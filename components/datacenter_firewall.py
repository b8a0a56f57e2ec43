"""The Proxmox firewall's datacenter switch, with the management rule that keeps administrators' access.

Creates the datacenter's options and rules, for several nodes each node's own rules, the aliases by which
guests' rules refer to containers' legs, and the alias `local_network`: the network that may reach a node's
own ports, by default the one that the node is routed in. Proxmox's own ipset `management` stays unchanged.

Note: the firewall is enabled last, after the management rules and the alias exist, because a datacenter that
drops input without them locks its administrators out.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import INTERNET, LOCAL_NETWORK, Guest, Leg, ProxmoxHost, Topology

_EVERYWHERE = ("0.0.0.0/1", "128.0.0.0/1")
"""All addresses; a Proxmox IP set does not accept prefixes of length 0."""


@dataclass(frozen=True, kw_only=True)
class DatacenterFirewallArgs:
    """The site; `topology.config` rejects one without a management flow."""

    topology: Topology


class DatacenterFirewall(pulumi.ComponentResource):
    """The datacenter's firewall, which drops all input except from management.

    `aliases` maps `Leg.alias` to the alias; `internet` is the IP set of the addresses that guests' egress may
    reach, None where no guest has egress.
    """

    def __init__(
        self, name: str, args: DatacenterFirewallArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:DatacenterFirewall", name, None, opts)
        topology = args.topology
        child = pulumi.ResourceOptions(parent=self)
        self.internet: pulumi.Output[str] | None = None
        self.aliases: dict[str, pulumi.Output[str]] = {
            leg.alias: proxmox.firewall.AliasLegacy(
                leg.alias,
                name=topology.physical(leg.alias),
                cidr=str(leg.address),
                comment=f"{_owner(topology, leg)} leg on zone {leg.zone.name}",
                opts=child,
            ).name
            for leg in topology.legs.every
        }
        ends = {f.source for f in topology.flows_to(INTERNET)}
        ends |= {f.destination for f in topology.flows_from(INTERNET)}
        if any(isinstance(topology.services.get(name), Guest) for name in ends):
            self.internet = proxmox.firewall.IpsetLegacy(
                "internet",
                name=topology.physical("internet"),
                comment="Every address except the site's own and the unassigned ones there",
                cidrs=[
                    *(proxmox.firewall.IpsetLegacyCidrArgs(name=half) for half in _EVERYWHERE),
                    *(
                        proxmox.firewall.IpsetLegacyCidrArgs(name=str(prefix), nomatch=True)
                        for prefix in topology.nearby
                    ),
                ],
                opts=child,
            ).name
        local = proxmox.firewall.AliasLegacy(
            "local-network",
            name=LOCAL_NETWORK,
            cidr=str(topology.local_network),
            comment="To whom Proxmox keeps the node's own ports open",
            opts=child,
        )
        alone = len(topology.proxmox_hosts) == 1
        rules = [
            proxmox.firewall.RulesLegacy(
                name if alone else host.name,
                node_name=None if alone else host.node,
                rules=_rules(topology, host),
                opts=child,
            )
            for host in topology.proxmox_hosts
        ]
        proxmox.cluster.FirewallLegacy(
            name,
            enabled=True,
            ebtables=True,
            input_policy="DROP",
            output_policy="ACCEPT",
            forward_policy="ACCEPT",
            log_ratelimit=proxmox.cluster.FirewallLegacyLogRatelimitArgs(
                enabled=True, burst=5, rate="1/second"
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[local, *rules]),
        )
        self.register_outputs({"aliases": self.aliases})


def _owner(topology: Topology, leg: Leg) -> str:
    return "The ingress's" if leg.service == topology.ingress_name else f"{leg.service}'s"


def _rules(topology: Topology, host: ProxmoxHost) -> list[proxmox.firewall.RulesLegacyRuleArgs]:
    """Return an accept rule for each flow to a node."""
    return [
        proxmox.firewall.RulesLegacyRuleArgs(
            type="in",
            action="ACCEPT",
            source=str(topology.zones[flow.source].prefix),
            proto=str(flow.port.protocol),
            dport=str(flow.port.number),
            comment=str(flow),
        )
        for flow in topology.flows_to(host.name)
    ]
