"""The proxmoxve provider's resources: which of their properties carry traffic, and what those mean.

It judges nothing. Defaults are those of the provider, which are not always Proxmox's own. What a reader
would get wrong: a firewall resource belongs to a guest by its number, to a node by its name, else to the
datacenter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic.alias_generators import to_camel

from resources.inputs import Address, Inputs, Settings


class NetworkDevice(Inputs, inert="mac_address model mtu queues rate_limit"):
    """A network card of a virtual machine."""

    bridge: str = "vmbr0"
    disconnected: bool = False
    enabled: bool = True
    firewall: bool = False
    vlan_id: int | None = None
    trunks: str = ""

    @property
    def connected(self) -> bool:
        """Whether frames pass at all."""
        return self.enabled and not self.disconnected


class ContainerInterface(NetworkDevice, inert="host_managed"):
    """A network card of a system container."""

    name: str = ""


class Ip(Inputs):
    """An address with its prefix length and gateway."""

    address: Address = None
    gateway: str = ""


class IpConfig(Inputs):
    """Addresses of one network card, by its position."""

    ipv4: Ip = Ip()
    ipv6: Any = None


class Initialization(
    Inputs,
    inert="datastore_id dns entrypoint file_format interface type upgrade user_account",
):
    """Cloud-init or, for a system container, its own settings."""

    hostname: str = ""
    ip_configs: tuple[IpConfig, ...] = ()
    meta_data_file_id: str = ""
    network_data_file_id: str = ""
    user_data_file_id: str = ""
    vendor_data_file_id: str = ""


class Clone(Inputs, inert="datastore_id full retries"):
    """The machine that a guest is copied from."""

    vm_id: int | None = None
    node_name: str = ""


class Medium(Settings):
    """A disk, CD-ROM or mount point: only where its content comes from matters."""

    file_id: str = ""
    import_from: str = ""
    path_in_datastore: str = ""
    volume: str = ""

    @property
    def foreign(self) -> Iterator[str]:
        """Properties that give it content which is there already, or a path of the host."""
        if self.file_id not in {"", "none"}:
            yield "fileId"
        for name in ("import_from", "path_in_datastore"):
            if getattr(self, name):
                yield to_camel(name)
        if re.search("[:/]", self.volume):
            yield "volume"


class SerialDevice(Inputs):
    """A serial port: a socket of the emulator, or a device of the host."""

    device: str = "socket"


class _Guest(
    Inputs,
    inert="cpu description memory operating_system pool_id protection startup tags timeout_clone "
    "timeout_create",
):
    """What virtual machines and system containers have in common."""

    node_name: str = ""
    vm_id: int | None = None
    initialization: Initialization = Initialization()
    started: bool = True
    template: bool = False
    clone: Clone | None = None
    hook_script_file_id: str = ""

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Its network cards, net0 first."""
        raise NotImplementedError

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """Its disks and other media, each with the property's name."""
        raise NotImplementedError

    @property
    def doors(self) -> Iterator[str]:
        """Properties that are set and lead past the guest's network cards to the host."""
        if self.hook_script_file_id:
            yield "hookScriptFileId"


class VirtualMachine(
    _Guest,
    inert="acpi agent amd_sev audio_device bios boot_orders delete_unreferenced_disks_on_destroy "
    "efi_disk hotplug keyboard_layout mac_addresses machine migrate numas on_boot purge_on_destroy "
    "reboot reboot_after_update rngs scsi_hardware stop_on_destroy tablet_device "
    "timeout_migrate timeout_move_disk timeout_reboot timeout_shutdown_vm timeout_start_vm "
    "timeout_stop_vm tpm_state vga watchdog",
):
    """proxmoxve.VmLegacy."""

    name: str = ""
    network_devices: tuple[NetworkDevice, ...] = ()
    kvm_arguments: str = ""
    hostpcis: tuple[Any, ...] = ()
    usbs: tuple[Any, ...] = ()
    virtiofs: tuple[Any, ...] = ()
    disks: tuple[Medium, ...] = ()
    cdrom: Medium | None = None
    serial_devices: tuple[SerialDevice, ...] = ()
    smbios: Mapping[str, Any] | None = None

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Its network cards, net0 first."""
        return self.network_devices

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """Its disks and its CD-ROM drive."""
        yield from ((f"disks[{index}]", disk) for index, disk in enumerate(self.disks))
        if self.cdrom:
            yield "cdrom", self.cdrom

    @property
    def doors(self) -> Iterator[str]:
        """Properties that are set and lead past the guest's network cards to the host."""
        yield from super().doors
        for name in ("kvm_arguments", "hostpcis", "usbs", "virtiofs"):
            if getattr(self, name):
                yield to_camel(name)
        for index, port in enumerate(self.serial_devices):
            if port.device not in {"", "socket"}:
                yield f"serialDevices[{index}].device"


class SystemContainer(
    _Guest,
    inert="console features start_on_boot timeout_delete timeout_start timeout_update wait_for_ip",
):
    """proxmoxve.ContainerLegacy."""

    network_interfaces: tuple[ContainerInterface, ...] = ()
    device_passthroughs: tuple[Any, ...] = ()
    disk: Medium | None = None
    mount_points: tuple[Medium, ...] = ()
    unprivileged: bool = False

    @property
    def name(self) -> str:
        """Its host name; system containers have no other."""
        return self.initialization.hostname

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Its network cards, net0 first."""
        return self.network_interfaces

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """Its root disk and its mount points."""
        if self.disk:
            yield "disk", self.disk
        yield from ((f"mountPoints[{index}]", point) for index, point in enumerate(self.mount_points))

    @property
    def doors(self) -> Iterator[str]:
        """Properties that are set and lead past the guest's network cards to the host."""
        yield from super().doors
        if self.device_passthroughs:
            yield "devicePassthroughs"
        if not self.unprivileged:
            yield "unprivileged"
        if any(point.volume.startswith("/") for point in self.mount_points):
            yield "mountPoints"


_LAST_TAG: Final = 4094
Policy = Literal["ACCEPT", "DROP", "REJECT"]


class FirewallRule(Inputs, inert="comment log pos"):
    """A rule of the Proxmox firewall; with `security_group` it stands for that group's rules."""

    action: Literal["", "ACCEPT", "DROP", "REJECT"] = ""
    dest: str | None = None
    dport: str | None = None
    enabled: bool = True
    iface: str | None = None
    macro: str | None = None
    proto: str | None = None
    security_group: str | None = None
    source: str | None = None
    sport: str | None = None
    type: Literal["", "in", "out", "forward"] = ""

    def __str__(self) -> str:
        if self.security_group:
            return f"group {self.security_group}"
        ends = (("source", self.source), ("dest", self.dest), ("proto", self.proto), ("dport", self.dport))
        return " ".join([f"{self.type} {self.action}", *(f"{name} {value}" for name, value in ends if value)])


class _Scoped(Inputs):
    """Something of the firewall that belongs to a guest, a node or, with neither, the datacenter."""

    node_name: str = ""
    vm_id: int | None = None
    container_id: int | None = None

    @property
    def guest(self) -> int | None:
        """Id of the guest it belongs to."""
        return self.vm_id or self.container_id


class FirewallRules(_Scoped):
    """proxmoxve.firewall.RulesLegacy."""

    rules: tuple[FirewallRule, ...] = ()


class SecurityGroup(Inputs, inert="comment"):
    """proxmoxve.cluster.firewall.security.GroupLegacy."""

    name: str = ""
    rules: tuple[FirewallRule, ...] = ()


class IpsetMember(Inputs, inert="comment"):
    """A member of an ipset."""

    name: str
    nomatch: bool = False


class Ipset(_Scoped, inert="comment"):
    """proxmoxve.firewall.IpsetLegacy."""

    name: str = ""
    cidrs: tuple[IpsetMember, ...] = ()


class Alias(_Scoped, inert="comment"):
    """proxmoxve.firewall.AliasLegacy."""

    name: str = ""
    cidr: str = ""


class FirewallOptions(_Scoped, inert="log_level_in log_level_out ndp"):
    """proxmoxve.firewall.OptionsLegacy."""

    enabled: bool = False
    input_policy: Policy = "DROP"
    output_policy: Policy = "ACCEPT"
    dhcp: bool = False
    ipfilter: bool = False
    macfilter: bool = True
    radv: bool = True


class DatacenterFirewall(Inputs, inert="forward_policy log_ratelimit"):
    """proxmoxve.cluster.FirewallLegacy. An `ebtables` that is left out is sent as off."""

    enabled: bool = False
    input_policy: Policy = "DROP"
    output_policy: Policy = "ACCEPT"
    ebtables: bool = False


class NodeFirewall(
    Inputs,
    inert="log_level_forward log_level_in log_level_out ndp nf_conntrack_max "
    "nf_conntrack_tcp_timeout_established nosmurfs smurf_log_level tcp_flags_log_level",
):
    """proxmoxve.node.Firewall."""

    node_name: str = ""
    enabled: bool = True
    nftables: bool = False


class _Interface(Inputs, inert="autostart comment mtu timeout_reload"):
    """A network interface of a Proxmox node."""

    name: str = ""
    node_name: str = ""
    address: Address = None
    address6: str = ""
    gateway: str = ""
    gateway6: str = ""


class Bridge(_Interface):
    """proxmoxve.network.linux.BridgeLegacy."""

    ports: tuple[str, ...] = ()
    vids: str = "2-4094"
    vlan_aware: bool = False

    @property
    def tags(self) -> set[int]:
        """VLAN tags that it carries; 0 stands for each that is none."""
        ends = [part.partition("-") for part in re.split(r"[\s,;]+", self.vids) if part]
        return {each for low, _, high in ends for each in range(tag(low), tag(high or low) + 1)} | {
            0 for low, _, high in ends if not (tag(low) and tag(high or low))
        }


class VlanInterface(_Interface):
    """proxmoxve.network.linux.VlanLegacy."""

    interface: str = ""
    vlan: int | None = None


class ProxmoxProvider(Settings):
    """How Proxmox's API is reached."""

    insecure: bool = False

    @property
    def unverified(self) -> str:
        """Why the API's certificate is not checked, or nothing."""
        return "insecure switches certificate checks off" if self.insecure else ""


def bare_name(name: str) -> str:
    """Name of a set or alias without its sign and scope; Proxmox does not tell upper from lower case."""
    return re.sub(r"^\+?(dc/|guest/)?", "", name).lower()


def tag(text: str) -> int:
    """A VLAN tag; 0 is none, as is a number that no frame can carry."""
    number = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    return number if number <= _LAST_TAG else 0
