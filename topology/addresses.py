"""Addresses of containers on Docker networks, which the host's own rules name."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network


def hosts(prefix: IPv4Network) -> range:
    """Return the numbers, within a prefix, of the addresses that containers get.

    The first sixteenth of the prefix holds the gateway, and the addresses that the engine gives to containers
    attached by hand: it takes the lowest free one, which could be that of a service about to start.
    """
    return range(max(2, prefix.num_addresses // 16), prefix.num_addresses - 1)


def chosen(name: str, prefix: IPv4Network) -> IPv4Address:
    """Return a container's address on a network, where the stack file gives none.

    It follows from name and prefix alone, so a service that comes or goes moves no other one's.
    """
    numbers = hosts(prefix)
    return prefix[numbers[int.from_bytes(sha256(name.encode()).digest()[:8], "big") % len(numbers)]]
