"""Rules for guests: each is a declared service, on its one VLAN, with its one address.

`policies.guest_firewall` has the rules for a guest's firewall, `policies.bridges` those for its bridge.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

from policies.rule import Severity, Violation, policy
from policies.secrecy import leaves
from resources.proxmox_guests import GUESTS, RouterMachine, SystemContainer, VirtualMachine
from resources.resource import HIDDEN, Unknown
from resources.site import Graph
from resources.typed import TypedResource, dotted
from topology.index import TopologyIndex
from topology.model import Guest, LxcGuest, Machine, ProxmoxHost, machine_of


def declared(view: TypedResource[Any], topology: TopologyIndex) -> Guest | None:
    """Return the declared guest of a machine, None if it is not declared."""
    return topology.guests_by_name.get(view.inputs.name)


def node_of(guest: Guest | None, topology: TopologyIndex) -> ProxmoxHost:
    """Return the node that a guest is declared on, the first for a guest that is not declared."""
    return topology.node_of(guest) if guest else topology.proxmox


@policy(
    *GUESTS.values(),
    obligation="A guest must be a declared service, with the id that is declared.",
    remedy="Declare the service in the stack file, or remove the guest.",
)
def guests_have_a_role(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield guests that are not declared: no zone, flow or rule says what they may do."""
    guest = declared(view, topology)
    if guest is None:
        yield f"guest {view.inputs.name or '(unnamed)'} is no declared service"
    elif (made := _machine(view)) is not machine_of(guest):
        yield f"is a {made}, not the declared {machine_of(guest)}"
    elif view.inputs.vm_id != guest.vmid:
        yield f"its id is not the declared {guest.vmid}, by which the firewall knows it"
    elif wrong := [card.mac_address for card in view.inputs.cards if card.mac_address.upper() != guest.mac]:
        yield f"its macAddress is not the declared {guest.mac}, but {wrong[0] or 'any'}"


def _machine(view: TypedResource[Any]) -> Machine:
    return next(machine for machine, kind in GUESTS.items() if isinstance(view.inputs, kind))


@policy(
    *GUESTS.values(),
    obligation="A guest must have one network card, on its zone's VLAN and on no other.",
    remedy="Give it one card on the declared bridge with vlanId of its zone and without trunks.",
    severity=Severity.CRITICAL,
)
def guests_on_their_vlan(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield wrong cards and VLANs: a card without a tag sees every VLAN, a second card joins two zones."""
    guest = declared(view, topology)
    tag, host = topology.zones[guest.zones[0]].vlan if guest else None, node_of(guest, topology)
    bridge = topology.bridge_of(guest) if guest else host.bridge
    cards = [(index, card) for index, card in enumerate(view.inputs.cards) if card.connected]
    if len(cards) != 1:
        yield f"has {len(cards)} connected network cards instead of one"
    for index, card in cards:
        path = f"net{index}"
        if card.trunks:
            yield f"{path}: trunks {card.trunks} puts it on every VLAN of the trunk"
        if not card.vlan_id and (tag or not guest):
            yield f"{path}: vlanId is not set, so it sees every VLAN of {card.bridge}"
        elif guest and (card.vlan_id or None) != tag:
            yield f"{path}: VLAN {card.vlan_id} is not that of its zone {guest.zones[0]}"
        if card.bridge != bridge:
            yield f"{path}: bridge {card.bridge} is not the declared {bridge}"
    if view.inputs.node_name != host.node:
        yield f"is on node {view.inputs.node_name or '(none)'}, not on the declared {host.node}"


@policy(
    *GUESTS.values(),
    obligation="A guest must have its declared address and name servers, and no others.",
    remedy="State the address and gateway of the zone, no IPv6, and the name-servers of the host.",
)
def guests_keep_their_address(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared addresses: rules name guests by address, so another address has other rights."""
    guest = declared(view, topology)
    if guest is None:
        return
    yield from _addresses(view, guest, topology)
    archive = view.inputs.operating_system if isinstance(view.inputs, SystemContainer) else None
    if archive and isinstance(guest, LxcGuest) and archive.type != guest.distribution:
        yield (
            f"operatingSystem.type is {archive.type}, not {guest.distribution}, so Proxmox may write no "
            "address into it"
        )
    dns = view.inputs.initialization.dns
    if {dns.server, *dns.servers} - {"", *map(str, node_of(guest, topology).name_servers)}:
        yield "initialization.dns names a name server that is not declared at the Proxmox host"
    if dns.domain:
        yield "initialization.dns.domain makes its names lead elsewhere"


def _addresses(view: TypedResource[Any], guest: Guest, topology: TopologyIndex) -> Iterator[str]:
    """Yield other addresses than the declared one in its zone's network, and gateways that no flow needs."""
    zone = topology.zones[guest.zones[0]]
    gateway = topology.gateway(zone)
    configs = view.inputs.initialization.ip_configs
    if [config.ipv4.address for config in configs] != [guest.address]:
        yield f"its address is not the declared {guest.address}"
    elif not guest.existing_mac and configs[0].ipv4.interface.network != zone.prefix:
        yield f"its address is one of {configs[0].ipv4.interface.network}, not of its zone's {zone.prefix}"
    for config in configs:
        if config.ipv6 is not None:
            yield "has IPv6, which no rule of this site filters"
        if config.ipv4.gateway not in {"", str(gateway)}:
            yield f"its gateway is not its zone's {gateway}"
        elif config.ipv4.gateway and not (guest.existing_mac or topology.is_routed(guest)):
            yield f"it has a gateway, {gateway}, and no flow leads beyond its network"


@policy(
    *GUESTS.values(),
    obligation="A guest must set itself up by its own declared cloud-init file, or by none.",
    remedy="Name the file that make cloud-init writes for it; no vendor, network or meta data, no SMBIOS.",
)
def guests_set_up_by_their_own(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared cloud-init files: user data decides what a guest runs, network data its address."""
    guest, given = declared(view, topology), view.inputs.initialization
    own = topology.user_data(guest) if guest else None
    if given.user_data_file_id != (own or ""):
        yield f"userDataFileId is {given.user_data_file_id or 'not set'}, not {own or 'left out'}"
    for name, file in (
        ("vendorDataFileId", given.vendor_data_file_id),
        ("networkDataFileId", given.network_data_file_id),
        ("metaDataFileId", given.meta_data_file_id),
    ):
        if file:
            yield f"{name} is {file}, not left out"
    declared_keys = {key.split()[1] for key in node_of(guest, topology).authorized_keys}
    is_new = guest is None or guest.existing_mac is None
    for index, key in enumerate(given.user_account.keys if is_new else ()):
        if key != HIDDEN and not declared_keys & {*key.split()}:
            yield f"initialization.userAccount.keys[{index}] is none of the Proxmox host's authorized-keys"
    if is_new and given.user_account.password:
        yield "initialization.userAccount.password is set, by which undeclared users log in"
    if given.entrypoint:
        yield "initialization.entrypoint is set, so another program than the archive's starts"
    if isinstance(view.inputs, SystemContainer) and view.inputs.console.type not in {"", "tty", "console"}:
        yield f"console.type is {view.inputs.console.type}, which asks for no login"
    if isinstance(view.inputs, VirtualMachine) and view.inputs.smbios:
        yield "smbios is set, where cloud-init looks for user data"


def _existing_disks(inputs: VirtualMachine | SystemContainer, number: int) -> Iterator[str]:
    """Yield what would give a guest that is there already the disks of another, or make it anew."""
    if inputs.clone:
        yield "clone is set, and the guest is there already"
    for path, medium in inputs.media:
        own = re.fullmatch(
            rf"((\d+/)?base-\d+-[\w.-]+/)?({number}/)?vm-{number}-[\w.-]+", medium.path_in_datastore
        )
        for name in medium.foreign:
            if name != "pathInDatastore" or not own:
                yield f"{path}.{name} gives it content that is not its own"


@policy(
    *GUESTS.values(),
    obligation="A guest's disks must be its own, on the declared storage: copies of the template, or empty.",
    remedy="Clone its template to the host's storage; no file, path or volume that is there already.",
    severity=Severity.CRITICAL,
)
def guests_have_their_own_disks(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield disks with foreign content.

    Another guest's disk contains that guest's data, the node's disks contain all data, and a seed image
    contains user data.
    """
    guest = declared(view, topology)
    if guest and guest.existing_mac:
        yield from _existing_disks(view.inputs, guest.vmid)
    else:
        yield from _new_disks(view, guest, topology)


def _new_disks(view: TypedResource[Any], guest: Guest | None, topology: TopologyIndex) -> Iterator[str]:
    clone, host = view.inputs.clone, node_of(guest, topology)
    origin = topology.template_node(host).node
    template = guest.cloned_from(host) if guest else host.template
    if isinstance(view.inputs, SystemContainer):
        if clone:
            yield f"clone.vmId is {clone.vm_id or 'not set'}, and a system container is made from an archive"
        if isinstance(guest, LxcGuest):
            yield from _undeclared_media(view.inputs, guest, host.storage)
    elif clone and clone.vm_id != template:
        yield f"clone.vmId is {clone.vm_id or 'not set'}, not the template {template}"
    if clone and (clone.node_name or host.node) != origin:
        yield f"clone.nodeName is {clone.node_name or '(none)'}, not {origin}, which has the template"
    for path, storage in view.inputs.storages:
        if storage != host.storage:
            yield f"{path} is not the declared storage {host.storage}"
    yield from _in_one_place(view.inputs)
    for path, medium in view.inputs.media:
        for name in medium.foreign:
            yield f"{path}.{name} gives it content that is there already"


def _in_one_place(inputs: VirtualMachine | SystemContainer) -> Iterator[str]:
    """Yield media at no interface, or at that of another or of the cloud-init drive."""
    slots = [("initialization", inputs.initialization.interface)]
    slots += [(path, each.interface) for path, each in inputs.media if each.interface or "disks" in path]
    for path, slot in slots:
        if not _INTERFACE.fullmatch(slot):
            yield f"{path}.interface is {slot or 'not set'}, which is no disk's"
    for (path, slot), (other, at) in combinations(slots, 2):
        if slot == at:
            yield f"{other}.interface is {at}, as {path} has it, and one replaces the other"


@policy(
    *GUESTS.values(),
    RouterMachine,
    obligation="A guest's network cards must be its only way to the host.",
    remedy="Remove the property, or declare an exception that says what it is for.",
)
def guests_have_no_back_door(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield devices, hook scripts, emulator arguments and undeclared shares that bypass the firewall."""
    shared = _shared(declared(view, topology))
    for door in view.inputs.doors:
        if door.shares not in shared:
            yield f"{door.path} leads past its network cards"
    read = {fault.path for fault in view.faults}
    for trail, text in leaves(view.resource.inputs, (str, Unknown)):
        if trail[0] in _WRITTEN_ALONE or trail[1:2] in _FREE:
            continue
        if isinstance(text, str) and _SEPARATOR.search(text):
            yield f"{dotted(trail)} holds a separator, so Proxmox reads it as more than one setting"
        elif isinstance(text, Unknown) and dotted(trail) not in read:
            yield f"{dotted(trail)} can't be known before creation, so it may be several settings"


_INTERFACE: Final = re.compile(r"(ide|sata|scsi|virtio)\d{1,2}", re.ASCII)
_SEPARATOR: Final = re.compile(r"[\s,;]")
"""What ends a setting in Proxmox's texts, such as `local-lvm:8,backup=0` and `order=scsi0;net0`."""
_WRITTEN_ALONE: Final = frozenset({"description", "hotplug", "kvmArguments", "numas", "tags"})
_FREE: Final = (("affinity",), ("userAccount",))
"""Properties that are lists to Proxmox, or a setting each."""


@policy(
    SystemContainer,
    obligation="A system container may share more than the kernel with its node by exception only.",
    remedy="Take the key out of the stack file, or declare an exception with an end.",
)
def sharing_with_the_node_excepted(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield what a container declares to share: a fault of the kernel or of the share leads to the node."""
    shared = _shared(declared(view, topology))
    for door in view.inputs.doors:
        if door.shares in shared:
            yield f"{door.path} shares more than the kernel with the node ({door.shares})"


def _shared(guest: Guest | None) -> frozenset[str]:
    """Return what a guest declares to share with the node, in the words of `Door.shares`."""
    if not isinstance(guest, LxcGuest):
        return frozenset()
    folders = [each for each in guest.volumes if each.host_path]
    return frozenset(
        {
            *(() if guest.unprivileged else ("unprivileged: false",)),
            *(f"features: {each}" for each in guest.features),
            *(f"devices: {each}" for each in guest.devices),
            *(
                f"volumes: {each.host_path} as {each.path}, {'writable' if each.writable else 'read-only'}"
                for each in folders
            ),
        }
    )


def _undeclared_media(container: SystemContainer, guest: LxcGuest, storage: str) -> Iterator[str]:
    """Yield a template and mount points that are not the declared ones."""
    archive = container.operating_system
    if archive is None or archive.template_file_id != guest.ostemplate:
        given = archive.template_file_id if archive else "not set"
        yield f"operatingSystem.templateFileId is {given}, not the declared {guest.ostemplate}"
    wanted = [
        (each.path, each.host_path, "", not each.writable)
        if each.host_path
        else (each.path, each.storage or storage, f"{each.size}G", False)
        for each in guest.volumes
    ]
    for index, point in enumerate(container.mount_points):
        mounted = (point.path, point.volume, point.size, point.read_only)
        if mounted in wanted:
            wanted.remove(mounted)
        else:
            yield f"mountPoints[{index}] is no declared volume"
    for path, *_ in wanted:
        yield f"its declared volume {path} is not among mountPoints"


@policy(
    obligation="An isolated zone must have one tenant.",
    remedy="Move the other guest to a zone of its own.",
    severity=Severity.CRITICAL,
)
def isolated_guests_are_alone(graph: Graph) -> Iterator[Violation]:
    """Yield second tenants of isolated VLANs: the firewall does not filter frames between neighbours."""
    tenants = defaultdict(list)
    for view in graph.guests:
        for card in view.inputs.cards:
            tenants[card.vlan_id].append(view)
    for zone in graph.topology.vlans:
        if zone.traits.alone:
            for view in tenants[zone.vlan][1:]:
                yield view, f"is a second tenant of {zone.role} VLAN {zone.vlan}"
