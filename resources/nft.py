"""Reads the parts that Docker-SRV's nftables rules have in common, from their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address

from reachability.facts import Pass
from topology.model import Port, Protocol

CHAIN = re.compile(r"^  chain (\w+) \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_SET = re.compile(r"^  set (\w+) \{\n(.*?)^  \}$", re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"^ +(\S+) \. (\S+) \. (tcp|udp) \. (\d+),$", re.MULTILINE)


def sets(text: str) -> Mapping[str, str]:
    """Return the text of each set, by name."""
    return dict(_SET.findall(text))


def passes(text: str) -> tuple[Pass, ...]:
    """Return the elements `source . destination . protocol . port` in a text."""
    return tuple(
        Pass(
            source=IPv4Address(source),
            destination=IPv4Address(destination),
            port=Port(number=int(number), protocol=Protocol(protocol)),
        )
        for source, destination, protocol, number in _ELEMENT.findall(text)
    )
