"""The conformance suite: who may connect to whom on a site with edges of every kind, as cases with ids.

Reachability engine, packet walk, policy pack and live probe must answer each case alike. What a case expects
follows from the declared flows and from whose network an address is on; it is written here a second time, so
that a fault in the code of one of the four is no fault of the expectation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address
from typing import Any

from tests.egress import with_egress
from tests.site import changed
from topology.config import load
from topology.model import INTERNET, Container, Port, Topology, Zone

LAN, NAS, MANAGEMENT = "lan", "nas", "management"
OTHER = Port(number=444)
"""A port that no flow names."""
FLOWS = (
    "sender -> sink:5000/udp",
    "sender -> sink:5001/tcp",
    "grafana -> traefik:443/tcp",
    "site-1 -> traefik:443/tcp",
    "jellyfin -> stirling-pdf:8080/tcp",
    "lan -> traefik:8443/tcp",
    "lan -> jellyfin:8096/tcp",
    "jellyfin -> nas:2049/tcp",
    "stirling-pdf -> internet:443/tcp",
    "management -> site-1:22/tcp",
)


Changes = tuple[tuple[str, ...], tuple[str, ...]]
"""Flows that a site has besides, and flows that it lacks."""
NONE: Changes = ((), ())
BROKEN: dict[str, Changes] = {
    "a pair of neighbours more": (("loki -> node-exporter:9100/tcp",), ()),
    "a pair of neighbours less": ((), ("sender -> sink:5001/tcp",)),
    "datagrams to a port more": (("cadvisor -> sink:5000/udp",), ()),
    "a port more for a container that goes out": (("crawler -> internet:443/tcp",), ()),
    "a published port for management, too": (("management -> traefik:8443/tcp",), ()),
    "a published port for the LAN no more": ((), ("lan -> traefik:8443/tcp",)),
    "a guest more for a guest": (("stirling-pdf -> jellyfin:8096/tcp",), ()),
    "a guest less for the ingress": ((), ("traefik -> site-2:443/tcp",)),
    "a machine less for a guest": ((), ("jellyfin -> nas:2049/tcp",)),
}
"""What the rules in force may have more and less than the cases expect: one flow each."""
TOGETHER: Changes = (
    tuple(flow for more, _ in BROKEN.values() for flow in more),
    tuple(flow for _, less in BROKEN.values() for flow in less),
)
"""All of these in one site."""


def keys(more: tuple[str, ...] = (), less: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the keys of the sound site with egress, external machines, datagrams, and flows of guests.

    `more` and `less` are flows besides, and flows that are missing.
    """
    values = changed(
        {
            "zones.lan": {"role": "external", "prefix": "192.168.20.0/24"},
            "zones.nas": {"role": "external", "prefix": "10.10.20.16/32", "ports": [2049]},
            "services.sender": {"zones": ["backend"], "image": "sender:1"},
            "services.sink": {"zones": ["backend"], "image": "sink:1", "ports": ["5000/udp", 5001]},
            "services.traefik.ports": [80, 443, 8443],
            "services.site-1.ports": [443, 22],
        },
        with_egress(changed({}), *FLOWS, *more),
    )
    values["flows"] = [flow for flow in values["flows"] if flow not in less]
    values["unencrypted"] += [
        {"flow": f, "reason": "the test has no TLS"} for f in values["flows"] if "-> sink" in f
    ]
    values["unencrypted"] = [each for each in values["unencrypted"] if each["flow"] not in less]
    tools = [flow.split()[0] for flow in values["flows"] if "-> traefik:8443" in flow] or [INTERNET]
    for flow in values["flows"]:
        source, _, name = flow.partition(":")[0].split()
        if source == "traefik" and name != INTERNET:
            values["services"][name]["audience"] = tools if name == "grafana" else [INTERNET]
    return values


@cache
def site() -> Topology:
    """Return the suite's site."""
    return load(keys())


class Kind(StrEnum):
    """What lies between source and destination."""

    NEIGHBOUR = "one network"
    SEVERAL = "several networks"
    NEWCOMER = "attached by hand"
    LEG = "leg of the ingress"
    EGRESS = "egress"
    PUBLISHED = "published port"
    HOST = "container and host"
    GUESTS = "guests"
    EXTERNAL = "external zone"
    NODE = "Proxmox node"
    ROUTER = "router"


class Expected(StrEnum):
    """What the declared flows require; EITHER: a router, or nothing on the way, decides, and no rule here."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    EITHER = "EITHER"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Whether `source` may connect to `port` of `destination` at `address`.

    `port` None is any TCP port that no flow names, `address` None the one that a run chooses.
    """

    kind: Kind
    direction: str
    source: str
    destination: str
    port: Port | None
    address: IPv4Address | None
    expected: Expected

    def __str__(self) -> str:
        at = f" at {self.address}" if self.address else ""
        return f"{self.kind}, {self.direction}: {self.source} -> {self.destination}:{self.port or '*'}{at}"


def networks(topology: Topology) -> list[Zone]:
    """Return the zones to whose networks anything can be attached by hand."""
    return [zone for zone in topology.zones.values() if zone.is_docker or zone.has_guests]


def newcomer(zone: Zone) -> str:
    """Return the name of what is attached to a zone's network by hand, as the live probe has it."""
    return f"stranger@{zone.name}"


def newcomers_address(zone: Zone) -> IPv4Address:
    """Return the address of what is attached by hand: the highest of the zone."""
    return zone.prefix[-2]


def cases(topology: Topology) -> list[Case]:
    """Return every case of a site; no two have one id."""
    return [*_Cases(topology)]


class _Cases:
    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.flows = {(flow.source, flow.destination, flow.port) for flow in topology.flows}
        self.docker = [zone for zone in topology.zones.values() if zone.is_docker]
        self.leaving = (*dict.fromkeys(flow.port for flow in topology.flows_to(INTERNET)), None)
        self.host, self.ingress = topology.docker.name, topology.ingress
        self.doors = [zone.gateway for zone in self.docker if not zone.internal]
        """The host's addresses: it has none on an internal network."""

    def __iter__(self) -> Iterator[Case]:
        yield from self._between_containers()
        yield from self._newcomers()
        yield from self._legs()
        yield from self._egress()
        yield from self._published()
        yield from self._to_host()
        yield from self._guests()
        yield from self._external()
        yield from self._node()
        yield from self._routed()

    def _to(
        self,
        kind: Kind,
        direction: str,
        source: str,
        destination: str,
        at: IPv4Address | None = None,
        *,
        ports: Iterable[Port | None],
        expected: Expected | None = None,
    ) -> Iterator[Case]:
        """Yield a case for each port, which is allowed if a flow is declared, unless told otherwise."""
        for port in ports:
            declared = Expected.ALLOWED if (source, destination, port) in self.flows else Expected.DENIED
            yield Case(
                kind=kind,
                direction=direction,
                source=source,
                destination=destination,
                port=port,
                address=at,
                expected=expected or declared,
            )

    def _addresses(self, container: Container) -> dict[Zone, IPv4Address]:
        own = (self.topology.zones[name] for name in container.zones)
        return {zone: self.topology.address_on(container.name, zone) for zone in own}

    def _between_containers(self) -> Iterator[Case]:
        """A flow between two containers is possible at the destination's address on a network of both."""
        for source in self.topology.containers:
            for destination in self.topology.containers:
                for zone, at in self._addresses(destination).items() if source != destination else ():
                    near = zone.name in source.zones
                    kind = Kind.NEIGHBOUR if near and len(destination.zones) == 1 else Kind.SEVERAL
                    yield from self._to(
                        kind,
                        "container -> container" if near else "container -> container elsewhere",
                        source.name,
                        destination.name,
                        at,
                        ports=(*destination.ports, None),
                        expected=None if near else Expected.DENIED,
                    )

    def _newcomers(self) -> Iterator[Case]:
        """A newcomer reaches nothing, but published ports from a probe zone; no container reaches it."""
        kind = Kind.NEWCOMER
        for zone in self.docker:
            name, own = newcomer(zone), newcomers_address(zone)
            for container in self.topology.containers:
                for other, at in self._addresses(container).items():
                    way = "newcomer -> container" if other == zone else "newcomer -> container elsewhere"
                    yield from self._to(kind, way, name, container.name, at, ports=(*container.ports, None))
                if zone.name in container.zones:
                    yield from self._to(
                        kind, "container -> newcomer", container.name, name, own, ports=[None]
                    )
            for at in self.doors:
                for port in (*self.topology.published, None):
                    seen = self._seen({zone.name}, port)
                    yield from self._to(
                        kind, "newcomer -> host", name, self.host, at, ports=[port], expected=seen
                    )
        for zone in self.topology.vlans:
            for guest in self.topology.guests:
                ends = (newcomer(zone), guest.name, guest.address)
                yield from self._to(kind, "newcomer -> guest", *ends, ports=(*guest.ports, None))

    def _seen(self, zones: Collection[str], port: Port | None) -> Expected:
        """Return whether members of zones reach a port of their host: from a probe zone, published ones."""
        probes = {zone.name for zone in self.topology.probes}
        return Expected.ALLOWED if probes & {*zones} and port in self.topology.public else Expected.DENIED

    def _legs(self) -> Iterator[Case]:
        """The ingress reaches its guests; guests with a flow reach its leg, and newcomers don't."""
        kind, name, ports = Kind.LEG, self.ingress.name, (*self.ingress.ports, None)
        for zone in self.topology.legs.zones:
            for guest in self.topology.guests:
                near = guest.zones[0] == zone.name
                if near:
                    ends = (name, guest.name, guest.address)
                    yield from self._to(kind, "ingress -> guest", *ends, ports=(*guest.ports, None))
                yield from self._to(
                    kind, "guest -> leg", guest.name, name, zone.ingress,
                    ports=ports, expected=None if near else Expected.DENIED,
                )  # fmt: skip
            yield from self._to(
                kind, "newcomer -> leg", newcomer(zone), name, zone.ingress,
                ports=ports, expected=Expected.DENIED,
            )  # fmt: skip

    def _egress(self) -> Iterator[Case]:
        """A container leaves on the ports of its own flows."""
        for container in self.topology.containers:
            way = "container -> internet"
            yield from self._to(Kind.EGRESS, way, container.name, INTERNET, ports=self.leaving)
        for zone in self.docker:
            way = "newcomer -> internet"
            yield from self._to(Kind.EGRESS, way, newcomer(zone), INTERNET, ports=self.leaving)

    def _published(self) -> Iterator[Case]:
        """A published port is for the sources of its flows, and for everyone outside if for the internet."""
        kind = Kind.PUBLISHED
        for source in (INTERNET, MANAGEMENT, LAN):
            for port in self.topology.published:
                ways = {(INTERNET, self.ingress.name, port), (source, self.ingress.name, port)}
                seen = Expected.ALLOWED if ways & self.flows else Expected.DENIED
                yield from self._to(kind, "outside -> host", source, self.host, ports=[port], expected=seen)
            for container in self.topology.containers:
                for at in self._addresses(container).values():
                    yield from self._to(
                        kind, "outside -> container", source, container.name, at,
                        ports=(*container.ports, None), expected=Expected.DENIED,
                    )  # fmt: skip

    def _to_host(self) -> Iterator[Case]:
        """A container reaches nothing of its host, but from a probe zone what is published for everyone."""
        for container in self.topology.containers:
            for at in self.doors:
                for port in (*self.topology.published, None):
                    seen = self._seen(container.zones, port)
                    yield from self._to(
                        Kind.HOST, "container -> host", container.name, self.host, at,
                        ports=[port], expected=seen,
                    )  # fmt: skip

    def _guests(self) -> Iterator[Case]:
        """Guests reach each other by declared flows, and no container but the ingress."""
        kind = Kind.GUESTS
        for guest in self.topology.guests:
            for other in self.topology.guests:
                if guest != other:
                    ends = (other.name, guest.name, guest.address)
                    yield from self._to(kind, "guest -> guest", *ends, ports=(*guest.ports, None))
            for container in self.topology.containers:
                for at in self._addresses(container).values():
                    yield from self._to(
                        kind, "guest -> container", guest.name, container.name, at,
                        ports=(*container.ports, None), expected=Expected.DENIED,
                    )  # fmt: skip
                if container != self.ingress:
                    ends = (container.name, guest.name, guest.address)
                    yield from self._to(kind, "container -> guest", *ends, ports=(*guest.ports, None))

    def _external(self) -> Iterator[Case]:
        """A machine on a guests' VLAN is reached by declared flows, and reaches nothing there without one."""
        kind, nas = Kind.EXTERNAL, self.topology.zones[NAS]
        around = self.topology.around(nas)
        at, ports = nas.prefix[0], (*nas.ports, None)
        for guest in self.topology.guests:
            yield from self._to(kind, "guest -> machine", guest.name, NAS, at, ports=ports)
            if around and around.name in guest.zones:
                ends = (NAS, guest.name, guest.address)
                yield from self._to(kind, "machine -> guest", *ends, ports=(*guest.ports, None))
        if around and around.ingress:
            # Published ports it reaches at the host's address.
            own = [port for port in self.ingress.ports if port not in self.topology.published]
            ends = (NAS, self.ingress.name, around.ingress)
            yield from self._to(kind, "machine -> leg", *ends, ports=(*own, None))
        for container in self.topology.containers:
            if container != self.ingress:  # no rule stops what it sends from its own leg
                yield from self._to(kind, "container -> machine", container.name, NAS, at, ports=ports)

    def _node(self) -> Iterator[Case]:
        """Management alone administers the node."""
        node = self.topology.proxmox
        for source in (MANAGEMENT, INTERNET, LAN, *self.topology.services):
            yield from self._to(Kind.NODE, "any -> node", source, node.name, node.address, ports=node.ports)

    def _routed(self) -> Iterator[Case]:
        """What a flow declares between a guest and what is beyond the router depends on the router."""
        kind = Kind.ROUTER
        for guest in self.topology.guests:
            for source in (INTERNET, MANAGEMENT, LAN):
                for port in (*guest.ports, None):
                    yield from self._to(
                        kind, "outside -> guest", source, guest.name, guest.address,
                        ports=[port], expected=self._by_router((source, guest.name, port)),
                    )  # fmt: skip
            for port in self.leaving:
                by_router = self._by_router((guest.name, INTERNET, port))
                yield from self._to(
                    kind, "guest -> internet", guest.name, INTERNET, ports=[port], expected=by_router
                )
            for port in self.topology.public:
                # The router decides, too, where packets to the ingress's leg arrive.
                ways = ((guest.name, to, port) for to in (INTERNET, self.ingress.name))
                by_router = self._by_router(*ways)
                yield from self._to(
                    kind, "guest -> host", guest.name, self.host, ports=[port], expected=by_router
                )

    def _by_router(self, *flows: tuple[str, str, Port | None]) -> Expected:
        return Expected.EITHER if self.flows & {*flows} else Expected.DENIED
