"""A node's bridge: VLAN-aware with the tags of the declared zones, or for a flat network without.

Note: a bridge declared as existing is not a resource. The stack refers to it by name and never reads it, so
it can't change or delete the bridge; its owner is responsible for the VLANs that it carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import ProxmoxHost, Topology


@dataclass(frozen=True, kw_only=True)
class VlanBridgeArgs:
    """The site, whose VLAN zones' tags the bridge of `host` carries."""

    topology: Topology
    host: ProxmoxHost


class VlanBridge(pulumi.ComponentResource):
    """The bridge; guests refer to it by the `name` output."""

    def __init__(self, name: str, args: VlanBridgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VlanBridge", name, None, opts)
        host = args.host
        tags = [str(zone.vlan) for zone in args.topology.vlans if zone.vlan]
        self.name = pulumi.Output.from_input(host.bridge)
        if args.topology.needs_bridge and not host.existing_bridge:
            self.name = proxmox.network.linux.Bridge(
                host.bridge if host == args.topology.proxmox else f"{host.bridge}-{host.name}",
                node_name=host.node,
                name=host.bridge,
                vlan_aware=bool(tags),
                vids=" ".join(tags) or None,
                ports=[host.uplink] if host.uplink else None,
                comment="Tagged networks of homelab-network" if tags else "Network of homelab-network",
                opts=pulumi.ResourceOptions(parent=self),
            ).name
        self.register_outputs({"name": self.name})
