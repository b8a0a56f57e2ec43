"""Checks of services: their zones, and which zones may be combined."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from topology.checks.images import image, traefik
from topology.checks.site import DOCKER_ROLES, FRONTENDS, INSIDES, VLAN_ROLES, Site, twice
from topology.fault import Fault, nearest
from topology.model import (
    DNS,
    INTERNET,
    ROLES,
    WATCHES,
    App,
    Container,
    DockerHost,
    Guest,
    Role,
    made_here,
    slots_of,
)
from topology.project import NAME

_BEHIND: Final = frozenset(role for role in INSIDES if not ROLES[role].beside_routable)
"""Roles of inner Docker networks that a service reached by the ingress must not join."""


def virtual_machines(site: Site) -> Iterator[Fault]:
    """Check that each guest's id is used once, and is no template's; `nodes` has the templates."""
    templates = {host.template: f"hosts.{host.name}.template" for host in reversed(site.nodes)}
    ids = [(path, number) for number, path in templates.items()]
    ids += [(f"{path}.vmid", guest.vmid) for path, guest in site.machines]
    yield from twice(ids, "give each guest its own id")


def memberships(site: Site) -> Iterator[Fault]:
    """Check that each service joins only zones of its kind, and none joins both a frontend and a backend."""
    for service in site.services.values():
        guest = isinstance(service, Guest)
        yield from twice(
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
            elif guest and zone.role not in VLAN_ROLES:
                yield Fault(
                    path, f"{name} is of role {zone.role}, and a guest sits on a VLAN", "name a VLAN zone"
                )
            elif not guest and zone.role not in DOCKER_ROLES:
                yield Fault(
                    path,
                    f"{name} is of role {zone.role}, and a container joins Docker networks",
                    f"name an {', '.join(DOCKER_ROLES[:-1])} or {DOCKER_ROLES[-1]} zone",
                )
        roles = site.roles(service)
        for before, behind in product(sorted(roles & FRONTENDS), sorted(roles & _BEHIND)):
            yield Fault(
                f"services.{service.name}.zones",
                f"joins {before} and {behind}, so a break-in there reaches every {behind} service",
                "use a query zone between them",
            )


def probe(site: Site) -> Iterator[Fault]:
    """Check that only monitoring apps join a probe zone, and that the Blackbox exporter joins no other."""
    for container in site.containers:
        path, roles = f"services.{container.name}.zones", site.roles(container)
        if container.app is App.BLACKBOX_EXPORTER and roles - {Role.PROBE}:
            yield Fault(
                path,
                "the blackbox exporter must see Docker-SRV as a machine outside does",
                "let it join a probe zone alone",
            )
        if container.app not in WATCHES and Role.PROBE in roles:
            yield Fault(
                path,
                f"{container.name} joins a probe zone, which is for the blackbox exporter and Prometheus",
                "leave it out",
            )


def exits(site: Site) -> Iterator[Fault]:
    """Check that each member of an egress zone goes out, resolves names, and has no other default route."""
    for container in site.containers:
        path = f"services.{container.name}.zones"
        own = [site.zones[name] for name in container.zones if name in site.zones]
        out = [zone.name for zone in own if zone.role is Role.EGRESS]
        routes = [zone.name for zone in own if zone.is_docker and not zone.internal]
        if not out or container == site.ingress:
            continue
        if len(routes) > 1:
            yield Fault(
                path,
                f"{' and '.join(routes)} each want the default route of {container.name}",
                f"keep {out[0]} alone of them",
            )
        if site.unreadable_in("flows"):
            continue
        ports = site.leaving.get(container.name, ())
        ends = {f.destination for f in site.flows.values() if f.source == container.name}
        near = {name for name in ends if name in site.externals or isinstance(site.services.get(name), Guest)}
        if not ports and not near:
            remedy = f"leave it out, or declare a flow like {container.name} -> {INTERNET}:443/tcp"
            yield Fault(path, f"{container.name} joins {out[0]}, and goes nowhere from there", remedy)
        elif ports and not container.dns:
            yield from _unnamed(site, container)


def _unnamed(site: Site, container: Container) -> Iterator[Fault]:
    """Yield the flows by which a container would ask the host's name servers, and that are not declared."""
    host = site.docker_host_of(container)
    servers = dict.fromkeys(filter(None, map(site.name_server, host.name_servers if host else ())))
    flows = (flow for flow in site.flows.values() if flow.port.number == DNS.number)
    asked = {flow.destination for flow in flows if flow.source == container.name}
    for name in (each for each in servers or (INTERNET,) if each not in asked):
        remedy = f"add {container.name} -> {name}:{DNS}"
        yield Fault("flows", f"nothing lets {container.name} ask a name server", remedy)


def services(site: Site) -> Iterator[Fault]:
    """Check that ports and apps are unique, and that images are pinned."""
    for service in site.services.values():
        yield from twice(
            ((f"services.{service.name}.ports[{i}]", port) for i, port in enumerate(service.ports)),
            "name each port once",
        )
    for container in made_here(site.containers):
        yield from image(f"services.{container.name}.image", container.image)
        if container.app is App.TRAEFIK:
            yield from traefik(f"services.{container.name}.image", container.image)
    for slot in slots_of(site.containers):
        if slot.project == NAME:
            yield Fault(
                f"services.{slot.name}.project",
                f"{NAME} is this project, which fills no slot",
                "name another, or write image instead",
            )
    yield from twice(
        (
            (f"services.{c.name}.app", c.app)
            for c in site.containers
            if c.app and c.app is not App.MACHINE_PAGE
        ),
        "run each app once",
    )


def ingress(site: Site) -> Iterator[Fault]:
    """Check that there is one ingress, alone on edge, and that it joins no inner network."""
    ingress = site.ingress
    if ingress is None:
        if site.has(DockerHost) and not site.unreadable_in("services"):
            yield Fault("services", "no service is the ingress", "give one app: traefik")
        return
    path = f"services.{ingress.name}.zones"
    if site.zones and not site.unreadable_in("zones") and Role.EDGE not in site.roles(ingress):
        yield Fault(path, "the ingress is not on edge, where its ports are published", "add the edge zone")
    for name in sorted(n for n in ingress.zones if n in site.zones and site.zones[n].role in INSIDES):
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
