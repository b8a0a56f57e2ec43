"""Connectivity below Docker: VLANs, hosts, guests and gateways, and which interfaces reach which.

Covers the layer-2 and routed neighbours of each interface and the firewalls at both ends. A macvlan leg is an
interface like any other.

Note: sources are sets of addresses, because a guest without an IP filter may send from any address.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address

from reachability.address_sets import ALL, IPSet, difference, intersection, prefix, public, union_all
from reachability.facts import (
    Facts,
    GuestFact,
    Host,
    Leg,
    Network,
    NetworkDriver,
    Outside,
    Pass,
    Segment,
    Vlan,
)
from reachability.routing import Way, ways
from reachability.rules import Chain, Firewall
from reachability.words import Range


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interface:
    """An interface of `owner` on `segment`.

    `sources` are the addresses that its packets may carry, `address` is its own address (None: unknown).
    `routed`: it has a route beyond its segment. `parent` is the engine's host of a macvlan leg, from which
    the kernel isolates it; `alone` is a leg in private mode, isolated from other legs of that host as well.
    `passes` are the connections that this host lets pass to such a leg (None: all, to every address).
    `silent` opens no connections.
    `marks`: its packets carry the mark of a guest's chain; `marked` is the inbound chain for packets with the
    mark.
    """

    owner: str
    segment: Segment
    sources: IPSet
    address: int | None
    inbound: Chain | None = None
    outbound: Chain | None = None
    marks: bool = False
    marked: Chain | None = None
    routed: bool = True
    parent: str | None = None
    alone: bool = False
    passes: tuple[Pass, ...] | None = None
    outside: bool = False
    silent: bool = False


@dataclass(slots=True)
class _Index:
    """Interfaces indexed by source address: `fixed` have exactly one, `loose` have several."""

    fixed: list[tuple[int, int, Interface]] = field(default_factory=list)
    loose: list[Interface] = field(default_factory=list)

    def within(self, accepted: IPSet) -> Iterator[Interface]:
        """Yield the interfaces that can send from one of the addresses."""
        for interface in self.loose:
            if intersection(interface.sources, accepted):
                yield interface
        for low, high in accepted:
            for at in range(bisect_left(self.fixed, (low,)), bisect_right(self.fixed, (high + 1,))):
                yield self.fixed[at][2]


def _index(interfaces: Iterable[Interface]) -> _Index:
    index = _Index()
    for number, interface in enumerate(each for each in interfaces if not each.silent):
        low, high = interface.sources[0] if len(interface.sources) == 1 else (0, -1)
        if low == high:
            index.fixed.append((low, number, interface))
        elif interface.sources:
            index.loose.append(interface)
    index.fixed.sort(key=lambda entry: entry[:2])
    return index


@dataclass(frozen=True, kw_only=True)
class Links:
    """All interfaces and their connectivity. `legs` are the macvlan legs: owner, network, leg."""

    facts: Facts
    legs: tuple[tuple[str, Network, Leg], ...]

    @cached_property
    def firewall(self) -> Firewall:
        """Proxmox's firewall, compiled from the facts."""
        return Firewall.of(self.facts)

    @cached_property
    def interfaces(self) -> Mapping[str, tuple[Interface, ...]]:
        """Interfaces by owner."""
        found: defaultdict[str, list[Interface]] = defaultdict(list)
        for interfaces in (
            map(self._outside, self.facts.outsides),
            (interface for host in self.facts.hosts for interface in self._host(host)),
            (interface for guest in self.facts.guests for interface in self._guest(guest)),
            (interface for owner, network, leg in self.legs for interface in self._leg(owner, network, leg)),
        ):
            for interface in interfaces:
                found[interface.owner].append(interface)
        return {owner: tuple(interfaces) for owner, interfaces in found.items()}

    def arrivals(
        self,
        interface: Interface,
        ports: Iterable[Range],
        *,
        forwarded: IPSet | None = None,
        towards: IPSet = ALL,
    ) -> Iterator[tuple[Interface, str | None]]:
        """Yield other owners' interfaces that can connect to some of `ports`, each with its gateway or None.

        Packets to a published port are `forwarded` from the given addresses: no INPUT rule sees them, so the
        inbound chain is skipped. Routers with rules pass packets to addresses in `towards` alone.
        """
        found = set()
        ports = tuple(ports)
        chains = (
            ((interface.inbound, None),)
            if interface.marked is None
            else ((interface.inbound, False), (interface.marked, True))
        )
        for inbound, marks in chains if forwarded is None else ((None, None),):
            for region in (r for p in ports for r in (inbound.regions(p) if inbound else (p,))):
                accepted = ALL if forwarded is None else forwarded
                if inbound:
                    accepted = inbound.walk(region.protocol, region.low, interface.address).accepted
                for source, gateway in self._near(interface, accepted):
                    if source in found or marks not in (None, source.marks):
                        continue
                    if self.leaves(source, interface, region, accepted):
                        found.add(source)
                        yield source, gateway
                for source, gateway in self._routed(interface, region, accepted, towards):
                    if source not in found and marks in (None, source.marks):
                        found.add(source)
                        yield source, gateway

    def leaves(self, source: Interface, interface: Interface, region: Range, accepted: IPSet) -> bool:
        """Whether the outbound chain of `source` passes a packet from an `accepted` address."""
        chain = source.outbound
        if chain is None:
            return True
        possible = intersection(source.sources, accepted)
        where = _addressed(interface)
        dests = chain.destinations(where) if interface.address is None else (interface.address,)
        return any(
            intersection(possible, chain.walk(part.protocol, part.low, dest).accepted)
            for part in chain.regions(region)
            for dest in dests
        )

    def _routed(
        self, interface: Interface, region: Range, accepted: IPSet, towards: IPSet
    ) -> Iterator[tuple[Interface, str | None]]:
        """Yield the interfaces whose packets routers with rules pass to some ports of a region."""
        where = intersection(_addressed(interface), towards)
        for way in self.ways(interface.segment) if interface.routed else ():
            if interface.owner in way.routers:
                continue  # a router takes what is for itself on the interface where it arrives
            index = self._domains.get(self._components.get(way.start, "")) or self._segments.get(way.start)
            for part in way.regions(region) if index else ():
                for dest in way.destinations(where):
                    passing = way.sources(part, dest, accepted)
                    for source in index.within(passing) if index and passing else ():
                        if not source.routed or source.owner in {interface.owner, *way.routers}:
                            continue
                        if self._crosses(source, where, way, part, accepted):
                            yield source, way.gateway

    @staticmethod
    def _crosses(source: Interface, where: IPSet, way: Way, region: Range, accepted: IPSet) -> bool:
        """Whether one packet of `source` passes both its own outbound chain and the routers of a way."""
        chain = source.outbound
        dests = {*way.destinations(where), *(chain.destinations(where) if chain else ())}
        return any(
            intersection(
                intersection(source.sources, way.sources(part, dest, accepted)),
                chain.walk(part.protocol, part.low, dest).accepted if chain else ALL,
            )
            for part in (chain.regions(region) if chain else (region,))
            for dest in dests
        )

    def ways(self, segment: Segment) -> tuple[Way, ...]:
        """Return the ways to a segment through routers with rules."""
        if segment not in self._ways:
            self._ways[segment] = tuple(ways(segment, self.facts.gateways, self._joined))
        return self._ways[segment]

    @cached_property
    def _ways(self) -> dict[Segment, tuple[Way, ...]]:
        return {}

    @cached_property
    def _joined(self) -> Mapping[Segment, tuple[Segment, ...]]:
        """Segments between which no rule stands, by each of them."""
        found: defaultdict[str, list[Segment]] = defaultdict(list)
        for segment, name in self._components.items():
            found[name].append(segment)
        return {segment: tuple(found[name]) for segment, name in self._components.items()}

    def apart(self, source: Interface, interface: Interface) -> bool:
        """Whether interfaces of one segment are isolated: a macvlan leg from its host, or in private mode."""
        if source.parent is not None and source.parent == interface.parent:
            return source.alone or interface.alone
        return source.parent == interface.owner or interface.parent == source.owner

    def obstacles(self, source: Interface, interface: Interface, ports: Range) -> Iterator[str]:
        """Yield messages on what blocks the first of `ports` between connected interfaces of two owners."""
        meets = source.segment == interface.segment
        gateway = self._components.get(source.segment, source)
        routed = source.routed and interface.routed and gateway == self._components.get(interface.segment)
        if source.owner == interface.owner:
            return
        if not (meets or routed):
            near = self._joined.get(source.segment, (source.segment,))
            through = (way.gateway for way in self.ways(interface.segment) if way.start in near)
            yield from (f"{name}'s rules let nothing of the kind through" for name in dict.fromkeys(through))
            return
        if meets and self.apart(source, interface):
            yield f"macvlan keeps {source.owner} and {interface.owner} apart on {interface.segment}"
            return
        if meets and interface.passes is not None:
            yield f"{interface.parent}'s rules let nothing of the kind to the leg on {interface.segment}"
        if not source.sources:
            yield f"the IP filter of {source.owner} lets no address out"
        inbound = interface.marked if source.marks and interface.marked else interface.inbound
        for chain in filter(None, (source.outbound, inbound)):
            for denied, why in chain.walk(ports.protocol, ports.low, interface.address).denied:
                if intersection(denied, source.sources):
                    yield why

    def _near(self, interface: Interface, accepted: IPSet) -> Iterator[tuple[Interface, str | None]]:
        for source in self._segments[interface.segment].within(accepted):
            if source.owner != interface.owner and not self.apart(source, interface):
                yield source, None
        gateway = self._components.get(interface.segment)
        if gateway is not None and interface.routed:
            for source in self._domains[gateway].within(accepted):
                if source.owner != interface.owner and source.segment != interface.segment:
                    yield source, gateway

    @cached_property
    def _all(self) -> tuple[Interface, ...]:
        return tuple(interface for interfaces in self.interfaces.values() for interface in interfaces)

    @cached_property
    def _segments(self) -> Mapping[Segment, _Index]:
        found: defaultdict[Segment, list[Interface]] = defaultdict(list)
        for interface in self._all:
            found[interface.segment].append(interface)
        return {segment: _index(interfaces) for segment, interfaces in found.items()}

    @cached_property
    def _domains(self) -> Mapping[str, _Index]:
        found: defaultdict[str, list[Interface]] = defaultdict(list)
        for interface in self._all:
            if interface.routed and interface.segment in self._components:
                found[self._components[interface.segment]].append(interface)
        return {gateway: _index(interfaces) for gateway, interfaces in found.items()}

    @cached_property
    def _components(self) -> Mapping[Segment, str]:
        """Segments joined by gateways, directly or through further ones, with the first gateway's name."""
        joined: dict[Segment, str] = {}
        for gateway in (each for each in self.facts.gateways if each.permits is None):
            others = {joined[segment] for segment in gateway.segments if segment in joined}
            merged = {segment for segment, name in joined.items() if name in others}
            for segment in {*gateway.segments, *merged}:
                joined[segment] = min(others, default=gateway.name)
        return joined

    @cached_property
    def _vlans(self) -> Mapping[str, tuple[Vlan, ...]]:
        """VLANs in use by bridge, always including the untagged one."""
        found: defaultdict[str, dict[Vlan, None]] = defaultdict(dict)
        segments: list[Segment] = [leg.segment for host in self.facts.hosts for leg in host.legs]
        segments += [segment for gateway in self.facts.gateways for segment in gateway.segments]
        segments += [network.vlan for network in self.facts.networks if network.vlan]
        segments += [
            Vlan(bridge=nic.bridge, tag=tag)
            for guest in self.facts.guests
            for nic in guest.nics
            for tag in (nic.tag, *nic.trunks, None)
        ]
        for segment in segments:
            if isinstance(segment, Vlan):
                found[segment.bridge][Vlan(bridge=segment.bridge)] = None
                found[segment.bridge][segment] = None
        return {bridge: tuple(vlans) for bridge, vlans in found.items()}

    def _outside(self, outside: Outside) -> Interface:
        known = tuple(o.prefix for o in self.facts.outsides if o.prefix)
        sources = prefix(outside.prefix) if outside.prefix else public(known)
        return Interface(
            owner=outside.name,
            segment=outside.segment or outside.name,
            sources=difference(sources, union_all(map(prefix, outside.without))),
            address=None,
            outside=True,
            silent=not outside.inbound,
        )

    def _host(self, host: Host) -> Iterator[Interface]:
        for leg in host.legs:
            yield Interface(
                owner=host.name,
                segment=leg.segment,
                sources=_one(leg.address),
                address=None if leg.address is None else int(leg.address),
                inbound=self.firewall.node_inbound(host, leg.name),
                outbound=self.firewall.node_outbound(host, leg.name),
                marked=self.firewall.node_marked(host, leg.name),
            )

    def _guest(self, guest: GuestFact) -> Iterator[Interface]:
        """Yield the interfaces of a guest's cards; the firewall does not see frames that the guest tags.

        The kernel passes tagged frames of a bridge to no rule (`bridge-nf-filter-vlan-tagged` is 0).
        """
        for nic in guest.nics:
            own = Vlan(bridge=nic.bridge, tag=nic.tag)
            yield Interface(
                owner=guest.name,
                segment=own,
                sources=self.firewall.sources(guest, nic),
                address=None if nic.address is None else int(nic.address),
                inbound=self.firewall.inbound(guest, nic),
                outbound=self.firewall.outbound(guest, nic),
                marks=self.firewall.marks(guest, nic),
            )
            tagged = [Vlan(bridge=nic.bridge, tag=tag) for tag in nic.trunks]
            if nic.tag is None and not nic.trunks:
                tagged = list(self._vlans[nic.bridge])
            for segment in tagged:
                if segment != own:
                    yield Interface(owner=guest.name, segment=segment, sources=ALL, address=None)

    def _leg(self, owner: str, network: Network, leg: Leg) -> Iterator[Interface]:
        every = tuple(vlan for vlans in self._vlans.values() for vlan in vlans)
        for segment in (network.vlan,) if network.vlan else every:
            alone = network.driver is NetworkDriver.MACVLAN and not network.icc
            yield Interface(
                owner=owner,
                segment=segment,
                sources=_one(leg.address),
                address=None if leg.address is None else int(leg.address),
                routed=not network.internal,
                parent=network.host,
                alone=alone,
                passes=leg.passes if alone else None,
            )


def _addressed(interface: Interface) -> IPSet:
    """Return the addresses that packets to an interface may have."""
    if interface.outside:
        return interface.sources
    return ALL if interface.address is None else ((interface.address, interface.address),)


def _one(address: IPv4Address | None) -> IPSet:
    return ALL if address is None else ((int(address), int(address)),)
