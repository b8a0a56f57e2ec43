"""What the API holds of a guest's or the node's firewall as nftables rules, for the namespace where they act.

Owns the translation, after pve-firewall's `src/PVE/Firewall.pm`: the three switches, MAC and IP filter,
rules, groups, aliases, ipsets and policies, in Proxmox's order. Pure: `plane` puts the text in force. It
deliberately shares nothing with `reachability.rules` but the table of macros, so that a fault of the proof
shows on the wire. What a reader would get wrong: a rule whose names or macro can't be resolved is left out,
as Proxmox does; the policy then decides.

REJECT drops here, and Proxmox's standing permissions for ICMP errors are left out: no flow needs either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any

from lab.proxmox.guests import Guest, Nic
from reachability.rules import MACROS

Held = Mapping[str, Any]
"""One level of the firewall as `fakepve` keeps it: options, rules, aliases, ipset, groups."""

INTO, OUT_OF = 2000, 1000
"""Packet marks by direction, each plus the card's number: the bridge knows the port, the rules don't."""
_STANDING = "8006, 22, 3128, 5900-5999, 60000-60050"
"""TCP ports of a node that Proxmox opens to its own network and to ipset `management`."""
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop"}


def ruleset(guest: Guest, datacenter: Held, own: Held) -> str:
    """Write everything that filters the guest's cards; nothing filters one with a switch off."""
    on = bool(datacenter["options"].get("enable")) and bool(own["options"].get("enable"))
    cards = [_Card(nic=nic, datacenter=datacenter, own=own) for nic in guest.nics if on and nic.firewall]
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
    """Write what filters a node's input, after `enable_host_firewall`: its rules before the datacenter's.

    `local` is the node's own network, where no alias `local_network` says otherwise. It and the ipset
    `management` reach the node's standing ports where no rule drops them before.
    """
    if not datacenter["options"].get("enable") or not own["options"].get("enable", 1):
        return "flush ruleset\n"
    scope = (datacenter,)
    standing = [(_alias("local_network", scope) or str(local), False), *(_members("management", scope) or [])]
    lines = [
        "iifname lo accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        *(f"{match} drop" for match in _sets("saddr", _members("blacklist", scope) or []) if match),
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
    """A card whose three switches are on."""

    nic: Nic
    datacenter: Held
    own: Held

    @property
    def jumps(self) -> list[tuple[int, str]]:
        index = self.nic.index
        return [(INTO + index, f"in{index}"), (OUT_OF + index, f"out{index}")]

    def ports(self) -> Iterator[str]:
        """Tell the directions apart, and check hardware addresses and ARP, which IP rules never see."""
        index, options = self.nic.index, self.own["options"]
        if options.get("macfilter", 1):
            yield f'iifname "card{index}" ether saddr != {self.nic.mac} drop'
        if self._pinned is not None:
            allowed = f"arp saddr ip != {{ {', '.join(self._pinned)} }} " if self._pinned else ""
            yield f'iifname "card{index}" ether type arp {allowed}drop'
        yield f'iifname "card{index}" meta mark set {OUT_OF + index}'
        yield f'iifname "net{index}" meta mark set {INTO + index}'

    def chains(self) -> Iterator[str]:
        """Write both directions, each with its standing filters, rules and policy."""
        options, scope = self.own["options"], (self.own, self.datacenter)
        dhcp = options.get("dhcp", 1)
        yield f"  chain in{self.nic.index} {{"
        if dhcp:
            yield "    udp sport 67 udp dport 68 accept"
        if black := _members("blacklist", scope):
            yield from (f"    {match} drop" for match in _sets("saddr", black))
        yield from (f"    {line}" for line in self._rules("in"))
        yield f"    {_VERDICTS[options.get('policy_in', 'DROP')]}"
        yield "  }"
        yield f"  chain out{self.nic.index} {{"
        if self._pinned is not None:
            allowed = f"ip saddr != {{ {', '.join(self._pinned)} }} " if self._pinned else ""
            yield f"    meta nfproto ipv4 {allowed}drop"
            yield "    meta nfproto ipv6 drop"
        if dhcp:
            yield "    udp sport 68 udp dport 67 accept"
        yield from (f"    {line}" for line in self._rules("out"))
        yield f"    {_VERDICTS[options.get('policy_out', 'ACCEPT')]}"
        yield "  }"

    @property
    def _pinned(self) -> list[str] | None:
        """Addresses that the IP filter passes; None where neither the option nor the set turns it on."""
        name = f"ipfilter-net{self.nic.index}"
        if not self.own["options"].get("ipfilter") and name not in self.own["ipset"]:
            return None
        found = _members(name, (self.own,)) or []
        return [text for text, nomatch in found if not nomatch and ip_network(text).version == 4]  # noqa: PLR2004

    def _rules(self, direction: str) -> Iterator[str]:
        for rule in self.own["rules"]:
            if not rule.get("enable") or rule.get("iface") not in (None, f"net{self.nic.index}"):
                continue
            if rule["type"] == "group":
                for inner in self.datacenter["groups"].get(rule["action"], ()):
                    if inner.get("enable") and inner["type"] == direction:
                        yield from _rule(inner, (self.datacenter,))
            elif rule["type"] == direction:
                yield from _rule(rule, (self.own, self.datacenter))


def _rule(rule: Mapping[str, Any], scope: tuple[Held, ...]) -> Iterator[str]:
    """Write a rule: one line for each pair of its addresses' version and its ports' protocol."""
    sources, destinations = _addresses(rule.get("source"), scope), _addresses(rule.get("dest"), scope)
    services = _services(rule)
    if sources is None or destinations is None or services is None:
        return
    for source in _sets("saddr", sources):
        for dest in _sets("daddr", destinations):
            if {source[:3], dest[:3]} == {"ip ", "ip6"}:
                continue
            for service in services:
                words = (source, dest, service, _VERDICTS[rule["action"]])
                yield " ".join(word for word in words if word)


def _services(rule: Mapping[str, Any]) -> list[str] | None:
    """Return the matches on protocol and ports; None for a macro that is not known, or ports without any."""
    if macro := rule.get("macro"):
        known = MACROS.get(macro.lower())
        if known is None:
            return None
        # `ping` is the one macro without ports.
        return [_ports(*part.split()) for part in known.split("; ")] if known else ["icmp type echo-request"]
    proto, dport, sport = rule.get("proto"), rule.get("dport"), rule.get("sport")
    if not proto:
        return None if dport or sport else [""]
    if proto in ("icmp", "1"):
        kind = rule.get("icmp-type") or dport
        return [f"icmp type {kind}" if kind and kind != "any" else "meta l4proto icmp"]
    return [_ports(proto, dport, sport)]


def _ports(proto: str, dport: str | None = None, sport: str | None = None) -> str:
    matches = [
        f"th {side} {{ {ports.replace(':', '-').replace(',', ', ')} }}"
        for side, ports in (("dport", dport), ("sport", sport))
        if ports
    ]
    return " ".join((f"meta l4proto {proto}", *matches))


Addresses = list[tuple[str, bool]]
"""Addresses, prefixes and ranges, each with whether it is taken out (`nomatch`); empty: all addresses."""


def _addresses(text: str | None, scope: tuple[Held, ...]) -> Addresses | None:
    """Read a rule's source or destination; None for a name that nothing has."""
    if not text:
        return []
    if text.startswith("+"):
        return _members(text[1:], _within(text[1:], scope)) or None
    if _is_name(text):
        cidr = _alias(text, scope)
        return [(cidr, False)] if cidr else None
    return [(part.strip(), False) for part in text.split(",")]


def _is_name(text: str) -> bool:
    return text[0].isalpha() and ":" not in text


def _within(name: str, scope: tuple[Held, ...]) -> tuple[Held, ...]:
    """Levels in which a name is looked up: `dc/` is the datacenter alone, `guest/` the guest."""
    return scope[-1:] if name.startswith("dc/") else scope[:1] if name.startswith("guest/") else scope


def _alias(name: str, scope: tuple[Held, ...]) -> str | None:
    bare = name.rpartition("/")[2].lower()
    found = (level["aliases"].get(bare) for level in _within(name, scope))
    return next((str(alias["cidr"]) for alias in found if alias), None)


def _members(name: str, scope: tuple[Held, ...]) -> Addresses | None:
    """Members of the first ipset of this name; None where no level has one."""
    bare = name.rpartition("/")[2]
    entries = next((level["ipset"][bare] for level in scope if bare in level["ipset"]), None)
    if entries is None:
        return None
    found = []
    for entry in entries:
        cidr = _alias(entry["cidr"], scope) if _is_name(entry["cidr"]) else entry["cidr"]
        if cidr:
            found.append((str(cidr), bool(entry.get("nomatch"))))
    return found


def _sets(side: str, addresses: Addresses) -> Iterable[str]:
    """Write the matches on addresses, one for each version; a single empty one for all addresses."""
    if not addresses:
        return [""]
    found = []
    for word, version in (("ip", 4), ("ip6", 6)):
        within = [
            (text, out)
            for text, out in addresses
            if ip_network(text.partition("-")[0], strict=False).version == version
        ]
        texts = {out: ", ".join(text for text, nomatch in within if nomatch is out) for out in (False, True)}
        if texts[False]:
            without = f" {word} {side} != {{ {texts[True]} }}" if texts[True] else ""
            found.append(f"{word} {side} {{ {texts[False]} }}{without}")
    return found
