"""One guest: a system container with one network card on its VLAN, and its firewall.

Creates the container, the guest's firewall options, the set of its one permitted address, and the rule that
includes its security group. Note: no cloud-init runs in a container; it is what its template is.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_proxmoxve as proxmox

from components.guest import GuestArgs, Owner, guest_firewall, notes
from topology.model import MOUNTS, Feature, LxcGuest, Topology


class SystemContainer(pulumi.ComponentResource):
    """A started guest that drops every packet its security group does not accept."""

    def __init__(
        self, name: str, args: GuestArgs[LxcGuest], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:SystemContainer", name, None, opts)
        topology, guest = args.topology, args.guest
        host, zone = topology.node_of(guest), topology.zones[guest.zones[0]]
        container = proxmox.ContainerLegacy(
            name,
            node_name=host.node,
            vm_id=guest.vmid,
            description=notes(guest),
            tags=[zone.network],
            started=True,
            start_on_boot=True,
            unprivileged=guest.unprivileged,
            features=_features(guest),
            operating_system=proxmox.ContainerLegacyOperatingSystemArgs(
                template_file_id=guest.ostemplate, type=guest.distribution
            ),
            cpu=proxmox.ContainerLegacyCpuArgs(cores=guest.cores, architecture="amd64"),
            memory=proxmox.ContainerLegacyMemoryArgs(dedicated=guest.memory, swap=0),
            disk=proxmox.ContainerLegacyDiskArgs(datastore_id=host.storage, size=guest.disk),
            mount_points=_mount_points(topology, guest),
            device_passthroughs=[
                proxmox.ContainerLegacyDevicePassthroughArgs(path=device, mode="0660")
                for device in guest.devices
            ],
            network_interfaces=[
                proxmox.ContainerLegacyNetworkInterfaceArgs(
                    name="eth0",
                    bridge=args.bridge,
                    vlan_id=zone.vlan,
                    firewall=True,
                    mac_address=guest.mac,
                )
            ],
            initialization=proxmox.ContainerLegacyInitializationArgs(
                hostname=topology.physical(guest.name),
                dns=proxmox.ContainerLegacyInitializationDnsArgs(servers=[*map(str, host.name_servers)])
                if host.name_servers
                else None,
                ip_configs=[
                    proxmox.ContainerLegacyInitializationIpConfigArgs(
                        ipv4=proxmox.ContainerLegacyInitializationIpConfigIpv4Args(
                            address=f"{guest.address}/{zone.prefix.prefixlen}",
                            gateway=str(topology.gateway(zone)) if topology.is_routed(guest) else None,
                        )
                    )
                ],
            ),
            # The provider takes an id that exists for a container that it made, and would then delete it.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        owner: Owner = {"container_id": container.vm_id}
        guest_firewall(self, guest, host.node, owner, args.security_group, made_anew_with=container)
        self.register_outputs({"name": topology.physical(guest.name)})


def _features(guest: LxcGuest) -> proxmox.ContainerLegacyFeaturesArgs | None:
    """Return the declared features; None for none, which the provider then leaves out of its calls."""
    if not guest.features:
        return None
    return proxmox.ContainerLegacyFeaturesArgs(
        nesting=Feature.NESTING in guest.features,
        fuse=Feature.FUSE in guest.features,
        keyctl=Feature.KEYCTL in guest.features,
        mknod=Feature.MKNOD in guest.features,
        mounts=[each for each in MOUNTS if each in guest.features],
    )


def _mount_points(topology: Topology, guest: LxcGuest) -> Sequence[proxmox.ContainerLegacyMountPointArgs]:
    """Return the declared volumes, in their order; backups contain the container's own, as its root disk."""
    return [
        proxmox.ContainerLegacyMountPointArgs(
            path=point.path,
            volume=point.host_path or point.storage or topology.node_of(guest).storage,
            size=f"{point.size}G" if point.size else None,
            read_only=bool(point.host_path) and not point.writable,
            backup=not point.host_path,
        )
        for point in guest.volumes
    ]
