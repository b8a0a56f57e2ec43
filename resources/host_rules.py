"""Reads what the host's own rules let pass within, into and out of its bridges, from their text.

The pack has compared the text with the rendered one by then (`resources.typed.ProjectCommand`). Here it is
read again as nftables reads it, so the proof has addresses and ports of resources, not of the stack file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import takewhile

from reachability.facts import Entry, Exit, Pass
from resources.nft import CHAIN, passes, sets
from topology.model import Port, Protocol

_BRIDGE = re.compile(r'^ +iifname "(\S+)" oifname "\1" jump within$', re.MULTILINE)
_LEAVING = re.compile(r"^ +(\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)
_KEY = "ip saddr . ip daddr . meta l4proto . th dport"
_WITHIN = (
    "ct state established,related accept",
    f"{_KEY} @declared meta l4proto != @paused update @used {{ {_KEY} counter }}",
    f"{_KEY} @declared accept",
    "goto undeclared",
)
_OBSERVED = re.compile(
    r'iifname "(?P<bridge>\S+)" ip saddr @observed ip daddr @observed meta time < \d+ goto observe'
)
_UNDECLARED = (
    f"ct state new meta l4proto {{ tcp, udp }} meta l4proto != @paused update @tried {{ {_KEY} counter }}",
    "limit rate 6/minute log prefix",
    "counter drop",
)
"""The chain in which the bridges' rules end: it remembers, logs a little and drops; the prefix is any."""
_PREFIX = re.compile(r' "[a-z0-9-]+: "$')
_FROM = r"iifname \{ (?P<bridges>[^{}]+) \} "
_TO = r"ip daddr != \{ (?P<near>[^{}]+) \} "
_BY_MEMBER = re.compile(rf"{_FROM}ip saddr \. meta l4proto \. th dport @leaving {_TO}accept")
_BY_BRIDGE = re.compile(
    rf"{_FROM}(ip saddr (?P<source>\S+) )?{_TO}(?P<protocol>tcp|udp) dport (?P<port>\d+) accept"
)
_ROUTED = re.compile(
    r'iifname "(?P<bridge>\S+)" ip saddr (?P<source>\S+) ip daddr (?P<to>\S+) '
    r"(?P<protocol>tcp|udp) dport (?P<port>\d+) accept"
)
_DROP = re.compile(rf"{_FROM}goto undeclared")
_INTO = r"oifname \{ (?P<bridges>[^{}]+) \} "
_LIMIT = re.compile(
    rf"{_INTO}ip saddr != \{{ (?P<from>[^{{}}]+) \}} (?P<protocol>tcp|udp) dport (?P<port>\d+) drop"
)
_ENTER = re.compile(r'(iifname "\S+" |oifname \{ [^{}]+ \} )ct status dnat accept')
_HOOK = "type filter hook forward priority filter - 10; policy accept;"
_OTHERS = re.compile(
    rf'iifname "(?P<same>\S+)" oifname "(?P=same)" jump within'
    rf"|ct state established,related accept|{_ENTER.pattern}"
    r"|oifname \{ [^{}]+ \} (ip saddr != \{ [^{}]+ \} (tcp|udp) dport \d+ drop|goto undeclared)"
)
"""Lines of the chain `forward` that let nothing out to where no port is published."""
_INPUT = "type filter hook input priority filter - 10; policy accept;"
_ENTRY = re.compile(r"ip saddr (?P<from>\S+) (?P<protocol>tcp|udp) dport (?P<port>\d+) accept")
_NO_ENTRY = re.compile(
    r'iifname \{ [^{}]+ \} (ct state established,related accept|goto undeclared)|iifname "lo" accept'
    r'|ct state established,related accept|iifname "\S+" drop'
    r"|icmpv6 type \{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query \} accept"
    r"|udp sport \. udp dport \{ 67 \. 68, 547 \. 546 \} accept"
)
"""Lines of the chain `input` that let no connection in from outside."""


def within(text: str) -> dict[str, tuple[Pass, ...]]:
    """Return what passes between members of each bridge that the rules close; other bridges are open.

    A bridge that is observed for a while is open, to newcomers as well, although the rules drop theirs.
    """
    lines = [*_lines(text, "within")]
    observed = {found["bridge"] for found in map(_OBSERVED.fullmatch, lines) if found}
    if tuple(each for each in lines if not _OBSERVED.fullmatch(each)) != _WITHIN or not _drops(text):
        return {}
    return dict.fromkeys((each for each in _BRIDGE.findall(text) if each not in observed), passes(text))


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """What the chain `forward` lets through.

    `leaving` is by bridge; other bridges are open. `admitted` says from where alone published ports lead into
    a bridge, by bridge and a container's port; other ports are open to everyone.
    """

    leaving: Mapping[str, tuple[Exit, ...]] = field(default_factory=dict)
    admitted: Mapping[str, Mapping[Port, tuple[IPv4Network, ...]]] = field(default_factory=dict)


def forward(text: str) -> Forwarded:
    """Read the chain line by line, in order; a line that is not understood opens everything."""
    open_: dict[str, list[Exit]] = {}
    closed: dict[str, tuple[Exit, ...]] = {}
    leaving = sets(text).get("leaving", "")
    first, *lines = *_lines(text, "forward"), ""
    if first != _HOOK or not _drops(text):
        return Forwarded()
    for line in filter(None, lines):
        if found := _DROP.fullmatch(line):
            for bridge in _names(found):
                closed.setdefault(bridge, tuple(open_.get(bridge, ())))
        elif found := _ROUTED.fullmatch(line):
            port = Port(number=int(found["port"]), protocol=Protocol(found["protocol"]))
            exit_ = Exit(port=port, source=IPv4Address(found["source"]), to=IPv4Network(found["to"]))
            open_.setdefault(found["bridge"], []).append(exit_)
        elif found := _BY_BRIDGE.fullmatch(line) or _BY_MEMBER.fullmatch(line):
            for bridge in _names(found):
                open_.setdefault(bridge, []).extend(_exits(found, leaving))
        elif not _OTHERS.fullmatch(line):
            return Forwarded()
    # A limit behind a line that accepts comes too late.
    entered = takewhile(lambda line: not _ENTER.fullmatch(line), lines)
    return Forwarded(leaving=closed, admitted=_admitted(filter(None, map(_LIMIT.fullmatch, entered))))


def entries(text: str) -> tuple[Entry, ...] | None:
    """Return what the chain `input` lets in from outside; None if it does not drop all else.

    A line that is not understood opens everything.
    """
    first, *lines = *_lines(text, "input"), ""
    found: list[Entry] = []
    with suppress(ValueError):  # no port or no prefix
        for line in lines if first == _INPUT else ():
            if line == "counter drop":
                return tuple(found)
            if entry := _ENTRY.fullmatch(line):
                port = Port(number=int(entry["port"]), protocol=Protocol(entry["protocol"]))
                found.append(Entry(port=port, source=IPv4Network(entry["from"], strict=False)))
            elif not _NO_ENTRY.fullmatch(line):
                break
    return None


def _admitted(limits: Iterable[re.Match[str]]) -> Mapping[str, Mapping[Port, tuple[IPv4Network, ...]]]:
    found: defaultdict[str, dict[Port, tuple[IPv4Network, ...]]] = defaultdict(dict)
    for limit in limits:
        port = Port(number=int(limit["port"]), protocol=Protocol(limit["protocol"]))
        for bridge in _names(limit):
            found[bridge].setdefault(port, tuple(map(IPv4Network, limit["from"].split(", "))))
    return found


def _exits(rule: re.Match[str], leaving: str) -> Iterator[Exit]:
    """Yield what a rule lets out: its one port, or the elements of the set `leaving`."""
    own = rule.groupdict()
    one = [(own["source"], own["protocol"], own["port"])] if "port" in own else _LEAVING.findall(leaving)
    for source, protocol, number in one:
        yield Exit(
            port=Port(number=int(number), protocol=Protocol(protocol)),
            source=IPv4Address(source) if source else None,
            without=tuple(map(IPv4Network, rule["near"].split(", "))),
        )


def _drops(text: str) -> bool:
    """Whether the chain in which the bridges' rules end drops all that comes to it."""
    return tuple(_PREFIX.sub("", line) for line in _lines(text, "undeclared")) == _UNDECLARED


def _lines(text: str, chain: str) -> Iterator[str]:
    """Yield the lines of a chain without their indentation; none if the text does not have exactly one."""
    found = [lines for name, lines in CHAIN.findall(text) if name == chain]
    yield from (line.strip() for line in found[0].splitlines()) if len(found) == 1 else ()


def _names(found: re.Match[str]) -> list[str]:
    return [name.strip('"') for name in found["bridges"].split(", ")]
