"""What the stack file declares of a site, with its parts by kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from graphlib import TopologicalSorter
from ipaddress import IPv4Interface, IPv4Network
from typing import TypeVar

from pydantic import Field

from topology.model.apps import App
from topology.model.certificates import Acme, Certificate, Certificates, Unencrypted
from topology.model.flows import Flow, Temporary
from topology.model.hosts import DockerHost, ProxmoxHost
from topology.model.judgement import Assertion, PolicyException
from topology.model.limits import NamedVolume
from topology.model.roles import Role
from topology.model.router import RouterGuest, RouterHost
from topology.model.services import Container, Guest
from topology.model.values import Flag, HostName, Prefix, Value
from topology.model.vantages import ImageVantage, SshVantage
from topology.model.volumes import Volumes
from topology.model.zones import Zone, lans, zone_around

_T = TypeVar("_T")


class DeclaredSite(Value):
    """The keys of a stack file as values, and lookups by kind. `Topology` adds what follows from them."""

    domain: HostName
    name_prefix: Prefix = ""
    """Prefix of the physical names of containers, networks, volumes and VMs."""
    protect: Flag = True
    """Whether volumes and guests are protected from deletion."""
    docker_hosts: tuple[DockerHost, ...] = ()
    """The ingress's first; none: a site of guests alone, which has no ingress either."""
    proxmox_hosts: tuple[ProxmoxHost, ...] = ()
    """The nodes of one Proxmox cluster, by name; none: a site of containers alone."""
    router: RouterHost | None = None
    """None: where something joins the site's networks, it is assumed to filter nothing."""
    zones: Mapping[str, Zone]
    services: Mapping[str, Container | Guest]
    volumes: Mapping[str, NamedVolume] = Field(default_factory=dict)
    """Named volumes of containers that this stack does not simply make."""
    flows: tuple[Flow, ...]
    temporary: tuple[Temporary, ...] = ()
    """The subset of `flows` that has an end date."""
    tls: Certificate | Acme | None = None
    """The ingress's certificates; None: there is no ingress."""
    certificates: Certificates = Certificates()
    unencrypted: tuple[Unencrypted, ...] = ()
    exceptions: tuple[PolicyException, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    vantages: Mapping[str, SshVantage | ImageVantage] = Field(default_factory=dict)

    @property
    def docker_host(self) -> DockerHost | None:
        """Docker-SRV, on which the ingress is; None: a site of guests alone."""
        return next(iter(self.docker_hosts), None)

    @property
    def docker(self) -> DockerHost:
        """Docker-SRV, for code about its half; raises LookupError for a site without it."""
        return _there(self.docker_host, "Docker host")

    @property
    def proxmox_host(self) -> ProxmoxHost | None:
        """Proxmox-SRV, or the first node of its cluster; None: a site of containers alone."""
        return next(iter(self.proxmox_hosts), None)

    @property
    def proxmox(self) -> ProxmoxHost:
        """Proxmox-SRV, or the first node of its cluster; raises LookupError for a site without one."""
        return _there(self.proxmox_host, "Proxmox host")

    def docker_host_around(self, zone: Zone) -> DockerHost:
        """Return the Docker host that a Docker zone, and so each of its containers, is on."""
        return next((host for host in self.docker_hosts if host.name == zone.docker_host), self.docker)

    def node_of(self, guest: Guest | RouterGuest) -> ProxmoxHost:
        """Return the node that a guest is on."""
        return next((host for host in self.proxmox_hosts if host.name == guest.node), self.proxmox)

    def template_node(self, host: ProxmoxHost) -> ProxmoxHost:
        """Return the node that a host's template is on: itself, or the first that shares it."""
        same = (
            each
            for each in self.proxmox_hosts
            if each.shared_storage and (each.storage, each.template) == (host.storage, host.template)
        )
        return next(same, host) if host.shared_storage else host

    @cached_property
    def hosts(self) -> tuple[DockerHost | ProxmoxHost | RouterHost, ...]:
        """The hosts that the site has: Docker hosts, Proxmox nodes and the router, in this order."""
        return (*self.docker_hosts, *self.proxmox_hosts, *filter(None, (self.router,)))

    @cached_property
    def ingress_name(self) -> str | None:
        """Name of the one service whose app is Traefik; None for a site without Docker-SRV."""
        return next((c.name for c in self.containers if c.app is App.TRAEFIK), None)

    @cached_property
    def ingress(self) -> Container:
        """The ingress, for code about Docker-SRV; raises LookupError for a site without it."""
        return _there(next((c for c in self.containers if c.name == self.ingress_name), None), "ingress")

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container service, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Container))

    @cached_property
    def named_volumes(self) -> Volumes:
        """Every named volume of the containers."""
        return Volumes.of(self.containers, self.volumes, self.name_prefix)

    @property
    def containers_in_order(self) -> tuple[Container, ...]:
        """Every container after those that it depends on, or has a volume of, else in declared order."""
        named = {container.name: container for container in self.containers}
        waits = {
            name: (*each.depends_on, *self.named_volumes.borrowed(each).values())
            for name, each in named.items()
        }
        order = TopologicalSorter(waits).static_order()
        return tuple(named[name] for name in order)

    @cached_property
    def guests(self) -> tuple[Guest, ...]:
        """Every guest, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Guest))

    @cached_property
    def vlans(self) -> tuple[Zone, ...]:
        """Zones of guests, ordered by tag, those without one first."""
        return tuple(sorted((z for z in self.zones.values() if z.has_guests), key=lambda z: z.vlan or 0))

    @cached_property
    def lans(self) -> tuple[Zone, ...]:
        """The zones of guests whose network is shared with other machines: without a tag, or management's."""
        shared = lans(self.zones.values())
        return tuple(zone for zone in self.vlans if zone in shared)

    def lan_around(self, zone: Zone) -> Zone | None:
        """Return the shared network that machines outside the site are on; None: they are elsewhere."""
        return next((lan for lan in self.lans if zone.prefix.overlaps(lan.prefix)), None)

    def bridge_of(self, guest: Guest) -> str:
        """Return the bridge that a guest's card is on."""
        return self.zones[guest.zones[0]].bridge or self.node_of(guest).bridge

    @property
    def needs_bridge(self) -> bool:
        """Whether some zone of guests is on the hosts' bridge; others have a bridge that is there already."""
        return any(zone.bridge is None for zone in self.vlans) or not self.vlans

    @property
    def acme(self) -> Acme | None:
        """The ACME server of the ingress's certificates; None: the certificates come from files."""
        return self.tls if isinstance(self.tls, Acme) else None

    @cached_property
    def management(self) -> tuple[Zone, ...]:
        """Management zones."""
        return tuple(z for z in self.zones.values() if z.role is Role.MANAGEMENT)

    @cached_property
    def outsides(self) -> tuple[Zone, ...]:
        """Zones in which nothing is built, and which flows may name: management and external machines."""
        return tuple(z for z in self.zones.values() if z.is_outside)

    def around(self, zone: Zone) -> Zone | None:
        """Return the zone of guests on whose network external machines are; None: they are elsewhere."""
        return zone_around(zone, self.zones.values())

    @property
    def local_network(self) -> IPv4Network | None:
        """Prefix of the management zone that contains the Proxmox node's address, else of the first one."""
        near = [zone for zone in self.management if self.near_node(zone)]
        return next((zone.prefix for zone in near or self.management), None)

    def near_node(self, zone: Zone) -> bool:
        """Whether the Proxmox nodes' addresses are in a management zone; true where none is declared."""
        address = self.proxmox_host and self.proxmox_host.address
        return address is None or address in zone.prefix

    def flows_from(self, name: str | None) -> tuple[Flow, ...]:
        """Return the declared flows whose source is `name`; none for None."""
        return tuple(f for f in self.flows if f.source == name)

    def flows_to(self, name: str | None) -> tuple[Flow, ...]:
        """Return the declared flows whose destination is `name`; none for None."""
        return tuple(f for f in self.flows if f.destination == name)

    @cached_property
    def exits(self) -> tuple[Zone, ...]:
        """Egress zones, by which containers other than the ingress leave the site."""
        return tuple(z for z in self.zones.values() if z.role is Role.EGRESS)

    @cached_property
    def probes(self) -> tuple[Zone, ...]:
        """Probe zones, from which Docker-SRV is monitored."""
        return tuple(z for z in self.zones.values() if z.role is Role.PROBE)

    @cached_property
    def node_interface(self) -> IPv4Interface | None:
        """Proxmox-SRV's own address with its management zone's prefix length; None where it has none."""
        ip = self.proxmox_host and self.proxmox_host.address
        prefixes = (zone.prefix for zone in self.management if ip and ip in zone.prefix)
        return next((IPv4Interface(f"{ip}/{prefix.prefixlen}") for prefix in prefixes), None)

    @cached_property
    def ssh_vantages(self) -> Mapping[str, SshVantage]:
        """Machines from which the live probe runs over SSH, by the source that each represents."""
        return {name: v for name, v in self.vantages.items() if isinstance(v, SshVantage)}

    @cached_property
    def probe_image(self) -> str | None:
        """Image in which the live probe runs for containers; None: it enters the containers' namespaces."""
        return next((v.image for v in self.vantages.values() if isinstance(v, ImageVantage)), None)


def _there(part: _T | None, what: str) -> _T:
    if part is None:
        raise LookupError(f"the site has no {what}")
    return part
