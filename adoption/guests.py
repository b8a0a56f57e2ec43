"""The Proxmox half of a stack file: VLANs, guests with their ids and addresses, and flows of their rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, ip_network
from typing import Any, Final

import reachability.facts as fact
from adoption.names import Names
from adoption.stack import Stack
from compose.outcome import Noted
from survey.proxmox import RunningProxmox, SeenGuest
from survey.site import RunningSite
from topology.model import ZONE_LENGTHS, Feature, OsType, Port

_API: Final = ("8006/tcp", "22/tcp")
_TEMPLATE: Final = 9000
_MAC: Final = re.compile(r"(?<==)[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_LONGEST: Final = 18
"""Characters of a security group's name, which is the guest's."""


class ProxmoxHalf:
    """One node's guests on their way into a stack file; without a node it adds nothing."""

    def __init__(self, site: RunningSite, stack: Stack, names: Names) -> None:
        self._found: RunningProxmox | None = site.proxmox if site.proxmox and site.proxmox.nodes else None
        self._site, self._stack, self._names = site, stack, names
        self._zones: dict[int | None, str] = {}
        self._prefixes: dict[str, IPv4Network] = {}
        self._kept: dict[str, SeenGuest] = {}
        self._management = ""
        if site.proxmox and not self._found:
            self._leave("Proxmox: no node can be read", "give the token the role PVEAuditor on /")

    @property
    def is_there(self) -> bool:
        """Whether there is a node to declare."""
        return self._found is not None

    def zones(self, taken: list[IPv4Network]) -> str:
        """Put management and the guests' networks into the stack; returns management's name, else empty."""
        if self._found is None:
            return ""
        if not self._found.lans:
            self._leave(
                "Proxmox: no network of a node with a default route is known", "write the half by hand"
            )
            self._found = None
            return ""
        self._management = self._names.give("management")
        prefix = next(iter(self._found.lans.values()))
        told = "the node's own network: all machines there may manage it; narrow it to yours"
        self._stack.zones[self._management] = Noted({"role": "management", "prefix": str(prefix)}, told)
        self._place(prefix)
        taken += [prefix, *self._prefixes.values()]
        return self._management

    def _place(self, management: IPv4Network) -> None:
        """Find the zone of each guest that can be declared."""
        fitting = [(guest, card) for guest in self._guests() if (card := self._card(guest))]
        tags = {guest.guest.nics[0].tag for guest, _ in fitting}
        for guest, card in fitting:
            tag = guest.guest.nics[0].tag
            prefix = card.network
            if tag is None and len(tags) > 1:
                self._leave_guest(guest, "is on no VLAN, beside guests on VLANs", "put it on one")
            elif prefix.prefixlen not in ZONE_LENGTHS or (tag is not None and prefix.overlaps(management)):
                self._leave_guest(guest, f"{prefix} can be no zone", "give its VLAN a prefix of its own")
            elif self._is_free(tag, prefix):
                if tag not in self._zones:
                    self._zones[tag] = self._names.give(f"vlan-{tag}" if tag else "guests")
                zone = self._zones[tag]
                self._prefixes[zone] = prefix
                self._kept[self._named(guest)] = guest
            else:
                self._leave_guest(guest, f"{prefix} is not its VLAN's alone", "correct its address")
        for tag, zone in self._zones.items():
            entry: dict[str, Any] = {"role": "tenant", "prefix": str(self._prefixes[zone])}
            self._stack.zones[zone] = entry | ({"vlan": tag} if tag else {})

    def _is_free(self, tag: int | None, prefix: IPv4Network) -> bool:
        own = self._prefixes.get(self._zones.get(tag, ""))
        others = [each for zone, each in self._prefixes.items() if zone != self._zones.get(tag)]
        return (own is None or own == prefix) and not any(map(prefix.overlaps, others))

    def _guests(self) -> Iterator[SeenGuest]:
        """Yield the guests of the node and bridge that have most of them; the others are left out."""
        found = self._found.guests if self._found else ()
        places = Counter((each.node, each.guest.nics[0].bridge) for each in found if each.guest.nics)
        most = places.most_common(1)[0][0] if places else ("", "")
        for each in found:
            if len(each.guest.nics) != 1:
                self._leave_guest(each, f"has {len(each.guest.nics)} cards", "a guest has one here")
            elif (each.node, each.guest.nics[0].bridge) != most:
                self._leave_guest(each, f"is on another node or bridge than {' '.join(most)}", "move it")
            else:
                yield each

    def _card(self, guest: SeenGuest) -> IPv4Interface | None:
        """Return a guest's address; a guest without a fixed one is left out."""
        found = guest.addresses.get(guest.guest.nics[0].name)
        if found is None:
            self._leave_guest(guest, "has no fixed address", "give it one, and survey again")
        elif guest.guest.nics[0].trunks:
            self._leave_guest(guest, "its card is a trunk", "a guest is on one VLAN here")
            return None
        return found

    def _named(self, guest: SeenGuest) -> str:
        name = self._names.give(guest.guest.name, "guest")
        return name if len(name) <= _LONGEST else self._names.give(f"{name[:8]}-{guest.number}", "guest")

    # ------------------------------------------------------------------------------------------- writing

    def write(self, docker: str) -> None:
        """Put the node, its guests and their flows into the stack, and the trunk at the Docker host."""
        if self._found is None:
            return
        node = next(
            (each for each in self._found.nodes if each.name in {g.node for g in self._kept.values()}), None
        )
        node = node or self._found.nodes[0]
        host = self._names.give(node.name, "node")
        self._stack.hosts[host] = self._node(node)
        if any(tag for tag in self._zones):
            trunk = Noted(self._trunk(), "guessed: the interface whose VLAN interfaces lead to the guests")
            self._stack.hosts[docker]["trunk"] = trunk
        for port in _API:
            self._stack.flow(f"{self._management} -> {host}:{port}", "certain: or you are locked out")
        for name, guest in self._kept.items():
            self._stack.services[name] = self._service(name, guest)
        for name, guest in self._kept.items():
            for text, why in self._flows(name, guest):
                self._stack.flow(text, why)

    def _node(self, node: fact.Host) -> dict[str, Any]:
        guests = list(self._kept.values())
        prefix = next(iter(self._found.lans.values())) if self._found else None
        own = [leg.address for leg in node.legs if leg.address and prefix and leg.address in prefix]
        numbers = {each.number for each in self._found.guests} if self._found else set()
        template = next(each for each in range(_TEMPLATE, _TEMPLATE + 10_000) if each not in numbers)
        storages = Counter(each.hardware.storage for each in guests if each.hardware.storage)
        return {
            "kind": "proxmox",
            "node": node.name,
            **({"address": str(own[0])} if own else {}),
            "bridge": guests[0].guest.nics[0].bridge if guests else "vmbr0",
            "existing-bridge": Noted(True, "the stack leaves it as it is"),
            **({"storage": storages.most_common(1)[0][0]} if storages else {}),
            "template": Noted(template, "for new guests"),
        }

    def _trunk(self) -> str:
        addresses = self._site.machine.addresses if self._site.machine else {}
        names = [name for name in addresses.values() if not name.startswith(("docker", "br-", "lo", "veth"))]
        return names[0].partition(".")[0] if names else "eth0"

    def _service(self, name: str, guest: SeenGuest) -> dict[str, Any]:
        nic, hardware = guest.guest.nics[0], guest.hardware
        mac = _MAC.search(guest.cards.get(nic.name, ""))
        made: dict[str, Any] = {}
        if guest.kind == "lxc":
            known = hardware.ostype in {*OsType}
            archive = f"local:vztmpl/{hardware.ostype if known else 'debian'}-as-surveyed.tar.zst"
            told = "guessed: Proxmox does not keep the archive's name; `pveam list local`"
            anew = "no import keeps one: leave it out, or give it another vmid and address"
            made = {"kind": Noted("lxc", anew), "ostemplate": Noted(archive, told)}
            features = [each for each in hardware.features if each in {*Feature}]
            made |= {"features": features} if features else {}
            if not hardware.unprivileged:
                made["unprivileged"] = False
            if not hardware.unprivileged or set(features) - {"nesting"}:
                self._stack.excepted("sharing-with-the-node-excepted", name, "as found: it shares that today")
        if hardware.more:
            told = f"guest {name}: {', '.join(hardware.more)}"
            self._leave(told, "compare them with the preview before `make up`")
        ports = dict.fromkeys((*guest.guest.ports, *self._named_ports(name)))
        listed = [each.number if each.protocol == "tcp" else str(each) for each in ports]
        return made | {
            "zone": self._zones[nic.tag],
            "vmid": guest.number,
            "address": str(nic.address),
            **({"existing-mac": mac[0]} if guest.kind == "qemu" and mac else {}),
            "memory": max(16, hardware.memory),
            "cores": hardware.cores,
            "disk": hardware.disk,
            **({"ports": listed} if listed else {}),
        }

    def _named_ports(self, name: str) -> Iterator[Port]:
        """Yield ports of a guest that a proposed flow names."""
        for _, destination, port in self._stack.ends():
            if destination == name:
                yield Port.parse(port)

    def _flows(self, name: str, guest: SeenGuest) -> Iterator[tuple[str, str]]:
        """Yield flows that a guest's own rules accept: from a guest of its zone, else from management."""
        for rule in guest.guest.firewall.rules:
            ports = [each for each in (rule.dport or "").split(",") if each.isdigit()]
            accepts = (rule.type, rule.action, rule.enabled) == ("in", "ACCEPT", True)
            if not accepts or rule.proto not in {"tcp", "udp"}:
                continue
            zone = [each for each in self._kept.items() if _tag(each[1]) == _tag(guest) and each[0] != name]
            near = [other for other, each in zone if _is_at(each, rule.source)]
            for port in ports:
                for source in near or ([] if _is_exact(rule.source) else [self._management]):
                    yield f"{source} -> {name}:{port}/{rule.proto}", f"certain: {rule.origin} accepts it"

    def _leave_guest(self, guest: SeenGuest, fault: str, remedy: str) -> None:
        self._leave(f"guest {guest.guest.name}: {fault}", remedy)

    def _leave(self, what: str, remedy: str) -> None:
        told = f"{what}; {remedy}."
        if told not in self._stack.left_out:
            self._stack.left_out.append(told)


def _is_exact(source: str | None) -> bool:
    try:
        return source is not None and ip_network(source, strict=False).prefixlen == 32  # noqa: PLR2004
    except ValueError:
        return False


def _tag(guest: SeenGuest) -> int | None:
    return guest.guest.nics[0].tag


def _is_at(guest: SeenGuest, source: str | None) -> bool:
    return _is_exact(source) and str(source).partition("/")[0] == str(guest.guest.nics[0].address)
