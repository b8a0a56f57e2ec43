"""Composes what runs on Proxmox-SRV: the datacenter's firewall, each node's bridge, guests and the router."""

import pulumi

from components.datacenter_firewall import DatacenterFirewall, DatacenterFirewallArgs
from components.guests import Guests, GuestsArgs
from components.router_machine import RouterMachine, RouterMachineArgs
from components.vlan_bridge import VlanBridge, VlanBridgeArgs
from topology.model import Topology


def proxmox_srv(site: Topology) -> pulumi.Resource | None:
    """Register the site's Proxmox half, if it has one; returns the machine of a router that is a guest."""
    if site.proxmox_host is None:
        return None
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
    if site.router is None or site.router.guest is None:
        return None
    bridge = bridges[site.node_of(site.router.guest).name]
    return RouterMachine(site.router.name, RouterMachineArgs(topology=site, bridge=bridge), kept).made
