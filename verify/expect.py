"""The cells of the matrix, each with the result that the declared flows require.

The only live data used here is what the survey found in each place: addresses and ports.
Note: EITHER marks what cannot be enforced. No rule can separate the members of one Docker network, so traffic
between them is shown and not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from topology.model import INTERNET, Guest, Port, Protocol, Topology

OTHER = "*"
"""Any port that no flow names; the probe listens on one itself, so that silence there is evidence."""
ICMP = "icmp"


class Kind(StrEnum):
    """The kind of a place. OUTSIDE: the internet, management. MEMBER: a newcomer on one zone's network."""

    OUTSIDE = "outside"
    MEMBER = "member"
    CONTAINER = "container"
    GUEST = "guest"
    HOST = "host"
    NODE = "node"


class Expected(StrEnum):
    """What the declared flows require of a cell."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    EITHER = "EITHER"


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address of a place; `network` is its zone's name, or its Docker network's outside any zone."""

    network: str
    ip: IPv4Address | None
    """None if the place is declared on this network and has no address there."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A source or destination of packets.

    `zones` are the zones that it is declared in, `front` is the address at which an outside place reaches
    Docker-SRV, `extra` are undeclared ports that Docker-SRV publishes or a guest listens on.
    """

    name: str
    kind: Kind
    addresses: tuple[Address, ...] = ()
    zones: frozenset[str] = frozenset()
    ports: tuple[Port, ...] = ()
    extra: tuple[Port, ...] = ()
    front: IPv4Address | None = None
    runs: bool = False
    """Whether it is known to run, with or without addresses; for a node, whether it has an agent."""
    elsewhere: bool = False
    """Whether no agent can run there: it is no source, and only its declared ports are asked."""
    far: bool = False
    """Whether it is on the real internet, where private addresses are not the site's; asks `front` only."""
    pings: bool = True
    """Whether it may send echo requests, including to itself."""
    fault: str = ""
    """Why it could not be asked, as `path: fault; remedy`; cells that depend on it are inconclusive."""

    @property
    def there(self) -> bool:
        """Whether it has any address now; an outside place always has one, known or not."""
        return self.kind is Kind.OUTSIDE or any(address.ip for address in self.addresses)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question: whether `source` can open a connection to `port` of `destination` at this address."""

    source: str
    destination: str
    port: str
    """`9100/tcp`, `*/tcp` or `icmp`."""
    address: Address
    expected: Expected

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"

    @property
    def target(self) -> tuple[str, str, IPv4Address | None]:
        """The listener that must be seen open before a denial counts."""
        return self.destination, self.port, self.address.ip


def cells(topology: Topology, places: Iterable[Place]) -> list[Cell]:
    """Return the cells from every place except the hosts to every other place, in the order of `places`."""
    everywhere = tuple(places)
    return [
        Cell(
            source=source.name,
            destination=destination.name,
            port=label(port),
            address=address,
            expected=_expected(topology, source, destination, address, port),
        )
        for source in everywhere
        if source.kind not in {Kind.HOST, Kind.NODE} and not source.elsewhere
        for destination in everywhere
        if source.name != destination.name
        for address in _addresses(source, destination)
        for port in _ports(source, destination)
    ]


def alive(places: Iterable[Place]) -> Iterator[Cell]:
    """Yield each place's cells about itself: whether it listens on the ports that others are denied."""
    for place in places:
        if place.kind is Kind.MEMBER or place.elsewhere or (place.kind is Kind.NODE and not place.runs):
            continue
        if place.kind is Kind.OUTSIDE and place.name != INTERNET:
            continue
        for address in place.addresses:
            ports: list[Port | str] = [*place.ports, *place.extra]
            ports += [OTHER] if place.kind is not Kind.NODE else []
            for port in [*ports, ICMP] if place.kind is Kind.GUEST and place.pings else ports:
                yield Cell(
                    source=place.name,
                    destination=place.name,
                    port=label(port),
                    address=address,
                    expected=Expected.ALLOWED,
                )


def label(port: Port | str) -> str:
    """Return a port as cells write it."""
    return f"{OTHER}/{Protocol.TCP}" if port == OTHER else str(port)


def _addresses(source: Place, destination: Place) -> tuple[Address, ...]:
    """Return the destination's addresses to ask about.

    From outside, Docker-SRV is asked only at its front: no resource describes its other listeners.
    """
    if destination.kind is not Kind.HOST or source.kind is not Kind.OUTSIDE:
        return () if source.far else destination.addresses
    known = (address for address in destination.addresses if address.ip == source.front)
    return (next(known, Address(network=source.name, ip=source.front)),)


def _ports(source: Place, destination: Place) -> Iterator[Port | str]:
    """Yield the destination's ports to ask about."""
    outside = source.kind is Kind.OUTSIDE
    if destination.kind is Kind.MEMBER or (
        destination.kind is Kind.OUTSIDE and (outside or destination.name != INTERNET)
    ):
        return
    yield from destination.ports
    yield from destination.extra
    if destination.elsewhere:
        return
    if destination.kind is not Kind.NODE:
        yield OTHER
    near = source.zones & destination.zones
    if destination.kind is Kind.GUEST and near and source.pings and destination.pings:
        yield ICMP


def _expected(
    topology: Topology, source: Place, destination: Place, address: Address, port: Port | str
) -> Expected:
    declared = (source.name, destination.name, port) in {
        (flow.source, flow.destination, flow.port) for flow in topology.flows
    }
    near = address.network in source.zones & destination.zones
    match destination.kind:
        case Kind.HOST if source.zones & {zone.name for zone in topology.probes}:
            there = topology.docker.address.is_unspecified or address.ip == topology.docker.address
            return Expected.ALLOWED if port in destination.ports and there else Expected.DENIED
        case Kind.HOST if source.kind is Kind.OUTSIDE and port not in destination.extra:
            return Expected.EITHER if port == OTHER else Expected.ALLOWED
        case Kind.CONTAINER if source.kind is Kind.OUTSIDE:
            near = topology.flat is not None and address.network == topology.flat.name
            return Expected.EITHER if near and source.name in topology.segment else Expected.DENIED
        case _ if declared:
            # The router between a VLAN and the outside is not a resource of the stack.
            by_router = {source.kind, destination.kind} == {Kind.GUEST, Kind.OUTSIDE}
            judged = near if destination.kind is Kind.CONTAINER else not by_router
            return Expected.ALLOWED if judged else Expected.EITHER
        case Kind.CONTAINER if near and source.kind is not Kind.GUEST:
            return Expected.EITHER
        case _:
            return Expected.DENIED


def declared_zones(topology: Topology, name: str) -> frozenset[str]:
    """Return the zones in which a service may have addresses, including the ingress's legs."""
    service = topology.services[name]
    legs = {zone.name for zone in topology.legs} if name == topology.ingress_name else set()
    return frozenset(service.zones) | legs


def guest(
    topology: Topology,
    service: Guest,
    *,
    there: bool,
    listening: Iterable[Port] = (),
    elsewhere: bool = False,
) -> Place:
    """Return a guest as a place; ports that it listens on without declaring them are `extra`."""
    ip = service.address if there or elsewhere else None
    return Place(
        name=service.name,
        kind=Kind.GUEST,
        addresses=(Address(network=service.zones[0], ip=ip),),
        zones=declared_zones(topology, service.name),
        ports=service.ports,
        extra=tuple(sorted({*listening} - {*service.ports}, key=str)),
        elsewhere=elsewhere,
    )
