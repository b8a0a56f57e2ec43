"""Virtual machines; a guest is one with a network card on its VLAN, and its firewall.

A guest has the machine, its firewall options, the set of its one permitted address, and the rule that
includes its security group. Note: a machine that exists already is imported before; only its notes and its
card's network change then, without a restart, and it stays when it leaves the stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_proxmoxve as proxmox

from components.guest import GuestArgs, guest_firewall, notes
from topology.model import Guest, RouterGuest, Topology

_KEPT: Final = (
    *(
        "acpi",
        "agent",
        "audioDevice",
        "bios",
        "bootOrders",
        "cdrom",
        "clone",
        "cpu",
        "disks",
        "efiDisk",
        "hostpcis",
    ),
    *("hotplug", "initialization", "keyboardLayout", "kvmArguments", "machine", "memory", "name", "numas"),
    *("onBoot", "operatingSystem", "poolId", "protection", "rngs", "scsiHardware", "serialDevices", "smbios"),
    *("startup", "tabletDevice", "tags", "tpmState", "usbs", "vga", "virtiofs", "watchdog"),
    *(f"networkDevices[0].{each}" for each in ("model", "mtu", "queues", "rateLimit", "disconnected")),
)
"""Inputs of a machine that exists already which stay as they are."""


@dataclass(frozen=True, kw_only=True)
class CardArgs:
    """A network card; `address` has its prefix length, or is `dhcp`."""

    bridge: pulumi.Input[str]
    vlan: int | None
    firewall: bool
    mac: str
    address: str
    gateway: str | None


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """What the stack file says of a machine; `name` is its physical name, `user_data` its cloud-init file."""

    topology: Topology
    hardware: Guest | RouterGuest
    template: int
    name: str
    description: str
    cards: Sequence[CardArgs]
    user_data: str | None


class VirtualMachine(pulumi.ComponentResource):
    """A started guest that drops every packet its security group does not accept."""

    def __init__(self, name: str, args: GuestArgs[Guest], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VirtualMachine", name, None, opts)
        topology, guest = args.topology, args.guest
        zone = topology.zones[guest.zones[0]]
        card = CardArgs(
            bridge=args.bridge,
            vlan=zone.vlan,
            firewall=True,
            mac=guest.mac,
            address=f"{guest.address}/{zone.prefix.prefixlen}",
            gateway=str(topology.gateway(zone)) if topology.is_routed(guest) else None,
        )
        made = machine(
            self,
            name,
            MachineArgs(
                topology=topology,
                hardware=guest,
                template=guest.cloned_from(topology.node_of(guest)),
                name=topology.physical(guest.name),
                description=notes(guest),
                cards=[card],
                user_data=topology.user_data(guest),
            ),
        )
        node = topology.node_of(guest).node
        guest_firewall(self, guest, node, {"vm_id": made.vm_id}, args.security_group)
        self.register_outputs({"name": made.name})


def machine(parent: pulumi.Resource, name: str, args: MachineArgs) -> proxmox.VmLegacy:
    """Register a virtual machine below `parent`."""
    topology, guest = args.topology, args.hardware
    host = topology.node_of(guest)
    origin = topology.template_node(host)
    exists = guest.existing_mac is not None
    return proxmox.VmLegacy(
        name,
        node_name=host.node,
        vm_id=guest.vmid,
        name=args.name,
        description=args.description,
        clone=None
        if exists
        else proxmox.VmLegacyCloneArgs(
            vm_id=args.template,
            node_name=None if origin == host else origin.node,
            full=True,
            datastore_id=host.storage,
        ),
        started=True,
        on_boot=True,
        stop_on_destroy=True,
        reboot_after_update=False if exists else None,
        agent=proxmox.VmLegacyAgentArgs(enabled=False),
        cpu=proxmox.VmLegacyCpuArgs(cores=guest.cores, sockets=1, type="x86-64-v2-AES"),
        memory=proxmox.VmLegacyMemoryArgs(dedicated=guest.memory, floating=guest.memory),
        operating_system=proxmox.VmLegacyOperatingSystemArgs(type="l26"),
        disks=[proxmox.VmLegacyDiskArgs(interface="scsi0", datastore_id=host.storage, size=guest.disk)],
        network_devices=[
            proxmox.VmLegacyNetworkDeviceArgs(
                bridge=card.bridge,
                vlan_id=card.vlan,
                firewall=card.firewall,
                model="virtio",
                mac_address=card.mac,
            )
            for card in args.cards
        ],
        initialization=proxmox.VmLegacyInitializationArgs(
            datastore_id=host.storage,
            interface="ide2",
            user_data_file_id=args.user_data,
            dns=proxmox.VmLegacyInitializationDnsArgs(servers=[*map(str, host.name_servers)])
            if host.name_servers
            else None,
            ip_configs=[
                proxmox.VmLegacyInitializationIpConfigArgs(
                    ipv4=proxmox.VmLegacyInitializationIpConfigIpv4Args(
                        address=card.address, gateway=card.gateway
                    )
                )
                for card in args.cards
            ],
        ),
        # The provider reads an absent speed limit as an empty one, which every preview would report.
        opts=pulumi.ResourceOptions(
            parent=parent,
            ignore_changes=[*_KEPT] if exists else ["disks[0].speed"],
            retain_on_delete=exists or None,
        ),
    )
