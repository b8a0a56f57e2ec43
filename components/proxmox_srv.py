"""Composes what runs on Proxmox-SRV: the datacenter's firewall, each node's bridge, and the guests."""

import pulumi

from components.datacenter_firewall import DatacenterFirewall, DatacenterFirewallArgs
from components.guests import Guests, GuestsArgs
from components.vlan_bridge import VlanBridge, VlanBridgeArgs
from topology.model import Topology


def proxmox_srv(site: Topology) -> None:
    """Register the site's Proxmox half; nothing for a site without it."""
    if site.proxmox_host is None:
        return
    kept = pulumi.ResourceOptions(protect=site.protect)  # children inherit it
    firewall = DatacenterFirewall("datacenter", DatacenterFirewallArgs(topology=site), kept)
    bridges = {
        host.name: VlanBridge(
            "bridge" if host == site.proxmox else f"bridge-{host.name}",
            VlanBridgeArgs(topology=site, host=host),
        ).name
        for host in site.proxmox_hosts
    }
    vlans = GuestsArgs(topology=site, bridges=bridges, aliases=firewall.aliases, internet=firewall.internet)
    Guests("guests", vlans, kept)
