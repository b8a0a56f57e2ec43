"""One guest: a virtual machine with one network card on its VLAN, and its firewall.

Creates the machine, the guest's firewall options, the set of its one permitted address, and the rule that
includes its security group.
"""

from __future__ import annotations

import pulumi
import pulumi_proxmoxve as proxmox

from components.guest import GuestArgs, guest_firewall, notes
from topology.model import Guest


class VirtualMachine(pulumi.ComponentResource):
    """A started guest that drops every packet its security group does not accept."""

    def __init__(self, name: str, args: GuestArgs[Guest], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VirtualMachine", name, None, opts)
        topology, guest = args.topology, args.guest
        host, zone = topology.node_of(guest), topology.zones[guest.zones[0]]
        origin = topology.template_node(host)
        machine = proxmox.VmLegacy(
            name,
            node_name=host.node,
            vm_id=guest.vmid,
            name=topology.physical(guest.name),
            description=notes(guest),
            clone=proxmox.VmLegacyCloneArgs(
                vm_id=guest.cloned_from(host),
                node_name=None if origin == host else origin.node,
                full=True,
                datastore_id=host.storage,
            ),
            started=True,
            on_boot=True,
            stop_on_destroy=True,
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
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["disks[0].speed"]),
        )
        guest_firewall(self, guest, host.node, {"vm_id": machine.vm_id}, args.security_group)
        self.register_outputs({"name": machine.name})
