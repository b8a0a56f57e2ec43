"""The VLAN-aware bridge of Proxmox-SRV: it carries the tags of the declared zones, and no others.

What a reader would get wrong: one that is declared to exist is no resource. It is named, never read, so that
nothing here can change it or take it away from the node; what it carries is its owner's promise.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class VlanBridgeArgs:
    """The site; its VLAN zones are the tags that the bridge carries."""

    topology: Topology


class VlanBridge(pulumi.ComponentResource):
    """The bridge; guests name it by the `name` output."""

    def __init__(self, name: str, args: VlanBridgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VlanBridge", name, None, opts)
        host = args.topology.proxmox
        self.name = pulumi.Output.from_input(host.bridge)
        if not host.existing_bridge:
            self.name = proxmox.network.linux.Bridge(
                host.bridge,
                node_name=host.node,
                name=host.bridge,
                vlan_aware=True,
                vids=" ".join(str(zone.vlan) for zone in args.topology.vlans),
                ports=[host.uplink] if host.uplink else None,
                comment="Tagged networks of homelab-network",
                opts=pulumi.ResourceOptions(parent=self),
            ).name
        self.register_outputs({"name": self.name})
