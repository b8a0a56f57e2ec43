"""One guest: a virtual machine with one network card on its VLAN, and its firewall.

Creates the machine, the guest's firewall options, the set of its one permitted address, and the rule that
includes its security group. Note: a machine that exists already is imported before; only its notes and its
card's network change then, without a restart, and it stays when it leaves the stack.
"""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_proxmoxve as proxmox

from components.guest import GuestArgs, guest_firewall, notes
from topology.model import Guest

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


class VirtualMachine(pulumi.ComponentResource):
    """A started guest that drops every packet its security group does not accept."""

    def __init__(self, name: str, args: GuestArgs[Guest], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VirtualMachine", name, None, opts)
        topology, guest = args.topology, args.guest
        host, zone = topology.node_of(guest), topology.zones[guest.zones[0]]
        origin = topology.template_node(host)
        exists = guest.existing_mac is not None
        machine = proxmox.VmLegacy(
            name,
            node_name=host.node,
            vm_id=guest.vmid,
            name=topology.physical(guest.name),
            description=notes(guest),
            clone=None
            if exists
            else proxmox.VmLegacyCloneArgs(
                vm_id=guest.cloned_from(host),
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
                    bridge=args.bridge,
                    vlan_id=zone.vlan,
                    firewall=True,
                    model="virtio",
                    mac_address=guest.mac,
                )
            ],
            initialization=proxmox.VmLegacyInitializationArgs(
                datastore_id=host.storage,
                interface="ide2",
                user_data_file_id=topology.user_data(guest),
                dns=proxmox.VmLegacyInitializationDnsArgs(servers=[*map(str, host.name_servers)])
                if host.name_servers
                else None,
                ip_configs=[
                    proxmox.VmLegacyInitializationIpConfigArgs(
                        ipv4=proxmox.VmLegacyInitializationIpConfigIpv4Args(
                            address=f"{guest.address}/{zone.prefix.prefixlen}",
                            gateway=str(topology.gateway(zone)) if topology.is_routed(guest) else None,
                        )
                    )
                ],
            ),
            # The provider reads an absent speed limit as an empty one, which every preview would report.
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=[*_KEPT] if exists else ["disks[0].speed"],
                retain_on_delete=exists or None,
            ),
        )
        guest_firewall(self, guest, host.node, {"vm_id": machine.vm_id}, args.security_group)
        self.register_outputs({"name": machine.name})
