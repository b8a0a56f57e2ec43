"""Addresses of containers on Docker networks, which the host's own rules name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network


def hosts(prefix: IPv4Network) -> range:
    """Return the numbers, within a prefix, of the addresses that containers get.

    The first sixteenth of the prefix holds the gateway, and the addresses that the engine gives to containers
    attached by hand: it takes the lowest free one, which could be that of a service about to start.
    """
    return range(max(2, prefix.num_addresses // 16), prefix.num_addresses - 1)


def assigned(
    names: Iterable[str], prefix: IPv4Network, given: Mapping[str, IPv4Address]
) -> dict[str, IPv4Address]:
    """Return the address of each name on a network; there must be enough for all.

    An address follows from the name, so a service that comes or goes moves no other one's. If two names lead
    to one address, the first of the two has it, and the other takes the next free one.
    """
    numbers, found, late = hosts(prefix), dict(given), []
    taken = {int(ip) - int(prefix[0]) for ip in given.values()}
    for name in (name for name in names if name not in given):
        number = numbers[int.from_bytes(sha256(name.encode()).digest()[:8], "big") % len(numbers)]
        if number in taken:
            late.append((name, number))
        else:
            taken.add(number)
            found[name] = prefix[number]
    for name, own in late:
        number = next(each for each in (*range(own, numbers.stop), *numbers) if each not in taken)
        taken.add(number)
        found[name] = prefix[number]
    return found
