"""Zones from the Docker networks that are there: each keeps its prefix, and its name if a zone can have it.

A network with a service that the ingress serves is a frontend, one that such a service asks on is a query
network, and the others are backends. A service that no network of its own can serve gets a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from adoption.names import Names
from compose.outcome import Draft, Noted
from resources.docker import DockerNetwork
from topology.model import ZONE_LENGTHS

EDGE: Final = "edge"
_FREE: Final = (
    *IPv4Network("172.30.0.0/16").subnets(new_prefix=24),
    *IPv4Network("10.213.0.0/16").subnets(new_prefix=24),
)
_BRIDGES: Final = 12
"""Characters of a zone's name that its bridge's name holds."""
_DEFAULT: Final = "bridge"


@dataclass
class Box:
    """A container on its way into the file: its draft, and its networks with the fixed address there."""

    draft: Draft
    container: str
    networks: Mapping[str, str]
    zones: list[str] = field(default_factory=list)

    @property
    def is_served(self) -> bool:
        """Whether the ingress has a route or a stream to it."""
        return bool(self.draft.routes or self.draft.published)


@dataclass
class Zones:
    """The zones of Docker networks: role, prefix and comment by name."""

    roles: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, IPv4Network] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    """Docker network -> its zone."""

    @property
    def frontends(self) -> list[str]:
        """Zones in which the ingress reaches services."""
        return [name for name, role in self.roles.items() if role == "frontend"]

    def entries(self) -> Iterator[tuple[str, Noted]]:
        """Yield each zone as the file says it."""
        for name, role in self.roles.items():
            yield name, Noted({"role": role, "prefix": str(self.prefixes[name])}, self.comments[name])


def placed(
    boxes: Sequence[Box], networks: Sequence[DockerNetwork], proxied: Iterable[str], taken: list[IPv4Network]
) -> Zones:
    """Give each box its zones and return all; `proxied` are the networks of a Traefik that runs.

    `taken` are prefixes that no new zone may overlap.
    """
    made = Zones()
    kept = dict(_kept(networks, boxes))
    taken = [*taken, *(prefix for each in networks for prefix in _prefixes(each))]
    names = Names((EDGE, "host", "none", _DEFAULT), length=_BRIDGES)
    roles = _roles(boxes, [*kept, _DEFAULT], set(proxied))
    made.called = {each: names.give("default" if each == _DEFAULT else each, "zone") for each in roles}
    for network, role in roles.items():
        name = made.called[network]
        made.roles[name] = role
        made.prefixes[name] = kept.get(network) or _free(taken)
        told = f"Docker network {network}" if network in kept else "in place of the default bridge"
        made.comments[name] = (
            told if network in {name, _DEFAULT} else f"{told}, under a name that a zone can have"
        )
    for box in boxes:
        box.zones = [made.called[each] for each in box.networks if each in made.called]
    for role in ("frontend", "backend"):
        lone = [box for box in boxes if not box.zones and box.is_served == (role == "frontend")]
        if lone:
            name = names.give(role)
            made.roles[name], made.prefixes[name] = role, _free(taken)
            made.comments[name] = "new: for containers without a network that can be a zone"
            for box in lone:
                box.zones = [name]
    made.roles[EDGE], made.prefixes[EDGE] = "edge", _free(taken)
    made.comments[EDGE] = "new: the ingress alone, where its ports are published"
    return made


def _kept(networks: Sequence[DockerNetwork], boxes: Sequence[Box]) -> Iterator[tuple[str, IPv4Network]]:
    """Yield the networks that can be zones: bridges with a declared member and a prefix of a zone's size."""
    used = {name for box in boxes for name in box.networks}
    seen: list[IPv4Network] = []
    for network in networks:
        prefix = next(_prefixes(network), None)
        if network.driver != "bridge" or network.name not in used - {_DEFAULT} or prefix is None:
            continue
        if prefix.prefixlen in ZONE_LENGTHS and not any(map(prefix.overlaps, seen)):
            seen.append(prefix)
            yield network.name, prefix


def _roles(boxes: Sequence[Box], networks: Sequence[str], proxied: set[str]) -> dict[str, str]:
    """Return the role of each network that has a member."""
    members = {name: [box for box in boxes if name in box.networks] for name in networks}
    members = {name: found for name, found in members.items() if found}
    front = {name for name in members if name in proxied and any(box.is_served for box in members[name])}
    for box in boxes:
        if box.is_served and not front & set(box.networks):
            front |= {*[name for name in box.networks if name in members][:1]}
    fronted = {id(box) for name in front for box in members[name]}
    return {
        name: "frontend"
        if name in front
        else "query"
        if any(id(box) in fronted for box in found)
        else "backend"
        for name, found in members.items()
    }


def addresses(box: Box, made: Zones) -> dict[str, str]:
    """Return a container's fixed addresses by zone, as far as the zone keeps the network's prefix."""
    ends = {made.called.get(network, ""): text for network, text in box.networks.items() if text}
    return {
        zone: text
        for zone, text in ends.items()
        if zone in made.prefixes and IPv4Address(text) in made.prefixes[zone]
    }


def _free(taken: list[IPv4Network]) -> IPv4Network:
    """Return a prefix that overlaps none, and take it."""
    found = next(each for each in _FREE if not any(map(each.overlaps, taken)))
    taken.append(found)
    return found


def _prefixes(network: DockerNetwork) -> Iterator[IPv4Network]:
    return (
        IPv4Network(each.subnet, strict=False)
        for each in network.ipam_configs
        if each.subnet and ":" not in each.subnet
    )
