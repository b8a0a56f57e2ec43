"""Reads guests from the Proxmox API's values: `net0`, a machine's `ipconfig0`, the notes' `ports:` line.

Also compares the wanted machines with those present. All functions are pure. Note: `trunks=` without `tag=`
carries no untagged traffic, and a card with neither is a trunk of every VLAN, as in Open vSwitch and Proxmox.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_PORTS_LINE = re.compile(r"^ports:(?P<ports>.*)$", re.MULTILINE)
_PORT = re.compile(r"(?P<number>\d{1,5})/(?P<protocol>tcp|udp)")


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A virtual network card: its bridge and VLANs, and the address that cloud-init would configure."""

    index: int
    mac: str
    bridge: str
    tag: int | None = None
    trunks: tuple[str, ...] = ()  # VLANs or `first-last` ranges
    firewall: bool = False
    up: bool = True
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None

    @property
    def switch_options(self) -> list[str]:
        """Return the port's columns, as PVE::Network::add_ovs_bridge_port sets them."""
        options = [f"tag={self.tag}"] if self.tag else []
        if self.trunks:
            options.append("trunks=" + ",".join(self.trunks))
        return [*options, "vlan_mode=native-untagged"] if self.tag and self.trunks else options


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A port on which the guest's service answers."""

    number: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class LabGuest:
    """A started virtual machine, or a system container (`lxc`)."""

    vmid: int
    name: str
    lxc: bool = False
    nics: tuple[Nic, ...] = ()
    listeners: tuple[Listener, ...] = ()

    @property
    def namespace(self) -> str:
        """Return the name of the network namespace that stands for the machine."""
        return f"vm-{self.vmid}"

    @property
    def filter(self) -> str:
        """Return the name of the namespace between switch and machine, where its firewall acts."""
        return f"fw-{self.vmid}"

    def tap(self, nic: Nic) -> str:
        """Return the name of the card's end on the switch, as Proxmox names it."""
        return f"tap{self.vmid}i{nic.index}"


def read_nic(index: int, net: str, ipconfig: str = "") -> Nic:
    """Return the card of `netN` and `ipconfigN` in Proxmox's form, as `virtio=AA:…,bridge=vmbr1,tag=10`.

    Only a static IPv4 address is read. With `dhcp`, `auto` or IPv6 the card has no address: no lab network
    assigns any. Raises ValueError when there is no MAC.
    """
    words = _words(net)
    mac = next((value for value in words.values() if _MAC.fullmatch(value)), None)
    if mac is None:
        raise ValueError(f"net{index} has no MAC address")
    ip = _words(ipconfig)
    address = IPv4Interface(ip["ip"]) if "/" in ip.get("ip", "") else None
    return Nic(
        index=index,
        mac=mac.lower(),
        bridge=words.get("bridge", ""),
        tag=int(words["tag"]) if "tag" in words else None,
        trunks=tuple(filter(None, words.get("trunks", "").split(";"))),
        firewall=words.get("firewall") == "1",
        up=words.get("link_down") != "1",
        address=address,
        gateway=IPv4Address(ip["gw"]) if address and "gw" in ip else None,
    )


def read_listeners(description: str) -> tuple[Listener, ...]:
    """Return the listeners from the notes' line `ports: 8096/tcp, 7359/udp`; empty without such a line."""
    found = _PORTS_LINE.search(description)
    ports = _PORT.finditer(found["ports"]) if found else ()
    return tuple(Listener(number=int(port["number"]), protocol=port["protocol"]) for port in ports)


def read_guest(
    vmid: int, name: str, config: Mapping[str, object], bridges: Collection[str], *, lxc: bool = False
) -> LabGuest:
    """Return the guest of a configuration; a card on a bridge that the node lacks is unplugged.

    A container's card has its address in `netN` itself.
    """
    nics = []
    for key in sorted(key for key in config if re.fullmatch(r"net\d+", key)):
        index = int(key[3:])
        net = str(config[key])
        nic = read_nic(index, net, net if lxc else str(config.get(f"ipconfig{index}", "")))
        if nic.bridge in bridges:
            nics.append(nic)
    listeners = read_listeners(str(config.get("description", "")))
    return LabGuest(vmid=vmid, name=name, lxc=lxc, nics=tuple(nics), listeners=listeners)


def changes(
    wanted: Iterable[LabGuest], present: Mapping[int, str | None]
) -> tuple[list[int], list[LabGuest]]:
    """Return the ids to take down, and the guests to build afterwards.

    `present` maps an id to the text of the guest that was built for it, None when the build never finished. A
    changed guest is in both lists: it is rebuilt whole, as a machine is when its card is replaced.
    """
    by_id = {guest.vmid: guest for guest in wanted}
    stale = [vmid for vmid, built in present.items() if vmid not in by_id or built != str(by_id[vmid])]
    return stale, [guest for vmid, guest in by_id.items() if vmid in stale or vmid not in present]


def _words(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {key: value for key, _, value in pairs}
