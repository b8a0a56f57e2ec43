"""The parts of a stack file that could be read, as the checks see them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import Final

from topology.fault import Fault
from topology.model import (
    INTERNET,
    ROLES,
    Acme,
    App,
    Assertion,
    Certificate,
    Certificates,
    Container,
    DockerHost,
    Entries,
    Flow,
    Guest,
    ImageVantage,
    NamedVolume,
    PolicyException,
    Port,
    ProxmoxHost,
    Role,
    RouterGuest,
    RouterHost,
    Routing,
    SshVantage,
    Temporary,
    Topology,
    Unencrypted,
    Zone,
    entries,
    is_behind,
    lans,
    network_of,
    zone_around,
)
from topology.prefixes import SPECIAL

VLAN_ROLES: Final = tuple(role for role, traits in ROLES.items() if traits.vlan)
DOCKER_ROLES: Final = tuple(role for role, traits in ROLES.items() if traits.docker)
FRONTENDS: Final = frozenset(role for role in DOCKER_ROLES if ROLES[role].routable)
"""Roles of the Docker networks on which the ingress reaches services."""
INSIDES: Final = frozenset(role for role in DOCKER_ROLES if ROLES[role].inner) - {Role.PROBE}
"""Roles of Docker networks that the ingress never joins. The app decides who may join a probe zone."""

Reason = tuple[str, str]
"""A fault and its remedy; the caller adds the path."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """The readable parts of a stack file. Flows, unencrypted, exceptions and assertions are keyed by path."""

    domain: str
    name_prefix: str
    protect: bool
    hosts: Mapping[str, DockerHost | ProxmoxHost | RouterHost]
    zones: Mapping[str, Zone]
    services: Mapping[str, Container | Guest]
    volumes: Mapping[str, NamedVolume]
    flows: Mapping[str, Flow]
    temporary: tuple[Temporary, ...]
    tls: Certificate | Acme | None
    certificates: Certificates
    unencrypted: Mapping[str, Unencrypted]
    exceptions: Mapping[str, PolicyException]
    assertions: Mapping[str, Assertion]
    vantages: Mapping[str, SshVantage | ImageVantage]
    unreadable: frozenset[str]
    """Paths of the entries that are declared but could not be read."""

    @cached_property
    def ingress(self) -> Container | None:
        """The first service whose app is Traefik."""
        return next((c for c in self.containers if c.app is App.TRAEFIK), None)

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container service, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Container))

    @cached_property
    def guests(self) -> tuple[Guest, ...]:
        """Every guest, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Guest))

    @cached_property
    def docker_hosts(self) -> tuple[DockerHost, ...]:
        """Every Docker host: the ingress's, on which the edge zone is, then the others by name."""
        edge = next((z.docker_host for z in self.zones.values() if z.role is Role.EDGE), None)
        found = (host for host in self.hosts.values() if isinstance(host, DockerHost))
        return tuple(sorted(found, key=lambda host: (host.name != edge, host.name)))

    def docker_host_of(self, container: Container) -> DockerHost | None:
        """Return the Docker host that all of a container's zones are on; None where it is not known."""
        if len(self.docker_hosts) == 1:
            return self.docker_hosts[0]
        names = {zone and zone.docker_host for zone in map(self.zones.get, container.zones)}
        return next((host for host in self.docker_hosts if {host.name} == names), None)

    @cached_property
    def nodes(self) -> tuple[ProxmoxHost, ...]:
        """Every Proxmox host, in declared order."""
        return tuple(host for host in self.hosts.values() if isinstance(host, ProxmoxHost))

    @property
    def machines(self) -> Iterator[tuple[str, Guest | RouterGuest]]:
        """Every guest, and the router's where it is one, with its path."""
        yield from ((f"services.{guest.name}", guest) for guest in self.guests)
        if self.router and self.router.guest:
            yield f"hosts.{self.router.name}.guest", self.router.guest

    @property
    def needs_bridge(self) -> bool:
        """Whether some zone of guests is on the hosts' bridge."""
        return any(zone.has_guests and zone.bridge is None for zone in self.zones.values())

    def node_of(self, guest: Guest | RouterGuest) -> ProxmoxHost | None:
        """Return the Proxmox host that a guest is on; None where none is known."""
        if guest.node is None:
            return self.nodes[0] if len(self.nodes) == 1 else None
        return next((host for host in self.nodes if host.name == guest.node), None)

    @cached_property
    def ends(self) -> dict[str, list[str]]:
        """Every name that can be an end of a flow, with the paths that declare it."""
        ends = {INTERNET: ["everything outside"]}
        shared = [zone.name for zone in lans(self.zones.values())]
        for section, names in (
            ("hosts", self.hosts),
            ("zones", [*self.outsides, *shared]),
            ("services", self.services),
        ):
            for name in names:
                ends.setdefault(name, []).append(f"{section}.{name}")
        return ends

    @cached_property
    def sources(self) -> dict[str, None]:
        """Every name that can be the source of a flow, in declared order."""
        return dict.fromkeys((INTERNET, *self.outsides, *self.services))

    @cached_property
    def destinations(self) -> dict[str, None]:
        """Every name that can be the destination of a flow, in declared order."""
        return dict.fromkeys((INTERNET, *self.hosts, *self.externals, *self.services))

    @cached_property
    def halves(self) -> tuple[type[DockerHost | ProxmoxHost], ...]:
        """The kinds of host that are there or needed; both where a host could not be read."""
        kinds = (DockerHost, ProxmoxHost)
        return tuple(kind for kind in kinds if kind in self.needing or self.has(kind))

    def has(self, kind: type[DockerHost | ProxmoxHost]) -> bool:
        """Whether a host of a kind is declared, or may be where one could not be read."""
        return self.unreadable_in("hosts") or any(isinstance(host, kind) for host in self.hosts.values())

    @cached_property
    def router(self) -> RouterHost | None:
        """The first router."""
        return next((host for host in self.hosts.values() if isinstance(host, RouterHost)), None)

    @cached_property
    def routing(self) -> Routing | None:
        """What the router sees of the site; None where none is declared."""
        if self.router is None:
            return None
        machines = {n: host for n, host in self.hosts.items() if not isinstance(host, RouterHost)}
        return Routing(router=self.router, zones=self.zones, services=self.services, hosts=machines)

    @cached_property
    def needing(self) -> Mapping[type[DockerHost | ProxmoxHost], str]:
        """Path of the first zone or service of each half that has one."""
        found: dict[type[DockerHost | ProxmoxHost], str] = {}
        for zone in self.zones.values():
            if zone.traits.docker or zone.traits.vlan:
                found.setdefault(DockerHost if zone.traits.docker else ProxmoxHost, f"zones.{zone.name}")
        for service in self.services.values():
            kind = ProxmoxHost if isinstance(service, Guest) else DockerHost
            found.setdefault(kind, f"services.{service.name}")
        return found

    def is_placed(self, service: Container | Guest) -> bool:
        """Whether all zones of the service are known and of a fitting kind."""
        zones = [self.zones.get(name) for name in service.zones]
        if isinstance(service, Guest):
            return all(zone and zone.role in VLAN_ROLES for zone in zones)
        return all(zone and zone.is_docker for zone in zones)

    @cached_property
    def routed(self) -> set[str]:
        """Names of the destinations of the ingress's flows."""
        return {f.destination for f in self.flows.values() if self.ingress and f.source == self.ingress.name}

    @cached_property
    def route_flows(self) -> Mapping[str, Flow]:
        """The ingress's flows that are routes, by path: those to a service, but for streams."""
        return {
            path: flow
            for path, flow in self.flows.items()
            if self.ingress and flow.source == self.ingress.name
            if (end := self.services.get(flow.destination)) and not end.streams_on(flow.port)
        }

    @cached_property
    def web(self) -> Entries:
        """The ingress's published ports that serve routes: all but those of streams."""
        streaming = {each.entry for service in self.services.values() for each in service.streams}
        published = entries(self.flows.values(), self.ingress.name if self.ingress else None, self.outsides)
        return {port: names for port, names in published.items() if port not in streaming}

    @cached_property
    def leaving(self) -> Mapping[str, set[Port]]:
        """Ports of the flows to the internet, by source."""
        found: dict[str, set[Port]] = {}
        for flow in self.flows.values():
            if flow.destination == INTERNET:
                found.setdefault(flow.source, set()).add(flow.port)
        return found

    @cached_property
    def open_ports(self) -> set[tuple[str, Port]]:
        """The name of each service or host with each of its ports; a service hides a host of its name."""
        ends = {**self.hosts, **{name: self.zones[name] for name in self.externals}, **self.services}
        return {(name, port) for name, end in ends.items() for port in end.ports}

    def is_behind(self, flow: Flow) -> bool:
        """Whether a flow leads from a container other than the ingress to a guest without a leg."""
        docker = next(iter(self.docker_hosts), None)
        is_own = self.ingress is not None and flow.source == self.ingress.name
        return not is_own and is_behind(flow, self.services, self.zones, docker, self.routing)

    @cached_property
    def leg_zones(self) -> set[str]:
        """Zones with a guest that a container has a flow to or from by a leg."""
        found = set()
        for flow in (each for each in self.flows.values() if not self.is_behind(each)):
            match self.services.get(flow.source), self.services.get(flow.destination):
                case (Container(), Guest() as guest) | (Guest() as guest, Container()):
                    found.add(guest.zones[0])
        return found

    @cached_property
    def management(self) -> tuple[str, ...]:
        """Names of the management zones."""
        return tuple(z.name for z in self.zones.values() if z.role is Role.MANAGEMENT)

    @cached_property
    def externals(self) -> tuple[str, ...]:
        """Names of the external zones."""
        return tuple(z.name for z in self.zones.values() if z.role is Role.EXTERNAL)

    @cached_property
    def outsides(self) -> tuple[str, ...]:
        """Names of the zones in which nothing is built."""
        return tuple(z.name for z in self.zones.values() if z.is_outside)

    def around(self, zone: Zone) -> Zone | None:
        """Return the zone of guests that has external machines on its network; None where none has."""
        return zone_around(zone, self.zones.values())

    def network_of(self, zone: Zone) -> Zone:
        """Return the zone of guests on whose network a zone's machines are, or the zone itself."""
        return network_of(zone, self.zones.values())

    def is_public(self, ip: IPv4Address) -> bool:
        """Whether an address is on the internet: neither special-purpose nor in a zone of the site."""
        return not any(ip in prefix for prefix in (*SPECIAL, *(zone.prefix for zone in self.zones.values())))

    def name_server(self, ip: IPv4Address) -> str | None:
        """Return the end of the flows by which a name server is asked; None where containers know no way."""
        if self.is_public(ip):
            return INTERNET
        guests = [guest.name for guest in self.guests if guest.address == ip]
        machines = [name for name in self.externals if ip in self.zones[name].prefix]
        return next(iter((*guests, *machines)), None)

    def roles(self, service: Container | Guest) -> set[Role]:
        """Return the roles of the service's zones, as far as they could be read."""
        return {self.zones[name].role for name in service.zones if name in self.zones}

    def unreadable_in(self, section: str) -> bool:
        """Whether a section has unreadable entries, so that an absent name may be one of them."""
        return any(re.match(rf"{section}\b", path) for path in self.unreadable)

    def is_unreadable(self, name: str, *sections: str) -> bool:
        """Whether a name, or one of the given sections as a whole, could not be read."""
        return any(self.unreadable & {section, f"{section}.{name}"} for section in sections)

    def topology(self) -> Topology:
        """Return the site as a Topology; valid only for a site without faults."""
        return Topology.model_validate(
            {
                "domain": self.domain,
                "name_prefix": self.name_prefix,
                "protect": self.protect,
                "docker_hosts": self.docker_hosts,
                "proxmox_hosts": tuple(sorted(self.nodes, key=lambda host: host.name)),
                "router": self.router,
                "zones": self.zones,
                "services": self.services,
                "volumes": self.volumes,
                "flows": tuple(self.flows.values()),
                "temporary": self.temporary,
                "tls": self.tls,
                "certificates": self.certificates,
                "unencrypted": tuple(self.unencrypted.values()),
                "exceptions": tuple(self.exceptions.values()),
                "assertions": tuple(self.assertions.values()),
                "vantages": self.vantages,
            }
        )


def twice(items: Iterable[tuple[str, Hashable]], remedy: str) -> Iterator[Fault]:
    """Yield a fault for each repeated value, at the path of the repetition."""
    first: dict[Hashable, str] = {}
    for path, value in items:
        if value in first:
            yield Fault(path, f"{value} duplicates {first[value]}", remedy)
        first.setdefault(value, path)


def not_public(site: Site, path: str, servers: Iterable[IPv4Address], flows: str) -> Iterator[Fault]:
    """Yield a fault for each name server that is not on the internet; `flows` are the askers'."""
    for index, ip in enumerate(servers):
        if not site.is_public(ip):
            yield Fault(
                f"{path}[{index}]",
                f"{ip} is not on the internet, where alone {flows} lead",
                "use a public one, like 9.9.9.9",
            )
