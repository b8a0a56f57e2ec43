"""Legs: interfaces of containers on networks of guests, each with an address of its own.

The ingress's address is a key of the zone, another container's one of its `addresses`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import Self

from topology.model.apps import App
from topology.model.flows import Flow
from topology.model.services import Container, Guest
from topology.model.zones import Zone


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A container's own interface and address on a network of guests."""

    service: str
    zone: Zone
    address: IPv4Address
    alias: str
    """Name of the alias by which guests' rules name the address, without the site's prefix."""


@dataclass(frozen=True)
class Legs:
    """Every leg of a site, ordered as the zones are; the ingress's is the first of its zone."""

    every: tuple[Leg, ...]

    @classmethod
    def of_site(
        cls, flows: Iterable[Flow], services: Mapping[str, Container | Guest], zones: Iterable[Zone]
    ) -> Self:
        """Return the legs that flows between containers and guests need, where an address is declared."""
        met: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        for flow in flows:
            match services.get(flow.source), services.get(flow.destination):
                case (Container() as own, Guest() as guest) | (Guest() as guest, Container() as own):
                    met[guest.zones[0]][own.name] = own
        return cls(
            tuple(
                Leg(service=own.name, zone=zone, address=address, alias=leg_alias(own, zone))
                for zone in zones
                for own in sorted(met[zone.name].values(), key=lambda c: (c.app is not App.TRAEFIK, c.name))
                if (address := leg_address(own, zone))
            )
        )

    @cached_property
    def zones(self) -> tuple[Zone, ...]:
        """The zones with a leg."""
        return tuple({leg.zone.name: leg.zone for leg in self.every}.values())

    def of(self, name: str | None) -> Mapping[str, IPv4Address]:
        """Return a container's address on each zone where it has a leg."""
        return self._of.get(name or "", {})

    @cached_property
    def _of(self) -> Mapping[str, Mapping[str, IPv4Address]]:
        found: defaultdict[str, dict[str, IPv4Address]] = defaultdict(dict)
        for leg in self.every:
            found[leg.service][leg.zone.name] = leg.address
        return found


def leg_address(container: Container, zone: Zone) -> IPv4Address | None:
    """Return the declared address of a container's leg on a zone of guests; None where it has none."""
    return zone.ingress if container.app is App.TRAEFIK else container.addresses.get(zone.name)


def leg_alias(container: Container, zone: Zone) -> str:
    """Return the name of a leg's alias, without the site's prefix."""
    first = "ingress" if container.app is App.TRAEFIK else f"leg-{container.name}"
    return f"{first}-{zone.network}"
