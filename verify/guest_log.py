"""What the firewalls of observed guests logged: first packets that no declared flow accepts, and that passed.

A node's `/var/log/pve-firewall.log` has a line for each packet that met a rule with a log level: the guest's
id, the level, the chain, the time, the rule's action and the packet (pve-firewall's `src/pvefw-logger.c`). Of
an observed guest's own rules only those that observe have one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from topology.model import Port, Protocol, Topology
from verify.learned import Seen

_LINE: Final = re.compile(
    r"(?P<vmid>\d+) \d \S+-(?:IN|OUT) (?P<time>\S+ \S+) (?:PVEFW-SET-)?ACCEPT(?:-MARK)?: (?P<packet>.*)"
)
"""The second word is that of a rule `out` about IPv6, whose ACCEPT Proxmox has replaced by then."""

_Key = tuple[str, str, Port]
"""Source, destination and port."""


@dataclass(frozen=True, kw_only=True)
class GuestLog:
    """Tries of TCP and UDP by IPv4, and the number of other packets: pings, IPv6, parts of old connections.

    `age` is that of the first line, None where there is none.
    """

    tried: tuple[Seen, ...]
    others: int
    age: timedelta | None


def read(topology: Topology, lines: Iterable[str], now: datetime) -> GuestLog:
    """Return what the lines of nodes' logs say about observed guests; lines of another form are skipped."""
    observed = {guest.vmid for guest in topology.observed_guests}
    packets, times = Counter[_Key | None](), list[datetime]()
    last = dict[_Key | None, datetime]()
    for found in filter(None, map(_LINE.match, lines)):
        if int(found["vmid"]) not in observed:
            continue
        with suppress(ValueError, KeyError):  # a line that the logger cut off
            time = datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z")
            key = _key(found["packet"].split())
            packets[key] += 1
            last[key] = max(time, last.get(key, time))
            times.append(time)
    return GuestLog(
        tried=tuple(
            Seen(source=key[0], destination=key[1], port=key[2], packets=packets[key], ago=now - last[key])
            for key in packets
            if key
        ),
        others=packets[None],
        age=now - min(times) if times else None,
    )


def _key(words: list[str]) -> _Key | None:
    """Return the ends of a connection's first packet; None for any other, whose ends may be the other way."""
    told = dict(word.split("=", 1) for word in words if "=" in word)
    if told.get("PROTO") not in {"TCP", "UDP"} or ":" in told["SRC"]:
        return None
    if told["PROTO"] == "TCP" and ("SYN" not in words or "ACK" in words):
        return None
    port = Port(number=int(told["DPT"]), protocol=Protocol(told["PROTO"].lower()))
    return str(IPv4Address(told["SRC"])), str(IPv4Address(told["DST"])), port
