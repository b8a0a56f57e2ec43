"""Reads what the host's own rules let pass within and out of its bridges, from the text that installs them.

The pack has compared the text with the rendered one by then (`resources.typed.ProjectCommand`). Here it is
read again as nftables reads it, so the proof has addresses and ports of resources, not of the stack file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from reachability.facts import Exit, Pass
from topology.model import Port, Protocol

_BRIDGE = re.compile(r'^ +iifname "(\S+)" oifname "\1" jump within$', re.MULTILINE)
_CHAIN = re.compile(r"^  chain (\w+) \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_SET = re.compile(r"^  set (\w+) \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"^ +(\S+) \. (\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)
_LEAVING = re.compile(r"^ +(\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)
_WITHIN = (
    "ct state established,related accept",
    "ip saddr . ip daddr . meta l4proto . th dport @declared accept",
    "counter drop",
)
_FROM = r"iifname \{ (?P<bridges>[^{}]+) \} "
_TO = r"ip daddr != \{ (?P<near>[^{}]+) \} "
_BY_MEMBER = re.compile(rf"{_FROM}ip saddr \. meta l4proto \. th dport @leaving {_TO}accept")
_BY_BRIDGE = re.compile(rf"{_FROM}{_TO}(?P<protocol>tcp|udp) dport (?P<port>\d+) accept")
_DROP = re.compile(rf"{_FROM}drop")
_HOOK = "type filter hook forward priority filter - 10; policy accept;"
_OTHERS = re.compile(
    r'iifname "(\S+)" oifname "\1" jump within'
    r"|ct state established,related accept"
    r'|(iifname "\S+" |oifname \{ [^{}]+ \} )ct status dnat accept'
    r"|oifname \{ [^{}]+ \} drop"
)
"""Lines of the chain `forward` that let nothing out to where no port is published."""


def within(text: str) -> dict[str, tuple[Pass, ...]]:
    """Return what passes between members of each bridge that the rules close; other bridges are open."""
    if tuple(_lines(text, "within")) != _WITHIN:
        return {}
    passes = tuple(
        Pass(
            source=IPv4Address(source),
            destination=IPv4Address(destination),
            port=Port(number=int(number), protocol=Protocol(protocol)),
        )
        for source, destination, protocol, number in _ELEMENT.findall(text)
    )
    return dict.fromkeys(_BRIDGE.findall(text), passes)


def leaving(text: str) -> dict[str, tuple[Exit, ...]]:
    """Return what leaves each bridge that the rules close; other bridges are open.

    A line that is not understood opens every bridge.
    """
    open_: dict[str, list[Exit]] = {}
    closed: dict[str, tuple[Exit, ...]] = {}
    sets = dict(_SET.findall(text))
    first, *lines = *_lines(text, "forward"), ""
    if first != _HOOK:
        return {}
    for line in filter(None, lines):
        if found := _DROP.fullmatch(line):
            for bridge in _names(found):
                closed.setdefault(bridge, tuple(open_.get(bridge, ())))
        elif found := _BY_BRIDGE.fullmatch(line) or _BY_MEMBER.fullmatch(line):
            without = tuple(map(IPv4Network, found["near"].split(", ")))
            own = found.groupdict().get("port")
            ends = [(None, found["protocol"], own)] if own else _LEAVING.findall(sets.get("leaving", ""))
            for bridge in _names(found):
                open_.setdefault(bridge, []).extend(
                    Exit(
                        port=Port(number=int(number), protocol=Protocol(protocol)),
                        source=IPv4Address(source) if source else None,
                        without=without,
                    )
                    for source, protocol, number in ends
                )
        elif not _OTHERS.fullmatch(line):
            return {}
    return closed


def _lines(text: str, chain: str) -> Iterator[str]:
    """Yield the lines of a chain without their indentation; none if the text does not have exactly one."""
    found = [lines for name, lines in _CHAIN.findall(text) if name == chain]
    yield from (line.strip() for line in found[0].splitlines()) if len(found) == 1 else ()


def _names(found: re.Match[str]) -> list[str]:
    return [name.strip('"') for name in found["bridges"].split(", ")]
