"""Translates a guest's or the node's Proxmox firewall into nftables rules for the namespace they act in.

The source is pve-firewall's `src/PVE/Firewall.pm`: the three switches, MAC and IP filter, rules, groups,
aliases, ipsets and policies, in Proxmox's order. `plane` applies the text. The module shares only the tables
of macros with `reachability.rules`, so that a fault of the proof shows on the wire.

Note: a rule whose names or macro can't be resolved is left out, as in Proxmox; the policy then decides.

REJECT drops here, and Proxmox's standing permissions for ICMP errors and IGMP are left out: no flow needs
them. A group that Proxmox cannot build is written without the faulty rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from lab.proxmox.guests import LabGuest, Nic
from reachability.words import MACROS

Held = Mapping[str, Any]
"""One level of the firewall as `fakepve` keeps it: options, rules, aliases, ipset, groups."""

INTO, OUT_OF = 2000, 1000
"""Packet marks by direction; the card's number is added. The bridge knows the port, the IP rules don't."""
_STANDING = "8006, 22, 3128, 5900-5999, 60000-60050"
"""TCP ports of a node that Proxmox opens to its own network and to ipset `management`."""
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_LIMIT = "limit rate 1/second burst 5 packets"
"""Proxmox's default for the log, and what the program sets."""
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop"}


def ruleset(guest: LabGuest, datacenter: Held, own: Held) -> str:
    """Return the rules that filter the guest's cards; a card with a switch off is unfiltered."""
    on = bool(datacenter["options"].get("enable"))
    listed = bool(own["options"].get("enable")) or "blacklist" in datacenter["ipset"]
    filtered = [nic for nic in guest.nics if on and listed and nic.firewall]
    cards = [
        _Card(nic=nic, vmid=guest.vmid, lxc=guest.lxc, datacenter=datacenter, own=own) for nic in filtered
    ]
    if not cards:
        return "flush ruleset\n"
    marks = ", ".join(f"{mark} : jump {chain}" for card in cards for mark, chain in card.jumps)
    return "\n".join(
        [
            "flush ruleset",
            "table bridge pve {",
            "  chain ports {",
            "    type filter hook prerouting priority -300; policy accept;",
            *(f"    {line}" for card in cards for line in card.ports()),
            "  }",
            "}",
            "table inet pve {",
            *(line for card in cards for line in card.chains()),
            "  chain forward {",
            "    type filter hook forward priority filter; policy accept;",
            "    ct state vmap { established : accept, related : accept, invalid : drop }",
            f"    meta mark vmap {{ {marks} }}",
            "  }",
            "}",
            "",
        ]
    )


def node_ruleset(local: IPv4Network, datacenter: Held, own: Held) -> str:
    """Return the rules of a node's input, per `enable_host_firewall`; its own precede the datacenter's.

    `local` is the node's own network, unless an alias `local_network` overrides it. That network and the
    ipset `management` reach the node's standing ports unless an earlier rule drops them.
    """
    if not datacenter["options"].get("enable") or not own["options"].get("enable", 1):
        return "flush ruleset\n"
    scope = (datacenter,)
    held = _members("management", scope) or []
    alias = _alias("local_network", scope)
    # A rule that names the ipset also matches the local network: `_members` adds the alias's.
    standing = held if alias and held else _disjoint([*held, *_networks([(alias or str(local), False)])])
    lines = [
        "iifname lo accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        *_blacklisted(datacenter),
        *_node_rules((*own["rules"], *datacenter["rules"]), datacenter),
        *(f"{match} tcp dport {{ {_STANDING} }} accept" for match in _sets("saddr", standing)),
        _VERDICTS[datacenter["options"].get("policy_in", "DROP")],
    ]
    head = ["flush ruleset", "table inet pve {", "  chain input {"]
    hook = "type filter hook input priority filter; policy accept;"
    return "\n".join([*head, *(f"    {line}" for line in (hook, *lines)), "  }", "}", ""])


def _node_rules(rules: Iterable[Mapping[str, Any]], datacenter: Held) -> Iterator[str]:
    for rule in rules:
        if not rule.get("enable") or rule.get("iface"):
            continue
        inside = datacenter["groups"].get(rule["action"], ()) if rule["type"] == "group" else (rule,)
        for one in inside:
            if one.get("enable") and one["type"] == "in":
                yield from _rule(one, (datacenter,))


@dataclass(frozen=True, kw_only=True)
class _Card:
    """A filtered card: the switches of datacenter and card are on."""

    nic: Nic
    vmid: int
    lxc: bool
    datacenter: Held
    own: Held

    @property
    def jumps(self) -> list[tuple[int, str]]:
        index = self.nic.index
        return [(INTO + index, f"in{index}"), *[(OUT_OF + index, f"out{index}")] * self._own_rules]

    def ports(self) -> Iterator[str]:
        """Yield rules that mark the direction and check MAC addresses and ARP, which IP rules never see."""
        index, options = self.nic.index, self.own["options"]
        if not options.get("enable"):
            yield f'iifname "net{index}" meta mark set {INTO + index}'
            return
        if options.get("macfilter", 1):
            yield f'iifname "card{index}" ether saddr != {self.nic.mac} drop'
        if self._pinned is not None:
            allowed = f"arp saddr ip != {{ {', '.join(self._pinned)} }} " if self._pinned else ""
            yield f'iifname "card{index}" ether type arp {allowed}drop'
        yield f'iifname "card{index}" meta mark set {OUT_OF + index}'
        yield f'iifname "net{index}" meta mark set {INTO + index}'

    def chains(self) -> Iterator[str]:
        """Yield the chains of both directions, each with its standing filters, rules and policy.

        The blacklist comes before the guest's own chain, and DHCP before the IP filter.
        """
        options = self.own["options"]
        dhcp = options.get("dhcp", 1)
        yield f"  chain in{self.nic.index} {{"
        yield from (f"    {line}" for line in _blacklisted(self.datacenter))
        if not self._own_rules:
            yield "    accept"
            yield "  }"
            return
        if dhcp:
            yield "    udp sport 67 udp dport 68 accept"
        yield from (f"    {line}" for line in self._rules("in"))
        yield f"    {_VERDICTS[options.get('policy_in', 'DROP')]}"
        yield "  }"
        yield f"  chain out{self.nic.index} {{"
        if dhcp:
            yield "    udp sport 68 udp dport 67 accept"
        if self._pinned is not None:
            allowed = f"ip saddr != {{ {', '.join(self._pinned)} }} " if self._pinned else ""
            yield f"    meta nfproto ipv4 {allowed}drop"
            yield "    meta nfproto ipv6 drop"
        yield from (f"    {line}" for line in self._rules("out"))
        yield f"    {_VERDICTS[options.get('policy_out', 'ACCEPT')]}"
        yield "  }"

    @property
    def _own_rules(self) -> bool:
        """Whether the guest's own switch is on, too."""
        return bool(self.own["options"].get("enable"))

    @property
    def _pinned(self) -> list[str] | None:
        """Return the addresses that the IP filter passes; None where neither option nor set enables it.

        Proxmox adds a container's own address to the set, or to the empty one that the option implies.
        """
        name = f"ipfilter-net{self.nic.index}"
        if not self.own["options"].get("ipfilter") and name not in self.own["ipset"]:
            return None
        found = _members(name, (self.own, self.datacenter)) or []
        addresses = [_text(each) for each in found if isinstance(each, IPv4Network)]
        own = [str(self.nic.address.ip)] if self.lxc and self.nic.address else []
        return [*addresses, *(each for each in own if each not in addresses)]

    def _rules(self, direction: str) -> Iterator[str]:
        for rule in self.own["rules"]:
            if not rule.get("enable") or rule.get("iface") not in (None, f"net{self.nic.index}"):
                continue
            if rule["type"] == "group":
                for inner in self.datacenter["groups"].get(rule["action"], ()):
                    if inner.get("enable") and inner["type"] == direction:
                        yield from _rule(inner, (self.datacenter,))
            elif rule["type"] == direction:
                yield from _rule(rule, (self.own, self.datacenter), self._log(rule, direction))

    def _log(self, rule: Mapping[str, Any], direction: str) -> str:
        """Return what logs a rule's packets, in the form that `firewall_log` reads; empty without a level."""
        if rule.get("log", "nolog") == "nolog":
            return ""
        chain = f"{'veth' if self.lxc else 'tap'}{self.vmid}i{self.nic.index}-{direction.upper()}"
        prefix = f":{self.vmid}:{_LEVELS.index(rule['log'])}:{chain}: {rule['action']}: "
        return f'{_LIMIT} log prefix "{prefix}" group 0'


def _rule(rule: Mapping[str, Any], scope: tuple[Held, ...], log: str = "") -> Iterator[str]:
    """Yield a rule's lines, one for each combination of address version and port protocol, behind its log."""
    sources, destinations = _addresses(rule.get("source"), scope), _addresses(rule.get("dest"), scope)
    services = _services(rule)
    if sources is None or destinations is None or services is None:
        return
    for source in _sets("saddr", sources):
        for dest in _sets("daddr", destinations):
            if {source[:3], dest[:3]} == {"ip ", "ip6"}:
                continue
            for service in services:
                for end in filter(None, (log, _VERDICTS[rule["action"]])):
                    yield " ".join(word for word in (source, dest, service, end) if word)


def _blacklisted(datacenter: Held) -> list[str]:
    """Return rules that drop the datacenter's ipset `blacklist`; a guest's has no effect."""
    found = _members("blacklist", (datacenter,))
    return [f"{match} drop" for match in _sets("saddr", found)] if found else []


def _services(rule: Mapping[str, Any]) -> list[str] | None:
    """Return the matches on protocol and ports; None for an unknown macro, or ports without a protocol.

    A port or protocol of 0 alone is no restriction.
    """
    given = (None if rule.get(key) == "0" else rule.get(key) for key in ("proto", "dport", "sport"))
    proto, dport, sport = given
    if macro := rule.get("macro"):
        lines = MACROS.get(macro.lower())
        if lines is None:
            return None
        return [_service(line.proto, line.dport or dport, line.sport or sport) for line in lines]
    if not proto or proto in ("ip", "hopopt"):
        return None if dport or sport else [""]
    return [_service(proto, rule.get("icmp-type") or dport, sport)]


def _service(proto: str, dport: str | None, sport: str | None) -> str:
    if proto in ("icmp", "1"):
        return f"icmp type {dport}" if dport and dport != "any" else "meta l4proto icmp"
    return _ports(proto, dport, sport)


def _ports(proto: str, dport: str | None = None, sport: str | None = None) -> str:
    matches = [
        f"th {side} {{ {ports.replace(':', '-').replace(',', ', ')} }}"
        for side, ports in (("dport", dport), ("sport", sport))
        if ports
    ]
    return " ".join((f"meta l4proto {proto}", *matches))


Network = IPv4Network | IPv6Network
Addresses = list[str | Network]
"""Disjoint networks and ranges; empty means all addresses."""


def _addresses(text: str | None, scope: tuple[Held, ...]) -> Addresses | None:
    """Return the addresses of a rule's source or destination; None for an unknown name."""
    if not text:
        return []
    if text.startswith("+"):
        return list(_members(text[1:], _within(text[1:], scope)) or ()) or None
    if _is_name(text):
        cidr = _alias(text, scope)
        return [ip_network(cidr, strict=False)] if cidr else None
    parts = [part.strip() for part in text.split(",")]
    ranges = [part for part in parts if "-" in part]
    return [*ranges, *_disjoint(ip_network(part) for part in parts if part not in ranges)]


def _is_name(text: str) -> bool:
    return text[0].isalpha() and ":" not in text


def _within(name: str, scope: tuple[Held, ...]) -> tuple[Held, ...]:
    """Return the levels to look a name up in: `dc/` is the datacenter alone, `guest/` the guest alone."""
    return scope[-1:] if name.startswith("dc/") else scope[:-1] if name.startswith("guest/") else scope


def _alias(name: str, scope: tuple[Held, ...]) -> str | None:
    bare = name.rpartition("/")[2].lower()
    found = (level["aliases"].get(bare) for level in _within(name, scope))
    return next((str(alias["cidr"]) for alias in found if alias), None)


def _members(name: str, scope: tuple[Held, ...]) -> list[Network] | None:
    """Return the members of the first ipset of this name; None where no level has one.

    A member that is an alias is looked up from the level of the set. `management` includes the local network.
    """
    bare = name.rpartition("/")[2]
    at = next((index for index, level in enumerate(scope) if bare in level["ipset"]), None)
    if at is None:
        return None
    found: dict[str, bool] = {}
    # Proxmox writes the set in this order, and the later of two entries for one network counts.
    for entry in sorted(scope[at]["ipset"][bare], key=lambda entry: str(entry["cidr"])):
        cidr = _alias(entry["cidr"], scope[at:]) if _is_name(entry["cidr"]) else str(entry["cidr"])
        if cidr:
            found[cidr] = bool(entry.get("nomatch"))
    local = _alias("local_network", scope[-1:]) if bare == "management" and at == len(scope) - 1 else None
    return _networks([*found.items(), *([(local, False)] if local else [])])


def _networks(entries: Iterable[tuple[str, bool]]) -> list[Network]:
    """Return the networks in a set: among the entries that contain an address, the longest prefix decides."""
    read = {ip_network(text, strict=False): out for text, out in entries}
    held: list[Network] = []
    for network in sorted(read, key=lambda network: network.prefixlen):
        left = [part for each in held for part in _less(each, network)]
        held = left if read[network] else [*left, network]
    return _disjoint(held)


def _less(each: Network, out: Network) -> Iterable[Network]:
    """Return what remains of `each` without `out`, which is not wider."""
    if each.version != out.version or not out.subnet_of(each):  # type: ignore[arg-type]  # one version
        return [each]
    return each.address_exclude(out)  # type: ignore[arg-type]  # one version


def _disjoint(networks: Iterable[Network]) -> list[Network]:
    """Return the networks in order, without those that lie in another."""
    found = list(networks)
    return [
        *collapse_addresses(each for each in found if isinstance(each, IPv4Network)),
        *collapse_addresses(each for each in found if isinstance(each, IPv6Network)),
    ]


def _text(network: Network) -> str:
    return str(network).removesuffix("/32" if isinstance(network, IPv4Network) else "/128")


def _sets(side: str, addresses: Addresses | list[Network]) -> list[str]:
    """Return the address matches, one per IP version; a single empty match for all addresses."""
    if not addresses:
        return [""]
    found = []
    for word, version in (("ip", 4), ("ip6", 6)):
        texts = [
            each if isinstance(each, str) else _text(each)
            for each in addresses
            if (ip_network(each.partition("-")[0]) if isinstance(each, str) else each).version == version
        ]
        if texts:
            found.append(f"{word} {side} {{ {', '.join(texts)} }}")
    return found
