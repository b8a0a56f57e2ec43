"""What the parts of a declared site mean to each other, and every way in which that can be wrong.

Owns the semantic checks of the configuration: small functions over what could be read. It deliberately
checks no shape (`topology.config`) and proves nothing (`reachability.engine`): it refuses flows that can
never work and leaves the others to the proof. What a reader would get wrong: `Site.unreadable` holds what was
declared but faulty; nothing here may call that missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Final

from topology.fault import Fault, nearest, shown
from topology.model import (
    ASKS_FOR_CERTIFICATES,
    INTERNET,
    READS_LOGS,
    SPEAKS_TLS,
    SSH,
    WRITES_LOGS,
    Acme,
    App,
    Assertion,
    Certificate,
    Certificates,
    Container,
    DockerHost,
    Exemption,
    Flow,
    Guest,
    GuestApp,
    ImageVantage,
    Plain,
    Port,
    Protocol,
    ProxmoxHost,
    Role,
    SshVantage,
    Temporary,
    Topology,
    Zone,
)
from topology.prefixes import SPECIAL

API: Final = Port(number=8006)
"""Where the Proxmox API listens."""

CONTAINERS: Final = "containers"
"""The vantage that stands for every container and Docker network, not for a source of this name."""
_LENGTHS: Final = range(16, 31)
"""Prefix lengths of a zone: /30 has room for a gateway and one more, and beyond /16 no homelab goes."""
_SET_ASIDE: Final = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
"""Prefixes that no network can have (IANA's special-purpose registry, RFC 6890)."""
_PROXY_LENGTH: Final = 8
"""Shortest prefix of a trusted proxy; whoever trusts more trusts everybody."""
_PREDEFINED: Final = ("bridge", "host", "none")
"""Networks that every Docker engine has already."""
_LABEL: Final = range(1, 64)
"""Length of a DNS label (RFC 1123), by which containers look each other up."""
_GROUP: Final = range(2, 19)
"""Length of the name of a Proxmox security group (API schema: `pve-security-group-name`)."""
_BRIDGE: Final = 12
"""Characters of a Docker network's name that fit behind `br-` in the name of its bridge interface."""
_VLAN_ROLES: Final = (Role.TENANT, Role.ISOLATED)
_UPSTREAM: Final = {
    App.PROMETHEUS_UI: App.PROMETHEUS,
    App.LOKI_GATEWAY: App.LOKI,
    **dict.fromkeys(WRITES_LOGS, App.LOKI_GATEWAY),
}
_WATCHERS: Final = (App.BLACKBOX_EXPORTER, App.PROMETHEUS)

Reason = tuple[str, str]
"""A fault and its remedy, for whoever knows the path."""

_PATH = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?:[a-z0-9.-]+(?::\d+)?/)?{_PATH}(?:/{_PATH})*(?::(?P<tag>\w[\w.-]{{0,127}}))?(?P<digest>@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
"""An image reference, after the grammar of the distribution project's `reference` package."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What could be read. Flows, plain ones, exceptions and assertions go by their path in the file."""

    domain: str
    name_prefix: str
    protect: bool
    hosts: Mapping[str, DockerHost | ProxmoxHost]
    zones: Mapping[str, Zone]
    services: Mapping[str, Container | Guest]
    flows: Mapping[str, Flow]
    temporary: tuple[Temporary, ...]
    tls: Certificate | Acme | None
    certificates: Certificates
    plain: Mapping[str, Plain]
    exceptions: Mapping[str, Exemption]
    assertions: Mapping[str, Assertion]
    vantages: Mapping[str, SshVantage | ImageVantage]
    unreadable: frozenset[str]
    """Paths of whatever was declared and could not be read."""

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
    def ends(self) -> dict[str, list[str]]:
        """Whatever can be an end of a flow: its name, and the paths that claim it."""
        ends = {INTERNET: ["everything outside"]}
        for section, names in (
            ("hosts", self.hosts),
            ("zones", self.management),
            ("services", self.services),
        ):
            for name in names:
                ends.setdefault(name, []).append(f"{section}.{name}")
        return ends

    def is_placed(self, service: Container | Guest) -> bool:
        """Whether all its zones are known, and are such as it can be in."""
        zones = [self.zones.get(name) for name in service.zones]
        if isinstance(service, Guest):
            return all(zone and zone.role in _VLAN_ROLES for zone in zones)
        return all(zone and zone.is_docker for zone in zones)

    @cached_property
    def routed(self) -> set[str]:
        """What the ingress has a flow to."""
        return {f.destination for f in self.flows.values() if self.ingress and f.source == self.ingress.name}

    @cached_property
    def leg_zones(self) -> set[str]:
        """VLAN zones with a guest that the ingress has a flow to."""
        return {guest.zones[0] for guest in self.guests if guest.name in self.routed}

    @cached_property
    def management(self) -> tuple[str, ...]:
        """Names of the management zones."""
        return tuple(z.name for z in self.zones.values() if z.role is Role.MANAGEMENT)

    def roles(self, service: Container | Guest) -> set[Role]:
        """Roles of those of its zones that could be read."""
        return {self.zones[name].role for name in service.zones if name in self.zones}

    def unreadable_in(self, section: str) -> bool:
        """Whether anything in a section could not be read, so that an absence there proves nothing."""
        return any(re.match(rf"{section}\b", path) for path in self.unreadable)

    def is_unreadable(self, name: str, *sections: str) -> bool:
        """Whether a name may be one of a section's that could not be read."""
        return any(self.unreadable & {section, f"{section}.{name}"} for section in sections)

    def topology(self) -> Topology:
        """The site as a value; only for one without faults."""
        return Topology.model_validate(
            {
                "domain": self.domain,
                "name_prefix": self.name_prefix,
                "protect": self.protect,
                "docker": next(h for h in self.hosts.values() if isinstance(h, DockerHost)),
                "proxmox": next(h for h in self.hosts.values() if isinstance(h, ProxmoxHost)),
                "zones": self.zones,
                "services": self.services,
                "flows": tuple(self.flows.values()),
                "temporary": self.temporary,
                "tls": self.tls,
                "certificates": self.certificates,
                "plain": tuple(self.plain.values()),
                "exceptions": tuple(self.exceptions.values()),
                "assertions": tuple(self.assertions.values()),
                "vantages": self.vantages,
            }
        )


def check(site: Site) -> list[Fault]:
    """Every fault of every check, in the order of the file's sections."""
    return [fault for one in _CHECKS for fault in one(site)]


def _hosts(site: Site) -> Iterator[Fault]:
    """One engine and one Proxmox node are built on."""
    for kind, what in ((DockerHost, "docker"), (ProxmoxHost, "proxmox")):
        found = [name for name, host in site.hosts.items() if isinstance(host, kind)]
        if len(found) > 1:
            yield Fault("hosts", f"{' and '.join(found)} are both of kind {what}", "keep one")
        if not found and not site.unreadable_in("hosts"):
            yield Fault("hosts", f"no host is of kind {what}", "declare one")


def _proxies(site: Site) -> Iterator[Fault]:
    """A trusted proxy is somebody, not everybody."""
    for host in site.hosts.values():
        for index, prefix in enumerate(host.trusted_proxies if isinstance(host, DockerHost) else ()):
            if prefix.prefixlen < _PROXY_LENGTH:
                yield Fault(
                    f"hosts.{host.name}.trusted-proxies[{index}]",
                    f"{prefix} is nearly everybody",
                    "name the addresses of the proxies",
                )


def _names(site: Site) -> Iterator[Fault]:
    """A flow names its ends; whatever can be an end needs a name of its own."""
    for name, (first, *others) in site.ends.items():
        for path in others:
            yield Fault(path, f"{name} is the name of {first} already", "rename it, so that flows are clear")


def _physical_names(site: Site) -> Iterator[Fault]:
    """Names must fit where the engine, Proxmox and the kernel put them."""
    for service in site.services.values():
        physical = f"{site.name_prefix}{service.name}"
        limits = _GROUP if isinstance(service, Guest) else _LABEL
        if len(physical) not in limits:
            kind = "Proxmox security group" if isinstance(service, Guest) else "container"
            yield Fault(
                f"services.{service.name}",
                f"{physical} has {len(physical)} characters as a name of a {kind}",
                f"use {limits[0]}-{limits[-1]}, name-prefix included",
            )
    bridges: dict[str, str] = {}
    legs = {z.network for z in site.zones.values() if z.vlan}
    for zone in (z for z in site.zones.values() if z.is_docker):
        physical = f"{site.name_prefix}{zone.name}"
        if physical in _PREDEFINED or zone.name in legs:
            yield Fault(
                f"zones.{zone.name}", f"a Docker network {physical} is there already", "rename the zone"
            )
        first = bridges.setdefault(physical[:_BRIDGE], zone.name)
        if first != zone.name:
            yield Fault(
                f"zones.{zone.name}",
                f"its bridge would be named br-{physical[:_BRIDGE]}, as that of zones.{first}",
                f"let the first {_BRIDGE} characters differ, name-prefix included",
            )


def _prefixes(site: Site) -> Iterator[Fault]:
    """Every zone has a usable prefix of its own."""
    for zone in site.zones.values():
        path, prefix = f"zones.{zone.name}.prefix", zone.prefix
        if prefix.prefixlen not in _LENGTHS:
            yield Fault(
                path, f"/{prefix.prefixlen} is no size for a zone", f"use /{_LENGTHS[0]} to /{_LENGTHS[-1]}"
            )
        if any(map(prefix.overlaps, _SET_ASIDE)):
            yield Fault(
                path, f"{prefix} is set aside and never routed", "use a private prefix like 10.10.10.0/24"
            )
    for one, other in combinations(site.zones.values(), 2):
        if one.prefix.overlaps(other.prefix):
            yield Fault(
                f"zones.{other.name}.prefix",
                f"{other.prefix} overlaps {one.prefix} of zones.{one.name}",
                "give each zone a prefix of its own",
            )


def _vlans(site: Site) -> Iterator[Fault]:
    """Tenant and isolated zones are VLANs, each with its own tag, and no other zone is."""
    for zone in site.zones.values():
        path = f"zones.{zone.name}"
        if zone.role in _VLAN_ROLES:
            if zone.vlan is None:
                yield Fault(f"{path}.vlan", f"a zone of role {zone.role} needs a VLAN tag", "add one, 1-4094")
            continue
        for key in ("vlan", "ingress"):
            if getattr(zone, key) is not None:
                yield Fault(
                    f"{path}.{key}",
                    f"a zone of role {zone.role} has none",
                    f"remove it, or use role {' or '.join(_VLAN_ROLES)}",
                )
    yield from _twice(
        ((f"zones.{z.name}.vlan", z.vlan) for z in site.zones.values() if z.vlan),
        "give each zone its own tag",
    )


def _roles(site: Site) -> Iterator[Fault]:
    """One edge, somebody who manages, and no zone without the services it is there for."""
    edges = [zone.name for zone in site.zones.values() if zone.role is Role.EDGE]
    if len(edges) > 1:
        yield Fault(
            "zones", f"{' and '.join(edges)} are all of role edge", "keep one: there is a single way in"
        )
    if not site.unreadable_in("zones"):
        if not edges:
            yield Fault(
                "zones", "no zone is of role edge", "add the one that the ingress publishes its ports on"
            )
        if not site.management:
            yield Fault(
                "zones",
                "no zone is of role management, and the datacenter firewall drops all but management",
                "add one, or everybody is locked out of Proxmox",
            )
    if site.unreadable_in("services"):
        return
    members = Counter(name for service in site.services.values() for name in service.zones)
    for zone in site.zones.values():
        if not members[zone.name] and zone.role not in (Role.MANAGEMENT, Role.EDGE):
            yield Fault(
                f"zones.{zone.name}", "no service is in this zone", "put one there, or remove the zone"
            )


def _isolated(site: Site) -> Iterator[Fault]:
    """An isolated zone has one tenant."""
    for zone in (z for z in site.zones.values() if z.role is Role.ISOLATED):
        tenants = [guest.name for guest in site.guests if zone.name in guest.zones]
        if len(tenants) > 1:
            yield Fault(
                f"zones.{zone.name}",
                f"{' and '.join(tenants)} share this isolated zone",
                "give each guest an isolated zone of its own",
            )


def _addresses(site: Site) -> Iterator[Fault]:
    """Every address lies in its zone, is free there, and is nobody else's."""
    owners: list[tuple[str, IPv4Address, Zone]] = [
        (f"zones.{zone.name}.ingress", zone.ingress, zone)
        for zone in site.zones.values()
        if zone.ingress and zone.vlan
    ]
    owners += [
        (f"services.{guest.name}.address", guest.address, site.zones[guest.zones[0]])
        for guest in site.guests
        if site.is_placed(guest)
    ]
    nodes = [host for host in site.hosts.values() if isinstance(host, ProxmoxHost) and host.address]
    for node in nodes if site.management and not site.unreadable_in("zones") else ():
        path, inside = f"hosts.{node.name}.address", [site.zones[name] for name in site.management]
        zones = [zone for zone in inside if node.address in zone.prefix]
        owners += [(path, node.address, zone) for zone in zones if node.address]
        if not zones:
            yield Fault(path, f"{node.address} is in no management zone", "use one there, or leave it out")
    for path, address, zone in owners:
        if zone.prefix.prefixlen not in _LENGTHS:
            continue
        if address not in zone.prefix:
            fault = f"{address} is outside {zone.prefix}, the prefix of zones.{zone.name}"
        elif address in (zone.prefix.network_address, zone.prefix.broadcast_address):
            fault = f"{address} is the network or broadcast address of zones.{zone.name}"
        elif address == zone.gateway:
            fault = f"{address} is the gateway of zones.{zone.name}"
        else:
            continue
        yield Fault(path, fault, f"use one of {zone.prefix[2]}-{zone.prefix[-2]}")
    yield from _twice(((path, address) for path, address, _ in owners), "give each its own address")


def _virtual_machines(site: Site) -> Iterator[Fault]:
    """A VM id is used once, the template's included."""
    ids = [
        (f"hosts.{h.name}.template", h.template) for h in site.hosts.values() if isinstance(h, ProxmoxHost)
    ]
    ids += [(f"services.{guest.name}.vm", guest.vm) for guest in site.guests]
    yield from _twice(ids, "give each VM its own id")


def _memberships(site: Site) -> Iterator[Fault]:
    """Guests sit on VLANs, containers join Docker networks, and what is exposed stays off the backend."""
    for service in site.services.values():
        guest = isinstance(service, Guest)
        yield from _twice(
            ((f"services.{service.name}.zones[{i}]", name) for i, name in enumerate(service.zones)),
            "name each zone once",
        )
        for index, name in enumerate(service.zones):
            path = f"services.{service.name}.{'zone' if guest else f'zones[{index}]'}"
            zone = site.zones.get(name)
            if zone is None:
                if not site.is_unreadable(name, "zones"):
                    near = nearest(name, site.zones)
                    yield Fault(
                        path,
                        f"there is no zone {name}",
                        f"write {near}" if near else "declare it under zones",
                    )
            elif guest and zone.role not in _VLAN_ROLES:
                yield Fault(
                    path, f"{name} is of role {zone.role}, and a guest sits on a VLAN", "name a VLAN zone"
                )
            elif not guest and zone.role in (*_VLAN_ROLES, Role.MANAGEMENT):
                yield Fault(
                    path,
                    f"{name} is of role {zone.role}, and a container joins Docker networks",
                    "name an edge, frontend, query, backend or probe zone",
                )
        if site.roles(service) >= {Role.FRONTEND, Role.BACKEND}:
            yield Fault(
                f"services.{service.name}.zones",
                "joins frontend and backend, so that whoever breaks it reaches every backend service",
                "use a query zone between them",
            )


def _probe(site: Site) -> Iterator[Fault]:
    """Whoever looks as a stranger is nothing else besides, and nobody else sees what it sees."""
    for container in site.containers:
        path, roles = f"services.{container.name}.zones", site.roles(container)
        if container.app is App.BLACKBOX_EXPORTER and roles - {Role.PROBE}:
            yield Fault(
                path,
                "the blackbox exporter sees Docker-SRV as a stranger does",
                "let it join a probe zone alone",
            )
        if container.app not in _WATCHERS and Role.PROBE in roles:
            yield Fault(
                path,
                f"{container.name} joins a probe zone, which is for the blackbox exporter and Prometheus",
                "leave it out",
            )


def _services(site: Site) -> Iterator[Fault]:
    """Ports are named once, an app runs once, an image is pinned."""
    for service in site.services.values():
        yield from _twice(
            ((f"services.{service.name}.ports[{i}]", port) for i, port in enumerate(service.ports)),
            "name each port once",
        )
    for container in site.containers:
        yield from _image(f"services.{container.name}.image", container.image)
    yield from _twice(
        ((f"services.{c.name}.app", c.app) for c in site.containers if c.app), "run each app once"
    )


def _existing_bridge(site: Site) -> Iterator[Fault]:
    """Whoever has a bridge already has given it its ports as well."""
    for host in site.hosts.values():
        if isinstance(host, ProxmoxHost) and host.existing_bridge and host.uplink:
            yield Fault(
                f"hosts.{host.name}.uplink",
                f"{host.bridge} is there already, with the ports that it has",
                "remove it, or existing-bridge",
            )


def _guest_apps(site: Site) -> Iterator[Fault]:
    """A guest that sets itself up has a file to do so, one port to serve, and software that is pinned."""
    proxmox = [host for host in site.hosts.values() if isinstance(host, ProxmoxHost)]
    for guest in site.guests:
        path, from_debian = f"services.{guest.name}", guest.app is GuestApp.WORDPRESS
        if guest.app is None or from_debian:
            if guest.image:
                what = (
                    "wordpress comes from Debian's packages" if from_debian else "there is no app to run it"
                )
                yield Fault(f"{path}.image", what, "leave it out")
        elif guest.image is not None and (
            (match := _IMAGE.fullmatch(guest.image)) is None or match["digest"] is None
        ):
            yield Fault(
                f"{path}.image",
                f"{guest.app} needs an image that a digest pins",
                "write it like example/wiki:2.5.1@sha256:…",
            )
        if guest.app is None:
            continue
        if [port.protocol for port in guest.ports if port != SSH] != [Protocol.TCP]:
            yield Fault(
                f"{path}.ports", f"{guest.app} serves one TCP port", "name it, and beside it 22 at most"
            )
        if guest.sets_itself_up and SSH in guest.ports and proxmox and not proxmox[0].authorized_keys:
            yield Fault(
                f"{path}.ports",
                "22/tcp is open, and nobody can log in",
                f"add hosts.{proxmox[0].name}.authorized-keys, or remove the port",
            )
        if guest.sets_itself_up and proxmox and not proxmox[0].snippets:
            yield Fault(
                f"{path}.app",
                "there is no storage for its cloud-init file",
                f"add hosts.{proxmox[0].name}.snippets, or remove the app",
            )


def _admin_pages(site: Site) -> Iterator[Fault]:
    """Only what the ingress keeps from everybody can be let through."""
    for guest in site.guests:
        if guest.admin_page and guest.app is not GuestApp.VAULTWARDEN:
            yield Fault(
                f"services.{guest.name}.admin-page",
                f"{guest.name} is not declared as Vaultwarden",
                "add app: vaultwarden, or remove it",
            )


def _guest_authorities(site: Site) -> Iterator[Fault]:
    """Whether a guest that sets itself up speaks TLS is its app's to say."""
    for guest in (guest for guest in site.guests if guest.app and guest.sets_itself_up):
        path = f"services.{guest.name}.authority"
        if guest.authority and guest.app not in SPEAKS_TLS:
            yield Fault(
                path, f"{guest.app} is set up without TLS", "leave it out, and declare the flow plain"
            )
        if not guest.authority and guest.app in SPEAKS_TLS and guest.name in site.routed:
            yield Fault(
                path,
                f"{guest.app} answers by TLS alone, and nothing says who signed its certificate",
                "name the PEM file of whoever did",
            )


def _image(path: str, image: str) -> Iterator[Fault]:
    """An image is pinned."""
    if (match := _IMAGE.fullmatch(image)) is None:
        yield Fault(path, f"{shown(image)} is not an image reference", "write it like grafana/grafana:12.1.0")
    elif match["digest"] is None and match["tag"] in (None, "latest"):
        yield Fault(path, f"{shown(image)} names no version", "pin one, or a digest")


def _ingress(site: Site) -> Iterator[Fault]:
    """One ingress, alone on edge, and nowhere behind the frontend."""
    ingress = site.ingress
    if ingress is None:
        if not site.unreadable_in("services"):
            yield Fault("services", "no service is the ingress", "give one app: traefik")
        return
    path = f"services.{ingress.name}.zones"
    if site.zones and not site.unreadable_in("zones") and Role.EDGE not in site.roles(ingress):
        yield Fault(path, "the ingress is not on edge, where its ports are published", "add the edge zone")
    for name in sorted(
        n for n in ingress.zones if n in site.zones and site.zones[n].role in (Role.QUERY, Role.BACKEND)
    ):
        yield Fault(
            path, f"the ingress must not join {name}, of role {site.zones[name].role}", "leave it out"
        )
    for container in site.containers:
        if container.name != ingress.name and Role.EDGE in site.roles(container):
            yield Fault(
                f"services.{container.name}.zones",
                f"{container.name} joins edge, which is for the ingress alone",
                "use a frontend zone and a flow from the ingress",
            )


def _flows(site: Site) -> Iterator[Fault]:
    """Every flow has two ends, a port that listens, and a way to work that breaks no hard rule."""
    yield from _twice(((path, flow) for path, flow in site.flows.items()), "declare it once")
    for path, flow in site.flows.items():
        unknown = [*filter(None, (_unknown_source(site, flow.source), _unknown_end(site, flow.destination)))]
        for fault, remedy in unknown:
            yield Fault(path, fault, remedy)
        if unknown or any(len(site.ends.get(name, ())) > 1 for name in (flow.source, flow.destination)):
            continue
        if reason := _obstacle(site, flow) or _closed_port(site, flow):
            yield Fault(path, f"{flow} {reason[0]}", reason[1])


def _unknown_source(site: Site, name: str) -> Reason | None:
    known = (INTERNET, *site.management, *site.services)
    return _unknown(site, "source", name, known, "a service, a management zone or internet")


def _unknown_end(site: Site, name: str) -> Reason | None:
    known = (INTERNET, *site.hosts, *site.services)
    return _unknown(site, "destination", name, known, "a service, a host or internet")


def _unknown(site: Site, role: str, name: str, known: Collection[str], wanted: str) -> Reason | None:
    """Names that nobody has; silent about declared ones that could not be read."""
    if name in known or site.is_unreadable(name, "hosts", "zones", "services"):
        return None
    for what, names in (("a host", site.hosts), ("a zone", site.zones)):
        if name in names:
            return f"the {role} {name} is {what}", f"name {wanted}"
    near = nearest(name, known)
    return (
        f"the {role} {name} is declared nowhere",
        f"write {near}, or declare it" if near else f"name {wanted}",
    )


def _closed_port(site: Site, flow: Flow) -> Reason | None:
    end = site.services.get(flow.destination) or site.hosts.get(flow.destination)
    ports = () if end is None or isinstance(end, DockerHost) else end.ports
    if end is None or flow.port in ports:
        return None
    listed = f"has {', '.join(map(str, ports))}" if ports else "has no ports"
    return f"goes to a port that is not there: {end.name} {listed}", "correct the flow or the ports"


def _obstacle(site: Site, flow: Flow) -> Reason | None:
    """Why a flow between known ends must not be, or can never work."""
    return next(filter(None, (rule(site, flow) for rule in _FLOW_RULES)), None)


def _to_itself(_: Site, flow: Flow) -> Reason | None:
    return ("leads back to where it comes from", "remove it") if flow.source == flow.destination else None


def _second_way_in(site: Site, flow: Flow) -> Reason | None:
    if flow.source != INTERNET or site.ingress is None or flow.destination == site.ingress.name:
        return None
    remedy = f"write {site.ingress.name} as its source" if flow.destination in site.services else "remove it"
    return "opens a second way in beside the ingress", remedy


def _to_host(site: Site, flow: Flow) -> Reason | None:
    if flow.destination not in site.hosts or flow.source not in site.services:
        return None
    return "reaches a host from outside management", "write a management zone as its source"


def _egress(site: Site, flow: Flow) -> Reason | None:
    if flow.destination != INTERNET:
        return None
    if flow.source in site.management:
        return "leaves from management, where nothing is built", "remove it"
    source = site.services.get(flow.source)
    if isinstance(source, Container) and site.ingress and source != site.ingress:
        return "can never work: the ingress alone has a way out", "remove it, or make the service a guest"
    return None


def _from_management(site: Site, flow: Flow) -> Reason | None:
    end = site.services.get(flow.destination)
    if flow.source not in site.management or not isinstance(end, Container) or end == site.ingress:
        return None
    return "can never work: management reaches containers through the ingress alone", "remove it"


def _logs(site: Site, flow: Flow) -> Reason | None:
    """Loki lets whoever gets in read, write and delete: its gateway alone does, and lets each do his part."""
    match _ends(site, flow):
        case Container() as source, Container(app=App.LOKI) if source.app not in (
            App.LOKI_GATEWAY,
            App.TRAEFIK,
        ):
            gateway = next((c.name for c in site.containers if c.app is App.LOKI_GATEWAY), None)
            return (
                "leads past the gateway, and Loki lets whoever gets there read, write and delete",
                f"name {gateway} as its destination"
                if gateway
                else "let a service of app loki-gateway pass it on",
            )
        case Container() as source, Container(app=App.LOKI_GATEWAY) if source.app not in (
            READS_LOGS | WRITES_LOGS | {App.TRAEFIK}
        ):
            known = ", ".join(sorted(READS_LOGS | WRITES_LOGS))
            return (
                "opens nothing: the gateway knows readers and writers of logs by their app",
                f"use one of {known}",
            )
    return None


def _between_containers(site: Site, flow: Flow) -> Reason | None:
    match _ends(site, flow):
        case Container() as source, Container() as end:
            if source == site.ingress and Role.FRONTEND not in site.roles(end):
                return "is a route to a backend service", "route to a service on a frontend zone that asks it"
            if not set(source.zones) & set(end.zones):
                return "can never work: they share no Docker network", "let both join one zone"
    return None


def _onto_vlan(site: Site, flow: Flow) -> Reason | None:
    match _ends(site, flow):
        case Container() as source, Guest() as end:
            if source != site.ingress:
                return "can never work: the ingress alone has legs on VLANs", "remove it"
            if site.zones[zone := end.zones[0]].ingress is None:
                return f"needs a leg of the ingress on {zone}", f"add zones.{zone}.ingress, an address there"
    return None


def _off_vlan(site: Site, flow: Flow) -> Reason | None:
    match _ends(site, flow):
        case Guest() as source, Container() as end:
            if end != site.ingress:
                return "can never work: guests reach containers through the ingress alone", "remove it"
            if (zone := source.zones[0]) not in site.leg_zones:
                return (
                    f"can never work: the ingress has no leg on {zone}",
                    "route to a guest there, or remove it",
                )
    return None


def _between_guests(site: Site, flow: Flow) -> Reason | None:
    match _ends(site, flow):
        case Guest() as source, Guest() as end if source.zones != end.zones:
            return "can never work: no router joins their VLANs", "put both in one zone, or remove it"
    return None


def _ends(site: Site, flow: Flow) -> tuple[Container | Guest | None, Container | Guest | None]:
    """Both services of a flow, if both are where they can be."""
    source, end = site.services.get(flow.source), site.services.get(flow.destination)
    sound = site.ingress and source and end and site.is_placed(source) and site.is_placed(end)
    return (source, end) if sound else (None, None)


_FLOW_RULES: Final[tuple[Callable[[Site, Flow], Reason | None], ...]] = (
    _to_itself,
    _second_way_in,
    _to_host,
    _egress,
    _from_management,
    _logs,
    _between_containers,
    _onto_vlan,
    _off_vlan,
    _between_guests,
)


def _upstreams(site: Site) -> Iterator[Fault]:
    """Software that passes on what it gets is told by a flow of its own where to."""
    if site.unreadable_in("flows") or site.unreadable_in("services"):
        return
    for service in site.containers:
        wanted = _UPSTREAM.get(service.app) if service.app else None
        own = [flow for flow in site.flows.values() if flow.source == service.name]
        ends = [site.services.get(flow.destination) for flow in own]
        if wanted and [getattr(end, "app", None) for end in ends] != [wanted]:
            yield Fault(
                f"services.{service.name}",
                f"{service.app} passes on what it gets to one {wanted}, and has {len(own)} flows",
                f"let its one flow lead to the service of app {wanted}",
            )


def _routes(site: Site) -> Iterator[Fault]:
    """A host name leads to one port of one service, over HTTP."""
    ingress = site.ingress
    flows = {
        p: f
        for p, f in site.flows.items()
        if ingress and f.source == ingress.name and f.destination in site.services
    }
    first: dict[str, Flow] = {}
    for path, flow in flows.items():
        if flow.port.protocol is not Protocol.TCP:
            yield Fault(path, f"{flow} is a route, and routes are HTTP", "use a tcp port")
        if first.setdefault(flow.destination, flow).port != flow.port:
            yield Fault(
                path,
                f"{flow} is a second route under one host name, after {first[flow.destination].port}",
                "declare the other port as a service of its own",
            )
    yield from _twice(
        ((f"services.{name}.host", site.services[name].host) for name in first),
        "give each routed service its own host name",
    )


def _acme(site: Site) -> Iterator[Fault]:
    """Whoever has certificates from an ACME server reaches it, and can show that the names are his."""
    acme, ingress = site.tls, site.ingress
    if not isinstance(acme, Acme):
        return
    yield from _twice(
        ((f"tls.acme.credentials[{i}]", name) for i, name in enumerate(acme.credentials)), "name each once"
    )
    if acme.over_http and acme.credentials:
        yield Fault(
            "tls.acme.credentials", "nobody asks for them over HTTP", "remove it, or name a DNS provider"
        )
    if not acme.over_http and not acme.credentials:
        yield Fault(
            "tls.acme.credentials",
            f"{acme.challenge} lets nobody change its names without",
            "name the variables of a login, as lego does",
        )
    if not acme.name_servers:
        yield Fault("tls.acme.name-servers", "names nobody", "write it like [9.9.9.9]")
    for index, ip in enumerate(acme.name_servers):
        if any(ip in prefix for prefix in (*SPECIAL, *(zone.prefix for zone in site.zones.values()))):
            yield Fault(
                f"tls.acme.name-servers[{index}]",
                f"{ip} is not on the internet, where alone the ingress's flows lead",
                "use a public one, like 9.9.9.9",
            )
    if ingress is None or site.unreadable_in("flows"):
        return
    for flow, purpose in acme.flows(ingress.name).items():
        if flow not in site.flows.values():
            yield Fault("flows", f"nothing lets {ingress.name} {purpose}", f"add {flow}")


def _certificates(site: Site) -> Iterator[Fault]:
    """Who signs is trusted, and what is signed is renewed while it is valid."""
    given = site.certificates
    yield from _twice(
        ((f"certificates.authorities[{i}]", name) for i, name in enumerate(given.authorities)),
        "name each once",
    )
    if given.signer not in given.authorities:
        yield Fault(
            "certificates.signer",
            f"nobody trusts {given.signer}: authorities has {', '.join(given.authorities)}",
            "name one of them, or add it there first",
        )
    if given.renew >= given.days:
        yield Fault(
            "certificates.renew",
            f"what lasts {given.days} days can't be renewed {given.renew} days before",
            "use fewer than days",
        )


def _plain(site: Site) -> Iterator[Fault]:
    """Whoever asks a guest or behind the frontend knows who answers, or a flow is declared plain."""
    bare = {flow: path for path, flow in site.flows.items() if _may_be_plain(site, flow)}
    for path, plain in site.plain.items():
        if plain.flow not in bare and not site.unreadable_in("flows") and not site.unreadable_in("services"):
            yield Fault(
                f"{path}.flow",
                f"{plain.flow} is no declared flow that lacks certificates",
                "remove it, or correct the flow",
            )
    yield from _twice(((f"{path}.flow", plain.flow) for path, plain in site.plain.items()), "declare it once")
    declared = {plain.flow for plain in site.plain.values()}
    for flow, path in bare.items():
        if flow in declared or site.unreadable_in("plain") or _closed_port(site, flow):
            continue
        match _ends(site, flow):
            case Container(), Guest():
                yield Fault(
                    path,
                    f"{flow} is not encrypted: nothing says who signed a certificate of {flow.destination}",
                    "give it authority, or declare the flow under plain, with the reason",
                )
            case Container(), Container() as end if not site.roles(end) & {Role.EDGE, Role.FRONTEND}:
                yield Fault(
                    path,
                    f"{flow} is not encrypted: {flow.destination} can't ask for a certificate",
                    "declare it under plain, with the reason",
                )


def _may_be_plain(site: Site, flow: Flow) -> bool:
    match site.services.get(flow.destination):
        case Container() as end:
            return end.app not in ASKS_FOR_CERTIFICATES
        case Guest() as end if site.ingress is None or flow.source == site.ingress.name:
            return not end.authority and end.app not in SPEAKS_TLS
    return False


def _lock_out(site: Site) -> Iterator[Fault]:
    """The datacenter's input policy is DROP; management must be able to take it back."""
    proxmox = [name for name, host in site.hosts.items() if isinstance(host, ProxmoxHost)]
    if not proxmox or not site.management or site.unreadable_in("flows") or site.unreadable_in("hosts"):
        return
    needed = [Flow(source=source, destination=proxmox[0], port=API) for source in site.management]
    if not set(needed) & set(site.flows.values()):
        yield Fault(
            "flows",
            "the datacenter firewall drops input, and no management source reaches the Proxmox API",
            f"add {needed[0]}",
        )


def _assertions(site: Site) -> Iterator[Fault]:
    """A test tests something, about names that exist, and does not contradict itself."""
    for path, assertion in site.assertions.items():
        if not assertion.accept and not assertion.deny:
            yield Fault(path, "tests nothing", "give it accept or deny")
        flows: dict[str, Flow] = {}
        for key in ("accept", "deny"):
            for index, text in enumerate(getattr(assertion, key)):
                try:
                    flows[f"{path}.{key}[{index}]"] = Flow.parse(f"{assertion.src} -> {text}")
                except ValueError:
                    yield Fault(
                        f"{path}.{key}[{index}]",
                        f"{shown(text)} is not a destination",
                        "write it like grafana:3000/tcp, its port 1-65535",
                    )
        if reason := _unknown_source(site, assertion.src):
            yield Fault(f"{path}.src", *reason)
        for where, flow in flows.items():
            if reason := _unknown_end(site, flow.destination):
                yield Fault(where, *reason)
        yield from _twice(((where, flow) for where, flow in flows.items()), "keep one")


def _vantages(site: Site) -> Iterator[Fault]:
    """A vantage is an image for the containers, or a machine that stands for one source."""
    for name, vantage in site.vantages.items():
        path = f"vantages.{name}"
        if isinstance(vantage, ImageVantage):
            yield from _image(f"{path}.image", vantage.image)
        elif reason := _no_vantage(site, name):
            yield Fault(path, *reason)
        elif reason := _front(site, vantage):
            yield Fault(f"{path}.front", *reason)


def _no_vantage(site: Site, name: str) -> Reason | None:
    """Why nobody gets there by SSH: it is no such source, or a guest that no flow leads to."""
    end = site.services.get(name)
    if isinstance(end, Container):
        return f"{name} is a container, and the engine is the way in", f"use vantages.{CONTAINERS}"
    docker = (host.name for host in site.hosts.values() if isinstance(host, DockerHost))
    known = (INTERNET, *site.management, *docker, *(guest.name for guest in site.guests))
    if reason := _unknown(site, "vantage", name, known, "internet, a management zone, Docker-SRV or a guest"):
        return reason
    needed = [Flow(source=zone, destination=name, port=SSH) for zone in site.management]
    if end is None or not needed or site.unreadable_in("flows") or {*needed} & {*site.flows.values()}:
        return None
    return (
        f"no flow lets management reach {name}:{SSH}",
        f"add {needed[0]} to flows, and {SSH.number} to its ports",
    )


def _front(site: Site, vantage: SshVantage) -> Reason | None:
    """Whether it says where Docker-SRV is found: the internet's must where Docker-SRV itself does not."""
    if vantage.front and vantage.name not in (INTERNET, *site.management):
        return f"{vantage.name} is inside", "remove it"
    docker = [host for host in site.hosts.values() if isinstance(host, DockerHost)]
    if vantage.name == INTERNET and not vantage.front and any(host.address.is_unspecified for host in docker):
        return "nothing says where it finds Docker-SRV", "write the public address"
    return None


def _twice(items: Iterable[tuple[str, Hashable]], remedy: str) -> Iterator[Fault]:
    """Faults for values that came before, at the path where they come again."""
    first: dict[Hashable, str] = {}
    for path, value in items:
        if value in first:
            yield Fault(path, f"{value} duplicates {first[value]}", remedy)
        first.setdefault(value, path)


_CHECKS: Final[tuple[Callable[[Site], Iterator[Fault]], ...]] = (
    _hosts,
    _proxies,
    _names,
    _physical_names,
    _prefixes,
    _vlans,
    _roles,
    _isolated,
    _addresses,
    _virtual_machines,
    _memberships,
    _probe,
    _services,
    _existing_bridge,
    _guest_apps,
    _admin_pages,
    _guest_authorities,
    _ingress,
    _flows,
    _upstreams,
    _routes,
    _acme,
    _certificates,
    _plain,
    _lock_out,
    _assertions,
    _vantages,
)
