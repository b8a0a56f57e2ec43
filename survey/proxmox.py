"""Parses a Proxmox API's answers into the facts about nodes, guests and the firewall at all levels.

Note: a switch that the token may not read counts as off, so that everything passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final

import reachability.facts as fact
from resources.inputs import address
from resources.proxmox import tag
from survey.errors import SurveyError
from survey.proxmox_api import ProxmoxApi
from topology.answers import understood
from topology.model import Port

Row = Mapping[str, Any]

_NODE_PORTS: Final = (Port(number=8006), Port(number=22))
_CARD: Final = re.compile(r"net(\d+)")
_FIREWALL: Final = "firewall"
_DISK: Final = re.compile(r"(scsi|virtio|sata|ide)\d+")
_SHARED: Final = re.compile(r"(mp|dev|hostpci|usb|unused|net[1-9])\d*")
_GIB: Final = {"M": 1 / 1024, "G": 1, "T": 1024}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A guest's memory in MiB, cores, root disk in GiB, its storage, and what a system container shares."""

    memory: int = 512
    cores: int = 1
    disk: int = 8
    storage: str = ""
    ostype: str = ""
    unprivileged: bool = True
    features: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    """Keys of further disks, mount points, devices and cards."""


@dataclass(frozen=True, kw_only=True)
class SeenGuest:
    """A guest that runs. `routed` are its cards' VLANs with a gateway, or whose address a server chooses."""

    guest: fact.GuestFact
    node: str
    kind: str
    number: int
    cards: Mapping[str, str]
    """The line of each card, without its firewall switch, as `qm set` takes it."""
    routed: tuple[fact.Vlan, ...] = ()
    addresses: Mapping[str, IPv4Interface] = field(default_factory=dict)
    """Fixed addresses by card."""
    hardware: Hardware = Hardware()

    @property
    def path(self) -> str:
        """The guest's path in the API."""
        return f"/nodes/{self.node}/{self.kind}/{self.number}"


@dataclass(frozen=True, kw_only=True)
class RunningProxmox:
    """What one API knows: `lans` are the networks of the nodes' own default routes."""

    url: str
    nodes: tuple[fact.Host, ...] = ()
    guests: tuple[SeenGuest, ...] = ()
    datacenter: fact.Datacenter
    lans: Mapping[fact.Vlan, IPv4Network]
    unseen: tuple[str, ...] = ()


def read(api: ProxmoxApi) -> RunningProxmox:
    """Return what an API knows; raises SurveyError if it does not answer or refuses the token."""
    with understood(api.url, SurveyError):
        return _read(api)


def _read(api: ProxmoxApi) -> RunningProxmox:
    api.get("version", {})
    names = [str(row["node"]) for row in api.get("nodes", []) if row.get("status", "online") == "online"]
    networks = {name: api.get(f"nodes/{name}/network", []) for name in names}
    options = {name: api.get(f"nodes/{name}/firewall/options", {}) for name in names}
    lans = {
        fact.Vlan(bridge=str(row["iface"])): IPv4Interface(row["cidr"]).network
        for rows in networks.values()
        for row in rows
        if row.get("gateway") and row.get("cidr")
    }
    other = [name for name, each in options.items() if each.get("nftables")]
    rows = [
        (name, kind, row) for name in names for kind in ("qemu", "lxc") for row in _listed(api, name, kind)
    ]
    running = [each for each in rows if each[2].get("status") == "running"]
    stopped = len(rows) - len(running)
    return RunningProxmox(
        url=api.url,
        nodes=tuple(_node(api, name, networks[name], options[name]) for name in names),
        guests=tuple(_guest(api, name, kind, row) for name, kind, row in running),
        datacenter=_datacenter(api, lans, on=not other),
        lans=lans,
        unseen=(
            *(
                [f"guests that are not running ({stopped}): what they reach when they start"]
                if stopped
                else []
            ),
            *(f"node {name}: its nftables firewall; it counts as filtering nothing" for name in other),
            *([] if names else ["Proxmox: every node; give the token the role PVEAuditor on /"]),
            *(f"Proxmox: {path}, which the token may not read" for path in dict.fromkeys(api.refused)),
            *(f"Proxmox: {path}, which a node does not answer" for path in dict.fromkeys(api.unanswered)),
            "the router between VLANs: its rules; it counts as letting everything through",
            "programs inside guests: every port of a guest counts as open unless its firewall closes it",
        ),
    )


def _listed(api: ProxmoxApi, node: str, kind: str) -> Iterator[Row]:
    for row in api.get(f"nodes/{node}/{kind}", []):
        if not row.get("template"):
            yield row


def _node(api: ProxmoxApi, name: str, rows: Iterable[Row], options: Row) -> fact.Host:
    legs = tuple(
        fact.HostLeg(segment=_segment(row), address=IPv4Interface(row["cidr"]).ip, name=str(row["iface"]))
        for row in rows
        if row.get("cidr")
    )
    firewall = fact.HostFirewallFact(
        origin=f"firewall of node {name}",
        enabled=bool(int(options.get("enable", 1))),
        rules=_rules(api, f"nodes/{name}/firewall/rules", f"node {name}"),
    )
    return fact.Host(name=name, origin=name, legs=legs, ports=_NODE_PORTS, firewall=firewall)


def _segment(row: Row) -> fact.Vlan:
    """Return where an interface of a node is: its bridge, or a VLAN of one."""
    name, raw = str(row["iface"]), row.get("vlan-raw-device")
    trunk, _, number = name.rpartition(".")
    if raw or (trunk and number.isdigit()):
        return fact.Vlan(bridge=str(raw or trunk), tag=tag(str(row.get("vlan-id") or number)) or None)
    return fact.Vlan(bridge=name)


def _guest(api: ProxmoxApi, node: str, kind: str, row: Row) -> SeenGuest:
    number = int(row["vmid"])
    config = api.get(f"nodes/{node}/{kind}/{number}/config", {})
    name = str(row.get("name") or number)
    firewall = _guest_firewall(api, f"nodes/{node}/{kind}/{number}/{_FIREWALL}", name)
    cards = {key: _words(str(config[key])) for key in sorted(config) if _CARD.fullmatch(key)}
    addressed = {
        key: words if kind == "lxc" else _words(str(config.get(key.replace("net", "ipconfig"), "")))
        for key, words in cards.items()
    }
    nics = tuple(
        fact.Nic(
            name=key,
            bridge=words.get("bridge", ""),
            tag=tag(words.get("tag", "")) or None,
            trunks=tuple(tag(part) for part in words.get("trunks", "").split(";") if part),
            firewall=words.get(_FIREWALL) == "1",
            address=_address(addressed[key].get("ip")),
        )
        for key, words in cards.items()
        if words.get("link_down") != "1"
    )
    return SeenGuest(
        guest=fact.GuestFact(
            name=name,
            origin=f"{kind} {number}",
            nics=nics,
            ports=tuple(dict.fromkeys(_named(firewall.rules))),
            lxc=kind == "lxc",
            firewall=firewall,
        ),
        node=node,
        kind=kind,
        number=number,
        cards={key: _line(words) for key, words in cards.items()},
        routed=tuple(
            fact.Vlan(bridge=nic.bridge, tag=nic.tag)
            for nic in nics
            if addressed[nic.name].get("gw") or nic.address is None
        ),
        addresses={key: found for key, words in addressed.items() if (found := _interface(words.get("ip")))},
        hardware=_hardware(kind, config),
    )


def _interface(text: str | None) -> IPv4Interface | None:
    try:
        return IPv4Interface(text) if text and "/" in text else None
    except ValueError:
        return None


def _hardware(kind: str, config: Row) -> Hardware:
    disks = [key for key in sorted(config) if _DISK.fullmatch(key) and "media=cdrom" not in str(config[key])]
    root = "rootfs" if kind == "lxc" else next(iter(disks), "")
    storage, _, rest = str(config.get(root, "")).partition(":")
    size = re.search(r"size=(\d+)([MGT])", rest)
    return Hardware(
        memory=int(config.get("memory") or 512),
        cores=int(config.get("cores") or 1) * int(config.get("sockets") or 1),
        disk=max(1, int(int(size[1]) * _GIB[size[2]])) if size else 8,
        storage=storage if rest else "",
        ostype=str(config.get("ostype", "")),
        unprivileged=bool(int(config.get("unprivileged") or 0)),
        features=tuple(key for key, value in _words(str(config.get("features", ""))).items() if value != "0"),
        more=tuple(each for each in (*disks, *filter(_SHARED.fullmatch, sorted(config))) if each != root),
    )


def _named(rules: Iterable[fact.ProxmoxRule]) -> Iterator[Port]:
    """Yield the single ports that inbound rules name: what a guest is said to serve."""
    for rule in rules:
        for number in (rule.dport or "").split(","):
            if rule.type == "in" and rule.proto in {"tcp", "udp"} and number.isdigit() and int(number):
                yield Port.parse(f"{number}/{rule.proto}")


def _words(line: str) -> dict[str, str]:
    """Return the settings of a card; `virtio=<MAC>` stays as it is."""
    return {key: value for key, _, value in (word.partition("=") for word in line.split(",")) if key}


def _line(words: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" if value else key for key, value in words.items() if key != _FIREWALL)


def _address(text: str | None) -> IPv4Address | None:
    found = address(text)
    return found if isinstance(found, IPv4Address) else None


def _guest_firewall(api: ProxmoxApi, path: str, name: str) -> fact.GuestFirewall:
    options = api.get(f"{path}/options", {})
    return fact.GuestFirewall(
        origin=name,
        enabled=bool(int(options.get("enable", 0))),
        input_policy=str(options.get("policy_in", "DROP")),
        output_policy=str(options.get("policy_out", "ACCEPT")),
        dhcp=bool(int(options.get("dhcp", 0))),
        ipfilter=bool(int(options.get("ipfilter", 0))),
        rules=_rules(api, f"{path}/rules", name),
        ipsets=_ipsets(api, f"{path}/ipset"),
        aliases=_aliases(api, f"{path}/aliases"),
    )


def _datacenter(api: ProxmoxApi, lans: Mapping[fact.Vlan, IPv4Network], *, on: bool) -> fact.Datacenter:
    options = api.get("cluster/firewall/options", {})
    groups = [str(row["group"]) for row in api.get("cluster/firewall/groups", [])]
    return fact.Datacenter(
        origin="datacenter",
        enabled=on and bool(int(options.get("enable", 0))),
        input_policy=str(options.get("policy_in", "DROP")),
        output_policy=str(options.get("policy_out", "ACCEPT")),
        rules=_rules(api, "cluster/firewall/rules", "datacenter"),
        groups={name: _rules(api, f"cluster/firewall/groups/{name}", f"group {name}") for name in groups},
        ipsets=_ipsets(api, "cluster/firewall/ipset"),
        aliases=_aliases(api, "cluster/firewall/aliases"),
        local_network=next(iter(lans.values())) if len(set(lans.values())) == 1 else None,
    )


def _rules(api: ProxmoxApi, path: str, owner: str) -> tuple[fact.ProxmoxRule, ...]:
    return tuple(
        fact.ProxmoxRule(
            origin=f"{owner} rule {row.get('pos', index)}",
            type=str(row["type"]),
            action=str(row["action"]),
            enabled=bool(int(row.get("enable", 1))),
            macro=row.get("macro"),
            proto=_text(row, "proto"),
            source=_text(row, "source"),
            dest=_text(row, "dest"),
            sport=_text(row, "sport"),
            dport=_text(row, "dport"),
            iface=_text(row, "iface"),
            group=str(row["action"]) if row["type"] == "group" else None,
        )
        for index, row in enumerate(sorted(api.get(path, []), key=lambda each: int(each.get("pos", 0))))
        if row["type"] in {"in", "out", "group"}
    )


def _text(row: Row, key: str) -> str | None:
    value = row.get(key)
    return None if value is None else str(value)


def _ipsets(api: ProxmoxApi, path: str) -> dict[str, tuple[fact.IpsetEntry, ...]]:
    return {
        str(row["name"]): tuple(
            fact.IpsetEntry(cidr=str(entry["cidr"]), nomatch=bool(int(entry.get("nomatch") or 0)))
            for entry in api.get(f"{path}/{row['name']}", [])
        )
        for row in api.get(path, [])
    }


def _aliases(api: ProxmoxApi, path: str) -> dict[str, str]:
    return {str(row["name"]): str(row["cidr"]) for row in api.get(path, [])}
