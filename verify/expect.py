"""The cells of the matrix, each with the result that the declared flows require.

The only live data used here is what the discovery found at each endpoint: addresses and ports.
Note: EITHER marks what the probe does not judge: what crosses a router between a VLAN and the outside, what
members of an observed zone ask of each other, and what observed guests ask or are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from ipaddress import IPv4Address

from topology.listening import listens
from topology.model import INTERNET, Container, Guest, Port, Protocol, Role, Topology, Zone

OTHER = "*"
"""Any port that no flow names; the probe listens on one itself, so that silence there is evidence."""
ICMP = "icmp"
NAME = "name"
"""In place of a port: a name of the outside, asked of the engine's name server."""


class EndpointKind(StrEnum):
    """An endpoint's kind. OUTSIDE: the internet, management. MEMBER: a newcomer on one zone's network."""

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
    """An address of an endpoint; `network` is its zone's name, or its Docker network's outside any zone."""

    network: str
    ip: IPv4Address | None
    """None if the endpoint is declared on this network and has no address there."""
    heard: frozenset[int] | None = None
    """The ports on which the endpoint's software listens there; None: on all that it declares."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A source or destination of packets.

    `zones` are the zones that it is declared in, `docker_host_address` is the address at which an outside
    endpoint reaches Docker-SRV, `extra` are undeclared ports that Docker-SRV publishes or a guest listens on.
    """

    name: str
    kind: EndpointKind
    addresses: tuple[Address, ...] = ()
    zones: frozenset[str] = frozenset()
    ports: tuple[Port, ...] = ()
    extra: tuple[Port, ...] = ()
    docker_host_address: IPv4Address | None = None
    runs: bool = False
    """Whether it is known to run, with or without addresses; for a node, whether it has an agent."""
    elsewhere: bool = False
    """Whether no agent can run there: it is no source, and only its declared ports are asked."""
    far: bool = False
    """Whether it is on the real internet, where private addresses are not the site's."""
    name_servers: tuple[str, ...] | None = None
    """A container's own name servers, as the engine has them; None: unknown."""
    oddities: tuple[tuple[str, str], ...] = ()
    """What an endpoint has that the stack file does not give it, each with its cause."""
    pings: bool = True
    """Whether it may send echo requests, including to itself."""
    fault: str = ""
    """Why it could not be asked, as `path: fault; remedy`; cells that depend on it are inconclusive."""

    @property
    def there(self) -> bool:
        """Whether it has any address now; an outside endpoint always has one, known or not."""
        return self.kind is EndpointKind.OUTSIDE or any(address.ip for address in self.addresses)


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
        """The listener that must be seen open before a denial counts, the probe's own where no other is."""
        only, number = self.address.heard, self.port.partition("/")[0]
        there = only is None or (number.isdecimal() and int(number) in only)
        return self.destination, self.port if there else label(OTHER), self.address.ip


def cells(topology: Topology, endpoints: Iterable[Endpoint], today: date | None = None) -> list[Cell]:
    """Return the cells from every endpoint except the hosts to every other one, in the endpoints' order.

    On the day after the last observed one of a zone or guest it must be closed. `today` None: by the clock.
    """
    day, everywhere = today or datetime.now(UTC).date(), tuple(endpoints)
    staged: tuple[Zone | Guest, ...] = (*topology.observed, *topology.observed_guests)
    observed = {each.name for each in staged if each.observed_until and each.observed_until >= day}
    return [
        Cell(
            source=source.name,
            destination=destination.name,
            port=label(port),
            address=address,
            expected=_expected(topology, source, destination, address, port, observed=observed),
        )
        for source in everywhere
        if source.kind not in {EndpointKind.HOST, EndpointKind.NODE} and not source.elsewhere
        for destination in everywhere
        if source.name != destination.name
        for address in _addresses(source, destination)
        for port in _ports(topology, source, destination)
    ]


def alive(endpoints: Iterable[Endpoint]) -> Iterator[Cell]:
    """Yield each endpoint's cells about itself: whether it listens on the ports that others are denied."""
    for endpoint in endpoints:
        if (
            endpoint.kind is EndpointKind.MEMBER
            or endpoint.elsewhere
            or (endpoint.kind is EndpointKind.NODE and not endpoint.runs)
        ):
            continue
        if endpoint.kind is EndpointKind.OUTSIDE and endpoint.name != INTERNET:
            continue
        for address in endpoint.addresses:
            ports: list[Port | str] = [*endpoint.ports, *endpoint.extra]
            ports += [OTHER] if endpoint.kind is not EndpointKind.NODE else []
            for port in [*ports, ICMP] if endpoint.kind is EndpointKind.GUEST and endpoint.pings else ports:
                yield Cell(
                    source=endpoint.name,
                    destination=endpoint.name,
                    port=label(port),
                    address=address,
                    expected=Expected.ALLOWED,
                )


def label(port: Port | str) -> str:
    """Return a port as cells write it."""
    return f"{OTHER}/{Protocol.TCP}" if port == OTHER else str(port)


def _addresses(source: Endpoint, destination: Endpoint) -> tuple[Address, ...]:
    """Return the destination's addresses to ask about.

    From outside, Docker-SRV is asked at one address only, at which `verify.exposed` asks its other ports.
    """
    if destination.kind is not EndpointKind.HOST or source.kind is not EndpointKind.OUTSIDE:
        return () if source.far else destination.addresses
    known = (address for address in destination.addresses if address.ip == source.docker_host_address)
    return (next(known, Address(network=source.name, ip=source.docker_host_address)),)


def _ports(topology: Topology, source: Endpoint, destination: Endpoint) -> Iterator[Port | str]:
    """Yield the destination's ports to ask about; `verify.exposed` has the others of an open Docker-SRV."""
    outside = source.kind is EndpointKind.OUTSIDE
    if destination.kind is EndpointKind.MEMBER or (
        destination.kind is EndpointKind.OUTSIDE and (outside or destination.name != INTERNET)
    ):
        return
    yield from destination.ports
    yield from destination.extra
    if destination.elsewhere:
        return
    listed = destination.kind is EndpointKind.HOST and outside and not topology.docker.closed
    if destination.kind is not EndpointKind.NODE and not listed:
        yield OTHER
    near = source.zones & destination.zones
    if destination.kind is EndpointKind.GUEST and near and source.pings and destination.pings:
        yield ICMP


def _expected(
    topology: Topology,
    source: Endpoint,
    destination: Endpoint,
    address: Address,
    port: Port | str,
    *,
    observed: Collection[str],
) -> Expected:
    declared = (source.name, destination.name, port) in {
        (flow.source, flow.destination, flow.port) for flow in topology.flows
    }
    near = address.network in source.zones & destination.zones
    match destination.kind:
        case EndpointKind.HOST if source.zones & {zone.name for zone in topology.probes}:
            there = topology.docker.address.is_unspecified or address.ip == topology.docker.address
            return Expected.ALLOWED if port in topology.public and there else Expected.DENIED
        case EndpointKind.HOST if source.kind is EndpointKind.OUTSIDE and port not in destination.extra:
            return _on_host(topology, source, port)
        case EndpointKind.CONTAINER if source.kind is EndpointKind.OUTSIDE:
            return Expected.DENIED
        case _ if declared and {source.kind, destination.kind} == {EndpointKind.GUEST, EndpointKind.OUTSIDE}:
            return Expected.EITHER  # a router is between them, which the probe does not enter
        case _ if not declared and _is_open(
            topology, source, destination, port, network=address.network if near else "", observed=observed
        ):
            return Expected.EITHER
        case _:
            there = near or destination.kind is not EndpointKind.CONTAINER
            return Expected.ALLOWED if declared and there else Expected.DENIED


def _is_open(
    topology: Topology,
    source: Endpoint,
    destination: Endpoint,
    port: Port | str,
    *,
    network: str,
    observed: Collection[str],
) -> bool:
    """Whether only observed rules are between two ends: those of guests, or of a `network` that both are on.

    Before a node are its own rules, and between networks the declared router's. Docker-SRV's are before its
    limited ports, and between a Docker network and guests: only a leg is beside them.
    """
    guests = {each.name for each in (source, destination) if each.kind is EndpointKind.GUEST}
    match destination.kind:
        case EndpointKind.CONTAINER:
            return source.kind is EndpointKind.CONTAINER and network in observed
        case EndpointKind.HOST if topology.docker.closed or port in topology.entries:
            passed = port in topology.public
        case _:
            apart = source.kind in {EndpointKind.CONTAINER, EndpointKind.MEMBER}
            near = bool(network) or not (apart or _is_routed(topology, source, destination))
            passed = near and destination.kind is not EndpointKind.NODE
    return passed and bool(guests) and guests <= {*observed}


def _is_routed(topology: Topology, source: Endpoint, destination: Endpoint) -> bool:
    """Whether two ends are at different interfaces of the declared router."""
    known = topology.routing
    sides = (known.side(source.name), known.side(destination.name)) if known else (None, None)
    return bool(sides[0] and sides[1] and sides[0].interface != sides[1].interface)


def _on_host(topology: Topology, source: Endpoint, port: Port | str) -> Expected:
    """Return what holds from outside for a port of Docker-SRV: the ingress's, its own, or any other."""
    own = {(flow.source, flow.port) for flow in topology.flows_to(topology.docker.name)}
    admitted = isinstance(port, Port) and {INTERNET, source.name} & topology.entries.get(port, frozenset())
    return Expected.ALLOWED if admitted or (source.name, port) in own else Expected.DENIED


def declared_zones(topology: Topology, name: str) -> frozenset[str]:
    """Return the zones in which a service may have addresses, including those of its legs."""
    return frozenset((*topology.services[name].zones, *topology.legs.of(name)))


def heard(topology: Topology, name: str, network: str, ip: IPv4Address | None) -> frozenset[int] | None:
    """Return the ports on which a container's software listens on a network, None for all of its own.

    The ingress listens on edge, and elsewhere on the ports of services' flows alone; another container with a
    leg on one address.
    """
    zone, service = topology.zones.get(network), topology.services.get(name)
    if isinstance(service, Container) and (only := listens(topology, service)):
        return None if ip == only else frozenset()
    if name != topology.ingress_name or (zone is not None and zone.role is Role.EDGE):
        return None
    return frozenset(topology.ears.get(ip, ()) if ip else ())


def guest(
    topology: Topology,
    service: Guest,
    *,
    there: bool,
    listening: Iterable[Port] = (),
    elsewhere: bool = False,
) -> Endpoint:
    """Return a guest as an endpoint; ports that it listens on without declaring them are `extra`."""
    ip = service.address if there or elsewhere else None
    return Endpoint(
        name=service.name,
        kind=EndpointKind.GUEST,
        addresses=(Address(network=service.zones[0], ip=ip),),
        zones=declared_zones(topology, service.name),
        ports=service.ports,
        extra=tuple(sorted({*listening} - {*service.ports}, key=str)),
        elsewhere=elsewhere,
    )
