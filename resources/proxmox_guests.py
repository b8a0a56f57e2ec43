"""Models of the proxmoxve provider's virtual machines and system containers: what leads into and out of them.

Defaults are those of the provider, which sometimes differ from Proxmox's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple

from pydantic import Field
from pydantic.alias_generators import to_camel

from resources.inputs import Inputs, Interface
from topology.model import Machine, table


class NetworkDevice(Inputs, inert="model mtu queues rate_limit"):
    """A network card of a virtual machine."""

    bridge: str = "vmbr0"
    disconnected: bool = False
    enabled: bool = True
    firewall: bool = False
    mac_address: str = ""
    vlan_id: int | None = None
    trunks: str = ""

    @property
    def connected(self) -> bool:
        """Whether the card is connected, so that frames pass."""
        return self.enabled and not self.disconnected


class ContainerInterface(NetworkDevice, inert="host_managed"):
    """A network card of a system container."""

    name: str = ""


class Ip(Inputs):
    """An address with its prefix length, which says what the guest reaches without a gateway."""

    interface: Interface = Field(default=None, alias="address")
    gateway: str = ""

    @property
    def address(self) -> IPv4Address | None:
        """The address alone."""
        return self.interface and self.interface.ip


class IpConfig(Inputs):
    """Addresses of one network card, by its position."""

    ipv4: Ip = Ip()
    ipv6: Any = None


class Dns(Inputs):
    """Name servers and the search domain of a guest."""

    domain: str = ""
    server: str = ""
    servers: tuple[str, ...] = ()


class UserAccount(Inputs, inert="username"):
    """A login of a guest: what opens it."""

    keys: tuple[str, ...] = ()
    password: Any = None


class Initialization(
    Inputs,
    inert="file_format type upgrade",
):
    """Cloud-init or, for a system container, its own settings."""

    datastore_id: str = "local-lvm"
    dns: Dns = Dns()
    entrypoint: str = ""
    hostname: str = ""
    interface: str = "ide2"
    ip_configs: tuple[IpConfig, ...] = ()
    meta_data_file_id: str = ""
    network_data_file_id: str = ""
    user_data_file_id: str = ""
    user_account: UserAccount = UserAccount()
    vendor_data_file_id: str = ""


class Clone(Inputs, inert="full retries"):
    """The template or machine that a guest is cloned from."""

    datastore_id: str = ""
    vm_id: int | None = None
    node_name: str = ""


class Medium(
    Inputs,
    inert="acl aio backup cache discard enabled file_format iothread mount_options "
    "queues quota replicate serial shared speed ssd",
):
    """A disk, CD-ROM or mount point; only its storage and the origin of its content matter."""

    datastore_id: str = ""
    file_id: str = ""
    interface: str = ""
    template_file_id: str = ""
    import_from: str = ""
    path_in_datastore: str = ""
    volume: str = ""

    @property
    def foreign(self) -> Iterator[str]:
        """Properties that give the medium existing content or a host path."""
        if self.file_id not in {"", "none"}:
            yield "fileId"
        if self.template_file_id and ":vztmpl/" not in self.template_file_id:
            yield "templateFileId"
        for name in ("import_from", "path_in_datastore"):
            if getattr(self, name):
                yield to_camel(name)
        if ":" in self.volume or ("/" in self.volume and not self.volume.startswith("/")):
            yield "volume"


class Disk(Medium, inert="pre_enrolled_keys size type version"):
    """A disk of a virtual machine, its firmware or its TPM."""

    datastore_id: str = "local-lvm"


class CdRom(Medium):
    """A CD-ROM drive of a virtual machine."""

    interface: str = "ide3"


class RootDisk(Disk):
    """The root disk of a system container."""

    datastore_id: str = "local"


class Archive(Medium):
    """The template that a system container is made from."""

    type: str = "unmanaged"


class ProxmoxMountPoint(Medium):
    """A volume or folder of the node in a system container; `volume` is a storage or the folder's path."""

    path: str = ""
    read_only: bool = False
    size: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder or device of the node."""
        return self.volume.startswith("/")


class Features(Inputs):
    """What a system container may ask of the node's kernel."""

    nesting: bool = False
    fuse: bool = False
    keyctl: bool = False
    mknod: bool = False
    mounts: tuple[str, ...] = ()


class Passthrough(Inputs, inert="deny_write gid mode uid"):
    """A device of the node in a system container."""

    path: str = ""


class Rng(Inputs, inert="max_bytes period"):
    """A source of random numbers: a device of the node."""

    source: str = ""


class SerialDevice(Inputs):
    """A serial port: a socket of the emulator, or a host device."""

    device: str = "socket"


_RANDOM: Final = frozenset({"", "/dev/urandom", "/dev/random", "/dev/hwrng"})
"""Devices of the node that hold no data."""


class Door(NamedTuple):
    """A property that is set and bypasses a guest's network cards to reach the host.

    `shares` says what it shares, as the stack file of a system container would; empty if none can declare it.
    """

    path: str
    shares: str = ""


class Memory(Inputs, inert="dedicated floating hugepages keep_hugepages swap"):
    """The memory of a guest; `shared` is a file of the node besides, which other programs may open."""

    shared: float = 0


class _Guest(
    Inputs,
    inert="cpu description pool_id protection startup tags timeout_clone timeout_create",
):
    """Inputs that virtual machines and system containers have in common."""

    node_name: str = ""
    vm_id: int | None = None
    initialization: Initialization = Initialization()
    started: bool = True
    template: bool = False
    clone: Clone | None = None
    memory: Memory = Memory()
    hook_script_file_id: str = ""

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Network cards, net0 first."""
        raise NotImplementedError

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """Disks and other media, each with its property's name."""
        raise NotImplementedError

    @property
    def storages(self) -> Iterator[tuple[str, str]]:
        """Each storage of the node that the guest names, with its property's path."""
        named = [(path, each.datastore_id) for path, each in self.media]
        named += [("clone", self.clone.datastore_id)] if self.clone else []
        yield from ((f"{path}.datastoreId", storage) for path, storage in named if storage)

    @property
    def doors(self) -> Iterator[Door]:
        """Ways past the guest's network cards."""
        if self.hook_script_file_id:
            yield Door("hookScriptFileId")
        if self.memory.shared:
            yield Door("memory.shared")


class VirtualMachine(
    _Guest,
    inert="acpi agent amd_sev audio_device bios delete_unreferenced_disks_on_destroy "
    "hotplug keyboard_layout mac_addresses machine migrate numas on_boot operating_system "
    "purge_on_destroy "
    "reboot reboot_after_update scsi_hardware stop_on_destroy tablet_device "
    "timeout_migrate timeout_move_disk timeout_reboot timeout_shutdown_vm timeout_start_vm "
    "timeout_stop_vm vga watchdog",
):
    """A proxmoxve.VmLegacy resource."""

    name: str = ""
    network_devices: tuple[NetworkDevice, ...] = ()
    boot_orders: tuple[str, ...] = ()
    kvm_arguments: str = ""
    hostpcis: tuple[Any, ...] = ()
    usbs: tuple[Any, ...] = ()
    virtiofs: tuple[Any, ...] = ()
    disks: tuple[Disk, ...] = ()
    cdrom: CdRom | None = None
    efi_disk: Disk | None = None
    tpm_state: Disk | None = None
    rngs: tuple[Rng, ...] = ()
    serial_devices: tuple[SerialDevice, ...] = ()
    smbios: Mapping[str, Any] | None = None

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Network cards, net0 first."""
        return self.network_devices

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """Disks, those of the firmware and the TPM, and the CD-ROM drive."""
        yield from ((f"disks[{index}]", disk) for index, disk in enumerate(self.disks))
        others = (("cdrom", self.cdrom), ("efiDisk", self.efi_disk), ("tpmState", self.tpm_state))
        yield from ((name, medium) for name, medium in others if medium)

    @property
    def storages(self) -> Iterator[tuple[str, str]]:
        """Those of the disks, and that of the cloud-init drive."""
        yield from super().storages
        yield "initialization.datastoreId", self.initialization.datastore_id

    @property
    def doors(self) -> Iterator[Door]:
        """Ways past the guest's network cards."""
        yield from super().doors
        for name in ("kvm_arguments", "hostpcis", "usbs", "virtiofs"):
            if getattr(self, name):
                yield Door(to_camel(name))
        if any(not re.fullmatch(r"(ide|sata|scsi|virtio)\d+", device) for device in self.boot_orders):
            yield Door("bootOrders")
        for index, rng in enumerate(self.rngs):
            if rng.source not in _RANDOM:
                yield Door(f"rngs[{index}].source")
        for index, port in enumerate(self.serial_devices):
            if port.device not in {"", "socket"}:
                yield Door(f"serialDevices[{index}].device")


class RouterMachine(VirtualMachine):
    """The virtual machine of the declared router, as `resources.router_machine` recognises it."""


class Console(Inputs, inert="enabled tty_count"):
    """What opens when a user of Proxmox opens the container's console; a shell asks for no login."""

    type: str = ""


class SystemContainer(
    _Guest,
    inert="start_on_boot timeout_delete timeout_start timeout_update wait_for_ip",
):
    """A proxmoxve.ContainerLegacy resource."""

    console: Console = Console()
    network_interfaces: tuple[ContainerInterface, ...] = ()
    device_passthroughs: tuple[Passthrough, ...] = ()
    features: Features = Features()
    operating_system: Archive | None = None
    disk: RootDisk | None = None
    mount_points: tuple[ProxmoxMountPoint, ...] = ()
    unprivileged: bool = False

    @property
    def name(self) -> str:
        """The container's host name; system containers have no other name."""
        return self.initialization.hostname

    @property
    def cards(self) -> tuple[NetworkDevice, ...]:
        """Network cards, net0 first."""
        return self.network_interfaces

    @property
    def media(self) -> Iterator[tuple[str, Medium]]:
        """The template, the root disk and the mount points."""
        if self.operating_system:
            yield "operatingSystem", self.operating_system
        if self.disk:
            yield "disk", self.disk
        yield from ((f"mountPoints[{index}]", point) for index, point in enumerate(self.mount_points))

    @property
    def doors(self) -> Iterator[Door]:
        """Ways past the container's network cards; nesting is one if root there is root on the node."""
        yield from super().doors
        for index, device in enumerate(self.device_passthroughs):
            yield Door(f"devicePassthroughs[{index}]", f"devices: {device.path}")
        yield from (Door("features.mounts", f"features: {each}") for each in self.features.mounts)
        for name in ("nesting", "fuse", "keyctl", "mknod"):
            if getattr(self.features, name) and not (name == "nesting" and self.unprivileged):
                yield Door(f"features.{name}", f"features: {name}")
        if not self.unprivileged:
            yield Door("unprivileged", "unprivileged: false")
        for index, point in enumerate(self.mount_points):
            if point.is_folder:
                how = "read-only" if point.read_only else "writable"
                yield Door(f"mountPoints[{index}]", f"volumes: {point.volume} as {point.path}, {how}")


GUESTS: Final[Mapping[Machine, type[VirtualMachine | SystemContainer]]] = table(
    "GUESTS",
    Machine,
    {Machine.VIRTUAL_MACHINE: VirtualMachine, Machine.SYSTEM_CONTAINER: SystemContainer},
)
"""What Proxmox makes for a guest -> its model; a rule on `*GUESTS.values()` holds for every guest."""
