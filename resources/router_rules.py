"""Reads what a router's rules let through, from their text: an nftables file, or VyOS's `set` commands.

The text is read as nftables and VyOS read it, not as the renderer wrote it, so the proof has the addresses,
ports and interfaces that the router itself would use. What is not understood opens everything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from reachability.facts import Entry, Masquerade, Permit, PortForward
from topology.model import Port, Protocol, RouterSystem

_Prefixes = tuple[IPv4Network, ...]


@dataclass(frozen=True, kw_only=True)
class RouterRules:
    """A router's rules; None: everything passes there."""

    permits: tuple[Permit, ...] | None = None
    entries: tuple[Entry, ...] | None = None
    forwards: tuple[PortForward, ...] = ()
    masquerades: tuple[Masquerade, ...] = ()


def read(text: str, system: RouterSystem, wan: IPv4Address | None) -> RouterRules:
    """Return the rules of a text; `wan` is the address that hides senders there, None: unknown."""
    try:
        return (_nftables if system is RouterSystem.LINUX else _vyos)(text, wan)
    except (ValueError, LookupError):
        return RouterRules()


# ----------------------------------------------------------------------------------------------- nftables

_CHAIN = re.compile(r"^  chain (\w+) \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_SET = re.compile(
    r"^  set nearby \{\n    type ipv4_addr\n    flags interval\n    elements = \{\n([\d./,\s]+)\}$",
    re.MULTILINE,
)
_ANSWERS: Final = "ct state established,related accept"
_PORT = r"(?P<protocol>tcp|udp) dport (?P<port>\d+)"
_RULE = re.compile(
    r'(?:iifname "(?P<inbound>[^"]+)" )?(?:oifname "(?P<outbound>[^"]+)" )?'
    rf"(?:ip saddr (?P<source>\S+|!= @nearby) )?(?:ip daddr (?P<destination>\S+|!= @nearby) )?{_PORT}"
    r"(?P<forwarded> ct status dnat)? accept"
)
_LEASE = re.compile(r'iifname "[^"]+" udp sport 67 udp dport 68 accept')
_FORWARD = re.compile(
    rf'iifname "(?P<inbound>[^"]+)" (?:ip daddr \S+|fib daddr type local) {_PORT} '
    r"dnat ip to (?P<address>[\d.]+):(?P<number>\d+)"
)
_MASQUERADE = re.compile(r'oifname "(?P<outbound>[^"]+)"(?: ip saddr (?P<source>\S+))? masquerade')
_HOOKS: Final = {
    "input": "type filter hook input priority filter; policy drop;",
    "forward": "type filter hook forward priority filter; policy drop;",
    "prerouting": "type nat hook prerouting priority dstnat; policy accept;",
    "postrouting": "type nat hook postrouting priority srcnat; policy accept;",
}


def _nftables(text: str, wan: IPv4Address | None) -> RouterRules:
    found = _CHAIN.findall(text)
    chains = {name: [line.strip() for line in lines.splitlines()] for name, lines in found}
    if len(found) != len(_HOOKS) or any(chains[name][:1] != [hook] for name, hook in _HOOKS.items()):
        raise ValueError("other chains")
    (elements,) = _SET.findall(text)
    nearby = tuple(map(IPv4Network, elements.replace(",", " ").split()))
    passing = (line for line in chains["forward"][1:] if line != _ANSWERS)
    own = (each for each in chains["input"][1:] if each not in {_ANSWERS, 'iifname "lo" accept'})
    return RouterRules(
        permits=tuple(_permit(_matched(_RULE, line), nearby) for line in passing),
        entries=tuple(_entry(_matched(_RULE, line), nearby) for line in own if not _LEASE.fullmatch(line)),
        forwards=tuple(_forward(_matched(_FORWARD, line)) for line in chains["prerouting"][1:]),
        masquerades=tuple(
            _masquerade(_matched(_MASQUERADE, line), wan) for line in chains["postrouting"][1:]
        ),
    )


def _matched(pattern: re.Pattern[str], line: str) -> Mapping[str, str]:
    if (found := pattern.fullmatch(line)) is None:
        raise ValueError(f"not understood: {line}")
    return {name: value for name, value in found.groupdict().items() if value is not None}


# --------------------------------------------------------------------------------------------------- VyOS

_COMMAND = re.compile(r"set (?P<chain>firewall ipv4 \w+ filter|nat \w+) rule (?P<number>\d+) (?P<rest>.+)")
_GROUP = re.compile(r"set firewall group network-group (?P<name>\S+) network (?P<network>\S+)")
_DEFAULT = re.compile(r"set firewall (?P<chain>ipv[46] (?:input|forward)) filter default-action drop")
_KEYS: Final = {
    "action accept": "",
    "inbound-interface name": "inbound",
    "outbound-interface name": "outbound",
    "protocol": "protocol",
    "source address": "source",
    "source port": "sport",
    "destination address": "destination",
    "destination port": "port",
    "source group network-group": "source-group",
    "destination group network-group": "destination-group",
    "connection-status nat destination": "forwarded",
    "translation address": "address",
    "translation port": "number",
}
_DEFAULTS: Final = {f"ipv{number} {chain}" for number in (4, 6) for chain in ("input", "forward")}
_ANSWERING: Final = {"state established": "", "state related": ""}


def _vyos(text: str, wan: IPv4Address | None) -> RouterRules:
    rules: defaultdict[str, defaultdict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    groups: defaultdict[str, list[IPv4Network]] = defaultdict(list)
    closed = set()
    for line in text.splitlines():
        if found := _DEFAULT.fullmatch(line):
            closed.add(found["chain"])
        elif found := _GROUP.fullmatch(line):
            groups[found["name"]].append(IPv4Network(found["network"]))
        else:
            chain, number, rest = _matched(_COMMAND, line).values()
            rules[chain][int(number)] |= _said(rest)
    if closed != _DEFAULTS:
        raise ValueError("a chain that does not drop by default")
    (nearby,) = groups.values() or ((),)
    named = {f"!{name}" for name in groups}
    own = _ordered(rules["firewall ipv4 input filter"], named)
    through = _ordered(rules["firewall ipv4 forward filter"], named)
    return RouterRules(
        permits=tuple(_permit(each, tuple(nearby)) for each in through),
        entries=tuple(_entry(each, tuple(nearby)) for each in own if "sport" not in each),
        forwards=tuple(_forward(each) for each in rules["nat destination"].values()),
        masquerades=tuple(_masquerade(each, wan) for each in rules["nat source"].values()),
    )


def _said(rest: str) -> dict[str, str]:
    """Return what one command says of its rule."""
    if rest in _ANSWERING:
        return {rest: ""}
    for words, key in _KEYS.items():
        if rest == words:
            return {key: "yes"} if key else {"action": "accept"}
        if rest.startswith(f"{words} "):
            return {key: rest.removeprefix(f"{words} ")}
    raise ValueError(f"not understood: {rest}")


def _ordered(rules: Mapping[int, dict[str, str]], groups: set[str]) -> Iterator[dict[str, str]]:
    """Yield the rules that let something new through, with both ends in the notation of nftables."""
    for _, said in sorted(rules.items()):
        if said.pop("action") != "accept" or {*_ANSWERING} & {*said}:
            if {*said} != {*_ANSWERING}:
                raise ValueError("a rule of another kind")
            continue
        if said == {"inbound": "lo"}:
            continue
        for end in ("source", "destination"):
            if (group := said.pop(f"{end}-group", None)) is not None:
                if group not in groups or end in said:
                    raise ValueError("a group that is not known")
                said[end] = "!= @nearby"
        yield said


# ------------------------------------------------------------------------------------------------- common


def _permit(said: Mapping[str, str], nearby: _Prefixes) -> Permit:
    source, source_without = _ends(said.get("source"), nearby)
    destination, destination_without = _ends(said.get("destination"), nearby)
    return Permit(
        inbound=said.get("inbound"),
        outbound=said.get("outbound"),
        port=_port(said),
        source=source,
        source_without=source_without,
        destination=destination,
        destination_without=destination_without,
        forwarded="forwarded" in said,
    )


def _entry(said: Mapping[str, str], nearby: _Prefixes) -> Entry:
    source, _ = _ends(said["source"], nearby)
    if source is None or {"outbound", "forwarded"} & {*said}:
        raise ValueError("an entry of another kind")
    to = IPv4Address(said["destination"]) if "destination" in said else None
    return Entry(port=_port(said), source=source[0], inbound=said.get("inbound"), to=to)


def _forward(said: Mapping[str, str]) -> PortForward:
    return PortForward(
        inbound=said["inbound"],
        port=_port(said),
        address=IPv4Address(said["address"]),
        number=int(said["number"]),
    )


def _masquerade(said: Mapping[str, str], wan: IPv4Address | None) -> Masquerade:
    if said.get("address", "masquerade") != "masquerade":
        raise ValueError("another translation")
    sources = (IPv4Network(said["source"]),) if "source" in said else None
    return Masquerade(outbound=said["outbound"], sources=sources, address=wan)


def _port(said: Mapping[str, str]) -> Port:
    return Port(number=int(said["port"]), protocol=Protocol(said["protocol"]))


def _ends(text: str | None, nearby: Iterable[IPv4Network]) -> tuple[_Prefixes | None, _Prefixes]:
    """Return the prefixes that an address may be in, and those that it may not."""
    if text is None:
        return None, ()
    return (None, tuple(nearby)) if text == "!= @nearby" else ((IPv4Network(text),), ())
