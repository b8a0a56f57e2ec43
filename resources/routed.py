"""Facts about the declared router: its own machine, what it forwards, and on which side the hosts are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import reachability.facts as fact
from rendered import router_rules as rendered
from resources import router_rules
from resources.typed import Command
from topology.index import TopologyIndex
from topology.model import INTERNET, RouterHost, Zone, network_of

_FAR: Final[fact.Segment] = INTERNET


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A site with a router, whose rules are `text`."""

    topology: TopologyIndex
    text: str

    @cached_property
    def router(self) -> RouterHost:
        """The router."""
        assert self.topology.router  # noqa: S101  # callers have one
        return self.topology.router

    @cached_property
    def rules(self) -> router_rules.RouterRules:
        """What the router's rules let through."""
        wan = self.router.wan.address if self.router.wan else None
        return router_rules.read(self.text, self.router.system, wan)

    @cached_property
    def host(self) -> fact.Host:
        """The router as a machine with programs of its own."""
        return fact.Host(
            name=self.router.name,
            origin="config",
            legs=self.legs,
            ports=self.router.ports,
            entries=self._entries,
        )

    @property
    def _entries(self) -> tuple[fact.Entry, ...] | None:
        """What its rules let in; None: everything, as one lets in what asks it at another leg's address."""
        own, found = {leg.name: leg.address for leg in self.legs}, self.rules.entries
        apart = all(each.inbound in own and each.to == own[each.inbound] for each in found or ())
        return found if apart else None

    @cached_property
    def gateway(self) -> fact.Gateway:
        """What the router forwards."""
        return fact.Gateway(
            name=self.router.name,
            origin=self.router.name,
            segments=tuple(leg.segment for leg in self.legs),
            interfaces={leg.segment: leg.name or "" for leg in self.legs},
            permits=self.rules.permits,
            forwards=self.rules.forwards,
            masquerades=self.rules.masquerades,
        )

    @cached_property
    def legs(self) -> tuple[fact.HostLeg, ...]:
        """The router's legs, and one on each network beyond its WAN."""
        near = (
            fact.HostLeg(segment=self._segment(zone), address=self.router.address(zone), name=leg.interface)
            for zone, leg in ((self.topology.zones[name], leg) for name, leg in self.router.legs.items())
        )
        wan = self.router.wan
        far = (
            (fact.HostLeg(segment=n, address=wan.address, name=wan.interface) for n in self._beyond)
            if wan
            else ()
        )
        return (*near, *far)

    def near(self, address: IPv4Address | None) -> tuple[fact.HostLeg, ...]:
        """Return the leg of a host on the zone of its address; beyond the WAN one on each network there."""
        zones = (zone for zone in self.topology.zones.values() if not zone.is_docker)
        place = next((self._segment(zone) for zone in zones if address and address in zone.prefix), _FAR)
        places = self._beyond if place in self._beyond else (place,)
        return tuple(fact.HostLeg(segment=each, address=address) for each in places)

    @cached_property
    def taken(self) -> tuple[IPv4Network, ...]:
        """Addresses of the hosts and of the router, which are no machines outside."""
        found = (host.address for host in self.topology.hosts if not isinstance(host, RouterHost))
        own = (leg.address for leg in self.legs)
        return tuple(dict.fromkeys(IPv4Network(address) for address in (*found, *own) if address))

    @cached_property
    def inside(self) -> frozenset[fact.Segment]:
        """The networks of the router's legs."""
        return frozenset(self._segment(self.topology.zones[name]) for name in self.router.legs)

    @cached_property
    def _beyond(self) -> tuple[fact.Segment, ...]:
        """The networks that the router's WAN leads to: its zone of guests, or all outside without a leg."""
        if self.router.wan and self.router.wan.zone:
            return (self._segment(self.topology.zones[self.router.wan.zone]),)
        far = (zone.name for zone in self.topology.outsides if self._segment(zone) == zone.name)
        return (INTERNET, *(name for name in far if name not in self.router.legs))

    def _segment(self, zone: Zone) -> fact.Segment:
        around = network_of(zone, self.topology.zones.values())
        return vlan(self.topology, around) if around.has_guests else zone.name


def text(topology: TopologyIndex, commands: Iterable[Command]) -> str:
    """Return the rules of the router: those of a command on it, empty without one.

    Rules that are installed by hand, without `ssh`, are taken as rendered.
    """
    router = topology.router
    if router is None or router.ssh is None:
        return rendered.rules(topology)
    found = (each for each in commands if each.create == rendered.INSTALL)
    return next((each.stdin for each in found if each.runs_on(router.ssh)), "")


def vlan(topology: TopologyIndex, zone: Zone) -> fact.Vlan:
    """Return the network of a zone of guests."""
    return fact.Vlan(bridge=zone.bridge or topology.proxmox.bridge, tag=zone.vlan)
