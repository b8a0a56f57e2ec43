"""Reads what the rules of legs let pass to them, from their text.

The pack has compared the text with the rendered one by then (`resources.typed.ProjectCommand`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from reachability.facts import Pass
from resources.nft import CHAIN, passes, sets

_TABLE = re.compile(r"^table netdev \S+ \{\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
_HOOK = re.compile(
    r'type filter hook ingress device "(?P<parent>\S+)" priority filter; policy accept;\n'
    r"(?: +vlan id 1-4095 accept\n)?"
    r" +ip daddr \{ (?P<others>[^{}]+) \} counter drop\n"
    r" +ip daddr \{ (?P<legs>[^{}]+) \} goto leg\n"
)
_ANSWER = "ip saddr . ip daddr . meta l4proto . th sport @asked"
_LEG = (
    "ip saddr . ip daddr . meta l4proto . th dport @declared accept",
    f"{_ANSWER} meta l4proto udp accept",
    f"{_ANSWER} tcp flags & (syn | ack) != syn accept",
    "ip frag-off & 0x1fff != 0 accept",
    "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
    "counter drop",
)


def legs(text: str) -> dict[tuple[str, IPv4Address], tuple[Pass, ...]]:
    """Return what passes to each leg that the rules close, by parent interface and address.

    Other legs are open, as are those of a table with a line that is not understood. Answers are no
    connections; datagrams from a port that a leg asks are taken for answers.
    """
    return {(parent, at): passes for table in _TABLE.findall(text) for parent, at, passes in _closed(table)}


def _closed(table: str) -> Iterator[tuple[str, IPv4Address, tuple[Pass, ...]]]:
    chains: Mapping[str, str] = dict(CHAIN.findall(table))
    hook = _HOOK.fullmatch(chains.get("ingress", "").lstrip())
    if not hook or tuple(line.strip() for line in chains.get("leg", "").splitlines()) != _LEG:
        return
    found = passes(sets(table)["declared"])
    for address in map(IPv4Address, hook["legs"].split(", ")):
        yield hook["parent"], address, tuple(each for each in found if each.destination == address)
