"""Reads what the host's own rules let pass within and into its bridges, from the text that installs them.

The pack has compared the text with the rendered one by then (`resources.typed.ProjectCommand`). Here it is
read again as nftables reads it, so the proof has addresses and ports of resources, not of the stack file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from ipaddress import IPv4Address, IPv4Network

from reachability.facts import Pass
from topology.model import Port, Protocol

_BRIDGE = re.compile(r'^ +iifname "(\S+)" oifname "\1" jump within$', re.MULTILINE)
_CHAIN = re.compile(r"^  chain within \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"^ +(\S+) \. (\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)
_LIMIT = re.compile(
    r"^    oifname \{ (.+?) \} ip saddr != \{ (.+?) \} (tcp|udp) dport (\d+) drop$", re.MULTILINE
)
_EXACT = (
    "ct state established,related accept",
    "ip saddr . ip daddr . meta l4proto . th dport @declared accept",
    "counter drop",
)


def within(text: str) -> dict[str, tuple[Pass, ...]]:
    """Return what passes between members of each bridge that the rules close; other bridges are open."""
    chain = _CHAIN.search(text)
    if chain is None or tuple(line.strip() for line in chain[1].splitlines()) != _EXACT:
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


def admitted(text: str) -> dict[str, dict[Port, tuple[IPv4Network, ...]]]:
    """Return, by bridge and a container's port, from where alone published ports lead there."""
    found: defaultdict[str, dict[Port, tuple[IPv4Network, ...]]] = defaultdict(dict)
    for bridges, prefixes, protocol, number in _LIMIT.findall(text):
        port = Port(number=int(number), protocol=Protocol(protocol))
        for bridge in bridges.split(", "):
            found[bridge.strip('"')][port] = tuple(map(IPv4Network, prefixes.split(", ")))
    return dict(found)
