"""Connectivity below Docker: VLANs, hosts, guests and gateways, and which interfaces ("plugs") reach which.

Covers the layer-2 and routed neighbours of each plug and the firewalls at both ends. A macvlan leg is a
plug like any other.

Note: sources are sets of addresses, because a guest without an IP filter may send from any address.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address

from reachability.address_sets import ALL, Spans, cut, gather, meet, prefix, public
from reachability.facts import Driver, Facts, Guest, Host, Leg, Network, Outside, Place, Vlan
from reachability.rules import Chain, Firewall
from reachability.words import Range


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plug:
    """An interface of `owner` at `place`.

    `sources` are the addresses that its packets may carry, `address` is its own address (None: unknown).
    `routed`: it has a route beyond its place. `parent` is the engine's host of a macvlan leg, from which the
    kernel isolates the leg; `alone` is a leg in private mode, isolated from other legs of that host as well.
    `marks`: its packets carry the mark of a guest's chain; `marked` is the inbound chain for packets with the
    mark.
    """

    owner: str
    place: Place
    sources: Spans
    address: int | None
    inbound: Chain | None = None
    outbound: Chain | None = None
    marks: bool = False
    marked: Chain | None = None
    routed: bool = True
    parent: str | None = None
    alone: bool = False
    outside: bool = False


@dataclass(slots=True)
class _Index:
    """Plugs indexed by source address: `fixed` have exactly one, `loose` have several."""

    fixed: list[tuple[int, int, Plug]] = field(default_factory=list)
    loose: list[Plug] = field(default_factory=list)

    def within(self, accepted: Spans) -> Iterator[Plug]:
        """Yield the plugs that can send from one of the addresses."""
        for low, high in accepted:
            for at in range(bisect_left(self.fixed, (low,)), bisect_right(self.fixed, (high + 1,))):
                yield self.fixed[at][2]
        for plug in self.loose:
            if meet(plug.sources, accepted):
                yield plug


def _index(plugs: Iterable[Plug]) -> _Index:
    index = _Index()
    for number, plug in enumerate(plugs):
        low, high = plug.sources[0] if len(plug.sources) == 1 else (0, -1)
        if low == high:
            index.fixed.append((low, number, plug))
        elif plug.sources:
            index.loose.append(plug)
    index.fixed.sort(key=lambda entry: entry[:2])
    return index


@dataclass(frozen=True, kw_only=True)
class Underlay:
    """All plugs and their connectivity. `legs` are the macvlan legs: owner, network, leg."""

    facts: Facts
    legs: tuple[tuple[str, Network, Leg], ...]

    @cached_property
    def firewall(self) -> Firewall:
        """Proxmox's firewall, compiled from the facts."""
        return Firewall.of(self.facts)

    @cached_property
    def plugs(self) -> Mapping[str, tuple[Plug, ...]]:
        """Plugs by owner."""
        found: defaultdict[str, list[Plug]] = defaultdict(list)
        for plugs in (
            map(self._outside, self.facts.outsides),
            (plug for host in self.facts.hosts for plug in self._host(host)),
            (plug for guest in self.facts.guests for plug in self._guest(guest)),
            (plug for owner, network, leg in self.legs for plug in self._leg(owner, network, leg)),
        ):
            for plug in plugs:
                found[plug.owner].append(plug)
        return {owner: tuple(plugs) for owner, plugs in found.items()}

    def arrivals(
        self, plug: Plug, ports: Iterable[Range], *, filtered: bool = True
    ) -> Iterator[tuple[Plug, str | None]]:
        """Yield other owners' plugs that can connect to some of `ports`, each with its gateway or None.

        With `filtered` off the inbound chain is skipped: packets to a published port are forwarded, so no
        INPUT rule sees them.
        """
        found = set()
        ports = tuple(ports)
        chains = (
            ((plug.inbound, None),) if plug.marked is None else ((plug.inbound, False), (plug.marked, True))
        )
        for inbound, marks in chains if filtered else ((None, None),):
            for region in (r for p in ports for r in (inbound.regions(p) if inbound else (p,))):
                accepted = ALL
                if inbound:
                    accepted = inbound.walk(region.protocol, region.low, plug.address).accepted
                for source, gateway in self._near(plug, accepted):
                    if source in found or marks not in (None, source.marks):
                        continue
                    if self.leaves(source, plug, region, accepted):
                        found.add(source)
                        yield source, gateway

    def leaves(self, source: Plug, plug: Plug, region: Range, accepted: Spans) -> bool:
        """Whether the outbound chain of `source` passes a packet to `plug` from an `accepted` address."""
        chain = source.outbound
        if chain is None:
            return True
        possible = meet(source.sources, accepted)
        if plug.outside or plug.address is None:
            dests = chain.destinations(plug.sources if plug.outside else ALL)
        else:
            dests = (plug.address,)
        return any(
            meet(possible, chain.walk(part.protocol, part.low, dest).accepted)
            for part in chain.regions(region)
            for dest in dests
        )

    def apart(self, source: Plug, plug: Plug) -> bool:
        """Whether two plugs at one place are isolated: a macvlan leg from its host, or by private mode."""
        if source.parent is not None and source.parent == plug.parent:
            return source.alone or plug.alone
        return source.parent == plug.owner or plug.parent == source.owner

    def obstacles(self, source: Plug, plug: Plug, ports: Range) -> Iterator[str]:
        """Yield what blocks the first of `ports` between connected plugs of different owners, as messages."""
        meets = source.place == plug.place
        gateway = self._components.get(source.place, source)
        routed = source.routed and plug.routed and gateway == self._components.get(plug.place)
        if source.owner == plug.owner or not (meets or routed):
            return
        if meets and self.apart(source, plug):
            yield f"macvlan keeps {source.owner} and {plug.owner} apart on {plug.place}"
            return
        if not source.sources:
            yield f"the IP filter of {source.owner} lets no address out"
        inbound = plug.marked if source.marks and plug.marked else plug.inbound
        for chain in filter(None, (source.outbound, inbound)):
            for denied, why in chain.walk(ports.protocol, ports.low, plug.address).denied:
                if meet(denied, source.sources):
                    yield why

    def _near(self, plug: Plug, accepted: Spans) -> Iterator[tuple[Plug, str | None]]:
        for source in self._places[plug.place].within(accepted):
            if source.owner != plug.owner and not self.apart(source, plug):
                yield source, None
        gateway = self._components.get(plug.place)
        if gateway is not None and plug.routed:
            for source in self._domains[gateway].within(accepted):
                if source.owner != plug.owner and source.place != plug.place:
                    yield source, gateway

    @cached_property
    def _all(self) -> tuple[Plug, ...]:
        return tuple(plug for plugs in self.plugs.values() for plug in plugs)

    @cached_property
    def _places(self) -> Mapping[Place, _Index]:
        found: defaultdict[Place, list[Plug]] = defaultdict(list)
        for plug in self._all:
            found[plug.place].append(plug)
        return {place: _index(plugs) for place, plugs in found.items()}

    @cached_property
    def _domains(self) -> Mapping[str, _Index]:
        found: defaultdict[str, list[Plug]] = defaultdict(list)
        for plug in self._all:
            if plug.routed and plug.place in self._components:
                found[self._components[plug.place]].append(plug)
        return {gateway: _index(plugs) for gateway, plugs in found.items()}

    @cached_property
    def _components(self) -> Mapping[Place, str]:
        """Places joined by gateways, directly or through further gateways, with the first gateway's name."""
        joined: dict[Place, str] = {}
        for gateway in self.facts.gateways:
            others = {joined[place] for place in gateway.places if place in joined}
            merged = {place for place, name in joined.items() if name in others}
            for place in {*gateway.places, *merged}:
                joined[place] = min(others, default=gateway.name)
        return joined

    @cached_property
    def _vlans(self) -> Mapping[str, tuple[Vlan, ...]]:
        """VLANs in use by bridge, always including the untagged one."""
        found: defaultdict[str, dict[Vlan, None]] = defaultdict(dict)
        places: list[Place] = [leg.place for host in self.facts.hosts for leg in host.legs]
        places += [place for gateway in self.facts.gateways for place in gateway.places]
        places += [network.vlan for network in self.facts.networks if network.vlan]
        places += [
            Vlan(bridge=nic.bridge, tag=tag)
            for guest in self.facts.guests
            for nic in guest.nics
            for tag in (nic.tag, *nic.trunks, None)
        ]
        for place in places:
            if isinstance(place, Vlan):
                found[place.bridge][Vlan(bridge=place.bridge)] = None
                found[place.bridge][place] = None
        return {bridge: tuple(vlans) for bridge, vlans in found.items()}

    def _outside(self, outside: Outside) -> Plug:
        known = tuple(o.prefix for o in self.facts.outsides if o.prefix)
        sources = prefix(outside.prefix) if outside.prefix else public(known)
        sources = cut(sources, gather(map(prefix, outside.without)))
        place = outside.place or outside.name
        return Plug(owner=outside.name, place=place, sources=sources, address=None, outside=True)

    def _host(self, host: Host) -> Iterator[Plug]:
        for leg in host.legs:
            yield Plug(
                owner=host.name,
                place=leg.place,
                sources=_one(leg.address),
                address=None if leg.address is None else int(leg.address),
                inbound=self.firewall.node_inbound(host, leg.name),
                outbound=self.firewall.node_outbound(host, leg.name),
                marked=self.firewall.node_marked(host, leg.name),
            )

    def _guest(self, guest: Guest) -> Iterator[Plug]:
        """Yield the plugs of a guest's cards; the firewall does not see frames that the guest itself tags.

        The kernel passes tagged frames of a bridge to no rule (`bridge-nf-filter-vlan-tagged` is 0).
        """
        for nic in guest.nics:
            own = Vlan(bridge=nic.bridge, tag=nic.tag)
            yield Plug(
                owner=guest.name,
                place=own,
                sources=self.firewall.sources(guest, nic),
                address=None if nic.address is None else int(nic.address),
                inbound=self.firewall.inbound(guest, nic),
                outbound=self.firewall.outbound(guest, nic),
                marks=self.firewall.marks(guest, nic),
            )
            tagged = [Vlan(bridge=nic.bridge, tag=tag) for tag in nic.trunks]
            if nic.tag is None and not nic.trunks:
                tagged = list(self._vlans[nic.bridge])
            for place in tagged:
                if place != own:
                    yield Plug(owner=guest.name, place=place, sources=ALL, address=None)

    def _leg(self, owner: str, network: Network, leg: Leg) -> Iterator[Plug]:
        every = tuple(vlan for vlans in self._vlans.values() for vlan in vlans)
        for place in (network.vlan,) if network.vlan else every:
            yield Plug(
                owner=owner,
                place=place,
                sources=_one(leg.address),
                address=None if leg.address is None else int(leg.address),
                routed=not network.internal,
                parent=network.host,
                alone=network.driver is Driver.MACVLAN and not network.icc,
            )


def _one(address: IPv4Address | None) -> Spans:
    return ALL if address is None else ((int(address), int(address)),)
