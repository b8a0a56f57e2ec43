"""Reads what the host's own rules let pass within its bridges, from the text that installs them.

The pack has compared the text with the rendered one by then (`resources.typed.ProjectCommand`). Here it is
read again as nftables reads it, so the proof has addresses and ports of resources, not of the stack file.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from reachability.facts import Pass
from topology.model import Port, Protocol

_BRIDGE = re.compile(r'^ +iifname "(\S+)" oifname "\1" jump within$', re.MULTILINE)
_CHAIN = re.compile(r"^  chain within \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"^ +(\S+) \. (\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)
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
