"""What Docker-SRV's own rules saw: undeclared tries that they dropped, and uses of declared flows.

The kernel keeps both in sets of the project's table (`rendered.host_rules`): a key of addresses and port, the
number of first packets, and an expiry that each packet sets anew. They begin with the rules, and hold what
crosses the host's bridges: a leg of the ingress does not.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

from rendered import host_rules
from topology.answers import understood
from topology.model import INTERNET, Flow, Port, Protocol, Topology
from verify import host
from verify.driver import ProbeError
from verify.namespaces import run

PERIOD = host_rules.PERIOD
_PAUSE = 600
"""Seconds after which a killed probe's pause ends."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Connections between two addresses, or two names: how many first packets, and how long ago the last."""

    source: str
    destination: str
    port: Port
    packets: int
    ago: timedelta

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the rules saw since they began, `age` ago; None where the set was emptied by hand."""

    tried: tuple[Seen, ...]
    used: tuple[Seen, ...]
    age: timedelta | None
    paused: bool = False

    @property
    def full(self) -> bool:
        """Whether more was tried than the kernel remembers."""
        return len(self.tried) >= host_rules.REMEMBERED - 1


def of_host(topology: Topology) -> Learned:
    """Return what this machine's rules saw; raises ProbeError where they can't be read."""
    if topology.docker_host is None:
        raise ProbeError("suggest: the stack has no Docker host, whose rules could tell; name another stack")
    name = topology.docker.name
    if host.elsewhere():
        raise ProbeError(f"DOCKER_HOST: {name} is another machine; run suggest there")
    if os.geteuid():
        raise ProbeError("suggest: needs root, it reads the kernel's rules; run it with sudo")
    try:
        text = run("nft", "--json", "list", "table", *host_rules.table(topology).split())
    except ProbeError as fault:
        raise ProbeError(f"{name}'s own rules: {fault}\nIs the stack up (`make up`)?") from None
    return read(text)


def read(text: str) -> Learned:
    """Return what `nft --json list table` says of the sets; raises ProbeError."""
    with understood("nft", ProbeError):
        sets = {each["set"]["name"]: each["set"] for each in json.loads(text)["nftables"] if "set" in each}
        if missing := [name for name in ("tried", "used", "paused") if name not in sets]:
            raise ProbeError(f"nft: the rules have no set {missing[0]}; `make up` puts them back")
        begun = [each for each in _elements(sets["tried"]) if _key(each) == host_rules.BEGIN]
        return Learned(
            tried=tuple(_seen(each) for each in _elements(sets["tried"]) if each not in begun),
            used=tuple(map(_seen, _elements(sets["used"]))),
            age=next((host_rules.AGE - timedelta(seconds=each["expires"]) for each in begun), None),
            paused=bool(sets["paused"].get("elem")),
        )


def _elements(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each["elem"] for each in found.get("elem", ())]


def _key(element: Mapping[str, Any]) -> str:
    return " . ".join(map(str, element["val"]["concat"]))


def _seen(element: Mapping[str, Any]) -> Seen:
    source, destination, protocol, number = element["val"]["concat"]
    return Seen(
        source=str(IPv4Address(source)),
        destination=str(IPv4Address(destination)),
        port=Port(number=int(number), protocol=Protocol(protocol)),
        packets=int(element["counter"]["packets"]),
        ago=host_rules.PERIOD - timedelta(seconds=element["expires"]),
    )


def named(topology: Topology, seen: tuple[Seen, ...]) -> list[Seen]:
    """Return the same by names of the ends, the most frequent first; all addresses of one name are one."""
    known, found = names(topology), defaultdict[tuple[str, str, Port], list[Seen]](list)
    for each in seen:
        ends = (
            known.get(end) or _unknown(topology, IPv4Address(end)) for end in (each.source, each.destination)
        )
        source, destination = ends
        found[source, destination, each.port].append(each)
    made = [
        Seen(
            source=source,
            destination=destination,
            port=port,
            packets=sum(each.packets for each in all_),
            ago=min(each.ago for each in all_),
        )
        for (source, destination, port), all_ in found.items()
    ]
    return sorted(made, key=lambda each: (-each.packets, str(each)))


def names(topology: Topology) -> dict[str, str]:
    """Return the name of the service or host of each declared address."""
    return dict(_names(topology))


def _names(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield each declared address with its service's or host's name."""
    for service in topology.containers:
        for zone in (topology.zones[name] for name in service.zones):
            if zone.is_docker:
                yield str(topology.address_on(service.name, zone)), service.name
    for zone in topology.zones.values():
        if zone.is_docker:
            yield str(zone.prefix[1]), topology.docker_host_around(zone).name
    yield from ((str(leg.address), leg.service) for leg in topology.legs.every)
    yield from ((str(guest.address), guest.name) for guest in topology.guests)
    yield from ((str(each.address), each.name) for each in topology.hosts if each.address)


def _unknown(topology: Topology, ip: IPv4Address) -> str:
    """Describe an address that no service has: by the zone of declared machines, else in words."""
    for zone in topology.zones.values():
        if ip in zone.prefix:
            return zone.name if zone in topology.outsides else f"{ip} (unknown, on {zone.name})"
    return INTERNET if ip.is_global else f"{ip} (unknown)"


def unused(topology: Topology, learned: Learned) -> tuple[list[Flow], list[Flow]]:
    """Return the declared flows without use, and those on no Docker network, which the rules don't see."""
    there = {(each.source, each.destination, each.port) for each in learned.used}
    ends = {flow: host_rules.pairs(topology, flow) for flow in topology.flows}
    idle = [
        flow
        for flow, at in ends.items()
        if at and not any((str(source), str(destination), flow.port) in there for source, destination in at)
    ]
    return idle, [flow for flow, at in ends.items() if not at]


@contextmanager
def paused(topology: Topology) -> Iterator[None]:
    """Stop this machine's rules from learning during the block; does nothing without the rules."""
    with suppress(ProbeError):
        run("nft", host_rules.pause(topology, _PAUSE))
    try:
        yield
    finally:
        with suppress(ProbeError):
            run("nft", host_rules.pause(topology, 0))
