"""The whole declared site, and the values derived from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Self

from topology.addresses import assigned
from topology.model.apps import HAS_ADMIN_PAGE, App
from topology.model.declared import DeclaredSite
from topology.model.flows import Flow, Port, Protocol
from topology.model.guest_kinds import sets_itself_up
from topology.model.hosts import DockerHost
from topology.model.legs import Legs
from topology.model.roles import Role
from topology.model.router import Crossing, RouterHost, Routing, is_behind
from topology.model.routes import BASIC, Entries, Requests, Route, Stream, audience, entries, served_on
from topology.model.services import Container, Guest
from topology.model.values import INTERNET
from topology.model.zones import Zone
from topology.prefixes import SPECIAL, nearby

NO_NAME_SERVER = IPv4Address("127.0.0.1")
"""A container's own loopback, where the engine asks from within the container's network: no answer comes."""


class Topology(DeclaredSite):
    """The whole declared site. Only `topology.config.load` creates it, after all checks."""

    @property
    def by_docker_host(self) -> tuple[Self, ...]:
        """The site as each Docker host has it, without the containers and Docker zones of the others.

        Guests and all else are in each. Itself where there is one Docker host, or none.
        """
        return self._parts or (self,)

    @cached_property
    def _parts(self) -> tuple[Self, ...]:
        return tuple(map(self._on, self.docker_hosts)) if len(self.docker_hosts) > 1 else ()

    def _on(self, host: DockerHost) -> Self:
        networks = {z.name for z in self.zones.values() if z.is_docker and self.docker_host_around(z) != host}
        containers = {each.name for each in self.containers if not networks.isdisjoint(each.zones)}
        gone = containers | {each.name for each in self.docker_hosts if each != host}
        part = {
            "docker_hosts": (host,),
            "zones": {name: zone for name, zone in self.zones.items() if name not in networks},
            "services": {name: each for name, each in self.services.items() if name not in containers},
            "flows": tuple(flow for flow in self.flows if gone.isdisjoint({flow.source, flow.destination})),
        }
        return self.model_construct(**{**dict(self), **part})

    @cached_property
    def routing(self) -> Routing | None:
        """What the router sees of the site; None where none is declared."""
        if self.router is None:
            return None
        hosts = {host.name: host for host in self.hosts if not isinstance(host, RouterHost)}
        return Routing(router=self.router, zones=self.zones, services=self.services, hosts=hosts)

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """The flows that the router forwards."""
        found = (self.routing.crossing(flow) for flow in self.flows) if self.routing else ()
        return tuple(filter(None, found))

    @cached_property
    def routed(self) -> tuple[Flow, ...]:
        """The flows of containers to guests without a leg: by the router, or on Docker-SRV's own network."""
        known = self.services, self.zones, self.docker_host, self.routing
        return tuple(flow for flow in self.flows if is_behind(flow, *known))

    @property
    def edge_leaves(self) -> bool:
        """Whether the ingress opens connections behind Docker-SRV's address."""
        return bool(self.egress) or any(flow.source == self.ingress_name for flow in self.routed)

    def gateway(self, zone: Zone) -> IPv4Address:
        """Return the address of the gateway of a zone's machines."""
        return self.router.address(zone) if self.router else zone.gateway

    @cached_property
    def edge_address(self) -> IPv4Address:
        """The one address that the ingress listens on: its own on edge, to which published ports lead."""
        (zone,) = (self.zones[z] for z in self.ingress.zones if self.zones[z].role is Role.EDGE)
        return self.address_on(self.ingress.name, zone)

    @cached_property
    def ears(self) -> Mapping[IPv4Address, tuple[int, ...]]:
        """The ingress's addresses besides that on edge, where it listens, with the TCP ports of flows there.

        They are on the networks that it shares with services that have a flow to it.
        """
        found: defaultdict[IPv4Address, dict[int, None]] = defaultdict(dict)
        for flow in self.flows_to(self.ingress_name):
            source = self.services.get(flow.source)
            for zone in (self.zones[name] for name in source.zones) if source else ():
                at = zone.ingress if zone.has_guests else self._addresses[zone.name].get(self.ingress.name)
                if at and flow.port.protocol is Protocol.TCP:
                    found[at][flow.port.number] = None
        return {at: tuple(sorted(numbers)) for at, numbers in sorted(found.items())}

    def address_on(self, name: str, zone: Zone) -> IPv4Address:
        """Return a container's address on the Docker network of one of its zones, or of its leg there."""
        return self.legs.of(name)[zone.name] if zone.has_guests else self._addresses[zone.name][name]

    @cached_property
    def _addresses(self) -> Mapping[str, Mapping[str, IPv4Address]]:
        """Addresses of containers by zone and name; known apps come first, so no new service moves one."""
        members: defaultdict[str, list[Container]] = defaultdict(list)
        for container in sorted(self.containers, key=lambda each: (each.app is None, each.name)):
            for name in container.zones:
                members[name].append(container)
        return {
            name: assigned(
                (each.name for each in found),
                self.zones[name].prefix,
                {each.name: each.addresses[name] for each in found if name in each.addresses},
            )
            for name, found in members.items()
        }

    @cached_property
    def wires(self) -> Mapping[str, frozenset[str]]:
        """Names that each name reaches on its own network by no rule of the site; guests have firewalls.

        Machines of a shared network reach each other; the zone's own name stands for those of the LAN. The
        ingress reaches what is beside its legs, and rules keep that from reaching the ingress.
        """
        found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        legs = self.legs.of(self.ingress_name)
        for zone in self.vlans:
            outsides = (z for z in self.outsides if zone in {self.around(z), self.lan_around(z)})
            lan = {zone.name} if zone in self.lans else set()
            near = frozenset(lan | {each.name for each in outsides})
            for name in (*(near if lan else ()), *([self.ingress_name or ""] if zone.name in legs else [])):
                found[name] |= near
        return found

    @cached_property
    def observed(self) -> tuple[Zone, ...]:
        """Docker zones between whose members undeclared connections pass for a while."""
        peopled = {name for each in self.containers for name in each.zones}
        return tuple(z for z in self.zones.values() if z.observed_until and z.name in peopled)

    @cached_property
    def observed_guests(self) -> tuple[Guest, ...]:
        """Guests whose firewalls let undeclared connections pass for a while."""
        return tuple(guest for guest in self.guests if guest.observed_until)

    def name_servers(self, container: Container) -> tuple[IPv4Address, ...]:
        """Return the name servers that a container asks: its own, else its host's choice if it goes out.

        Without any, an engine asks those of its host, and where these are on loopback it asks as the host,
        also for containers of internal networks (engines before 25.0.5) and for the ingress (all).
        """
        if container.dns:
            return container.dns
        if container.name == self.ingress_name:
            return self.acme.name_servers if self.acme else (NO_NAME_SERVER,)
        zones = (self.zones[name] for name in container.zones)
        zone = next((each for each in zones if each.role is Role.EGRESS), None)
        return self.docker_host_around(zone).name_servers if zone else (NO_NAME_SERVER,)

    @cached_property
    def egress(self) -> tuple[Port, ...]:
        """Ports on which containers in edge zones may reach the internet."""
        leaving = {c.name for c in self.containers if any(self.zones[z].role is Role.EDGE for z in c.zones)}
        return tuple(f.port for f in self.flows if f.destination == INTERNET and f.source in leaving)

    @cached_property
    def legs(self) -> Legs:
        """The legs of containers on networks of guests, for flows to or from guests there, ordered by tag."""
        return Legs.of_site(self.flows, self.services, self.vlans)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """One route for each declared flow from the ingress to a service, other than those of streams."""
        return tuple(
            self._route(service, flow)
            for flow in self.flows_from(self.ingress_name)
            if (service := self.services.get(flow.destination)) is not None
            and not service.streams_on(flow.port)
        )

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """Ports of the ingress that lead to a service without HTTP, by a declared flow to it."""
        return tuple(
            Stream(service=service.name, entry=each.entry, port=each.port, address=self.target(flow))
            for flow in self.flows_from(self.ingress_name)
            if (service := self.services.get(flow.destination)) is not None
            for each in service.streams
            if each.port == flow.port
        )

    @cached_property
    def _web(self) -> Entries:
        """The ingress's published ports that serve routes."""
        streaming = {each.entry for each in self.streams}
        return {port: names for port, names in self.entries.items() if port not in streaming}

    def _route(self, service: Container | Guest, flow: Flow) -> Route:
        return Route(
            service=service.name,
            port=flow.port,
            host=service.pages.get(flow.port.number, service.host),
            further=(further := flow.port.number in service.pages),
            aliases=() if further else service.aliases,
            redirects=() if further else service.redirects,
            paths=() if further else service.paths,
            strip=service.strip_paths and not further,
            requests=service.requests or Requests(),
            request_headers=service.request_headers,
            response_headers=service.response_headers,
            stated_login=service.login,
            login_url=self._login_url(service),
            url=f"{'https' if service.ca_file else 'http'}://{self.target(flow)}",
            app=service.app if isinstance(service, Container) else None,
            ca_file=service.ca_file,
            admin_page=not (
                isinstance(service, Guest) and service.app in HAS_ADMIN_PAGE and not service.admin_page
            ),
            audience=(who := audience(service.audience, self._web)),
            ports=served_on(who, self._web),
        )

    def _login_url(self, service: Container | Guest) -> str | None:
        """Return where the ingress asks whether a client may use a service."""
        provider = self.services.get(service.login or "")
        flows = self.flows_to(provider.name) if provider else ()
        flow = next((each for each in flows if each.source == self.ingress_name), None)
        return f"http://{self.target(flow)}{provider.forward_auth}" if provider and flow else None

    def page(self, service: Container | Guest) -> str:
        """Return the URL of a service's page, which its flow from the ingress serves."""
        return next((r.page for r in self.routes if r.service == service.name), f"https://{service.host}/")

    def address(self, service: Container | Guest) -> str:
        """Return the service's address on its network: a guest's IP address, a container's physical name."""
        return str(service.address) if isinstance(service, Guest) else self.physical(service.name)

    def target(self, flow: Flow) -> str:
        """Return the `host:port` that a flow's source connects to; its destination must be a service."""
        return f"{self.address(self.services[flow.destination])}:{flow.port.number}"

    @cached_property
    def entries(self) -> Entries:
        """The ingress's published ports, with who may use each: `internet`, or management zones alone."""
        return entries(
            self.flows_to(self.ingress_name), self.ingress_name, {zone.name for zone in self.outsides}
        )

    @property
    def published(self) -> tuple[Port, ...]:
        """Ports that the ingress publishes on Docker-SRV."""
        return tuple(self.entries)

    @property
    def answered(self) -> Mapping[str, str]:
        """Docker-SRV's published ports as `docker-srv:443/tcp` -> the ingress, which answers there."""
        ports = self.published if self.docker_host else ()
        return {f"{self.docker.name}:{port}": str(self.ingress_name) for port in ports}

    @cached_property
    def public(self) -> tuple[Port, ...]:
        """Published ports that the internet may use."""
        return tuple(port for port, sources in self.entries.items() if INTERNET in sources)

    @cached_property
    def admitted(self) -> Mapping[Port, tuple[IPv4Network, ...]]:
        """Published ports that are not for the internet, with the prefixes that may use each."""
        return {
            port: tuple(sorted(self.zones[name].prefix for name in sources))
            for port, sources in self.entries.items()
            if INTERNET not in sources
        }

    @cached_property
    def public_guests(self) -> frozenset[str]:
        """Guests that the internet may reach beside the ingress, by a declared flow of their own."""
        ends = (self.services.get(flow.destination) for flow in self.flows_from(INTERNET))
        return frozenset(
            end.name for end in ends if isinstance(end, Guest) and not self.zones[end.zones[0]].traits.alone
        )

    @cached_property
    def nearby(self) -> tuple[IPv4Network, ...]:
        """Prefixes outside the internet: the special-purpose ones and the site's own."""
        return nearby(SPECIAL, (zone.prefix for zone in self.zones.values()))

    def is_routed(self, guest: Guest) -> bool:
        """Whether a guest has flows beyond its VLAN and so needs the router at its zone's gateway address."""
        near = self.zones[guest.zones[0]]
        outside = {INTERNET, *(zone.name for zone in self.outsides if self.around(zone) != near)}
        flows = (*self.flows_from(guest.name), *self.flows_to(guest.name))
        if self.router:
            through = {each.flow for each in self.crossings}
            if any(flow in through or flow.destination == self.router.name for flow in flows):
                return True
            if not self.routing or not self.routing.is_before(near):
                return False
        return any(outside & {flow.source, flow.destination} for flow in flows)

    def user_data(self, guest: Guest) -> str | None:
        """Return Proxmox's id of the guest's cloud-init file; None where the guest has none."""
        file = f"{self.physical(guest.name)}.yaml"
        return (
            f"{snippets}:snippets/{file}"
            if sets_itself_up(guest) and (snippets := self.node_of(guest).snippets)
            else None
        )

    @property
    def router_user_data(self) -> str | None:
        """Proxmox's id of the cloud-init file of a router that is a guest; None where there is none."""
        if self.router is None or self.router.guest is None:
            return None
        snippets = self.node_of(self.router.guest).snippets
        return f"{snippets}:snippets/{self.physical(self.router.name)}.yaml" if snippets else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Configuration keys of the secrets that the site needs."""
        needed = {
            "grafana:adminPassword": any(c.app is App.GRAFANA for c in self.containers),
            "traefik:users": any(route.login == BASIC for route in self.routes),
            "ssh:privateKey": any(host.ssh for host in (*self.docker_hosts, self.router) if host),
        }
        login = self.acme.credentials if self.acme else ()
        own = (key for key, is_needed in needed.items() if is_needed)
        held = dict.fromkeys(key for container in self.containers for key in container.secret_keys)
        return (*own, *(f"acme:{name}" for name in login), *held)

    def bridge(self, zone: Zone) -> str:
        """Return the name of a Docker zone's bridge, cut to the maximum length of a Linux interface name."""
        return f"br-{self.physical(zone.network)}"[:15]

    def parent(self, zone: Zone) -> str:
        """Return the interface of Docker-SRV that carries the legs on a zone of guests."""
        return f"{self.docker.trunk}.{zone.vlan}" if zone.vlan else str(zone.parent or self.docker.trunk)

    def physical(self, name: str) -> str:
        """Return the name of a resource in the engine or in Proxmox."""
        return f"{self.name_prefix}{name}"
