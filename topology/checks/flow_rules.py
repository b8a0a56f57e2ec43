"""Rules for flows between known ends: which are forbidden, and which can never work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from topology.checks import docker_hosts
from topology.checks.ends import ends
from topology.checks.legs import reach
from topology.checks.routers import doubled, exposed, hidden, is_public, off_road
from topology.checks.site import FRONTENDS, Reason, Site
from topology.model import (
    ASKS_FOR_CERTIFICATES,
    INTERNET,
    REACHES_GUESTS,
    READS_LOGS,
    WRITES_LOGS,
    App,
    Container,
    DockerHost,
    Flow,
    Guest,
    Role,
    RouterHost,
    Zone,
    leg_address,
)


def obstacle(site: Site, flow: Flow) -> Reason | None:
    """Return why a flow between known ends is forbidden or can never work; None where it is neither."""
    return next(filter(None, (rule(site, flow) for rule in _FLOW_RULES)), None)


def _to_itself(_: Site, flow: Flow) -> Reason | None:
    return ("leads back to where it comes from", "remove it") if flow.source == flow.destination else None


def _second_way_in(site: Site, flow: Flow) -> Reason | None:
    if flow.source != INTERNET or site.is_unreadable(flow.destination, "services"):
        return None
    to_guest = isinstance(site.services.get(flow.destination), Guest)
    if is_public(site, flow) or (to_guest and site.router is None and site.unreadable_in("hosts")):
        return exposed(site, flow)
    public = f"add {flow.port} to hosts.{site.router.name}.wan.public" if site.router and to_guest else ""
    if DockerHost not in site.halves:
        return "opens a way in, and without a host of kind docker there is no ingress", public or "remove it"
    if site.ingress is None or flow.destination == site.ingress.name:
        return None
    remedy = f"write {site.ingress.name} as its source" if flow.destination in site.services else "remove it"
    if isinstance(site.hosts.get(flow.destination), DockerHost):
        remedy = f"run it in a container, as a stream of {site.ingress.name}"
    return "opens a second way in beside the ingress", ", or ".join(filter(None, (remedy, public)))


def _to_host(site: Site, flow: Flow) -> Reason | None:
    if flow.destination not in site.hosts or flow.source not in {*site.services, *site.externals}:
        return None
    if isinstance(site.hosts[flow.destination], RouterHost) and not isinstance(
        site.services.get(flow.source), Container
    ):
        return None
    return "reaches a host from outside management", "write a management zone as its source"


def _egress(site: Site, flow: Flow) -> Reason | None:
    if flow.destination != INTERNET:
        return None
    if flow.source in site.outsides:
        return f"leaves from {flow.source}, where nothing is built", "remove it"
    source = site.services.get(flow.source)
    if not isinstance(source, Container) or source == site.ingress or not site.ingress:
        return None
    return _no_exit(site, source)


def _no_exit(site: Site, source: Container) -> Reason | None:
    """Return why a container other than the ingress can't leave the site; None where it can."""
    if source.app is App.PROMETHEUS:
        remedy = "let a container with an exporter ask outside, and scrape that"
        return "can never work: Prometheus scrapes services of the site alone", remedy
    if Role.EGRESS in site.roles(source) or not site.is_placed(source):
        return None
    exits = [zone.name for zone in site.zones.values() if zone.role is Role.EGRESS]
    if source.app is App.BLACKBOX_EXPORTER:
        return "can never work: the blackbox exporter is on a probe zone alone", "remove it"
    add = f"add {exits[0]}" if exits else "declare a zone of role egress, and add it"
    return f"can never work: {source.name} is in no egress zone", f"{add} to services.{source.name}.zones"


def _from_outside(site: Site, flow: Flow) -> Reason | None:
    end = site.services.get(flow.destination)
    near = site.around(site.zones[flow.source]) if flow.source in site.externals else None
    if near and not near.is_flat and site.ingress and end == site.ingress:
        return (
            f"can never work: {flow.source} is in {near.name}, where the ingress does not listen",
            "give it a network of its own, beyond the router, or remove it",
        )
    if flow.source not in site.outsides or not isinstance(end, Container) or end == site.ingress:
        return None
    return f"can never work: {flow.source} reaches containers through the ingress alone", "remove it"


def _to_external(site: Site, flow: Flow) -> Reason | None:
    source = site.services.get(flow.source)
    if flow.destination not in site.externals or isinstance(source, Guest):
        return None
    if site.is_unreadable(flow.source, "services"):
        return None
    if source is None:
        return "does not pass through the site", "remove it; the router or switch between them decides"
    if source == site.ingress:
        remedy = f"route to an app {App.MACHINE_PAGE}, on a frontend and an egress zone, that asks it"
        return "can never work: the ingress reaches no machine outside the site", remedy
    near = site.around(site.zones[flow.destination])
    if near and not near.is_flat and site.router is None:
        return (
            f"can never work: no way from Docker-SRV into VLAN zone {near.name} is known",
            "let a guest there ask it",
        )
    return None if not site.ingress else _no_exit(site, source)


def _logs(site: Site, flow: Flow) -> Reason | None:
    """Return why a flow may not reach Loki or its gateway; Loki lets each client read, write and delete."""
    match ends(site, flow):
        case Container() as source, Container(app=App.LOKI) if source.app not in (
            App.LOKI_GATEWAY,
            App.TRAEFIK,
        ):
            gateway = next((c.name for c in site.containers if c.app is App.LOKI_GATEWAY), None)
            return (
                "leads past the gateway, and Loki lets its clients read, write and delete",
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
    match ends(site, flow):
        case Container() as source, Container() as end:
            if source == site.ingress and not site.roles(end) & FRONTENDS:
                return "is a route to a backend service", "route to a service on a frontend zone that asks it"
            if source == site.ingress and end.app in ASKS_FOR_CERTIFICATES:
                return (
                    f"can never work: {end.app} asks for a certificate, and the ingress shows none",
                    "route to a service that asks it, such as prometheus-ui or grafana",
                )
            if not set(source.zones) & set(end.zones):
                return "can never work: they share no Docker network", "let both join one zone"
    return None


def _onto_vlan(site: Site, flow: Flow) -> Reason | None:
    match ends(site, flow):
        case Container() as source, Guest() as end:
            if source != site.ingress:
                return _to_guest(site, flow, source, site.zones[end.zones[0]])
            if site.routing and site.routing.crossing(flow):
                return None
            if site.router is None and site.unreadable_in("hosts"):
                return None  # it may be the router
            if site.zones[zone := end.zones[0]].ingress is None:
                return f"needs a leg of the ingress on {zone}", f"add zones.{zone}.ingress, an address there"
    return None


def _to_guest(site: Site, flow: Flow, source: Container, zone: Zone) -> Reason | None:
    """Return why a container other than the ingress can't reach a guest by a leg, or by the router."""
    if source.app in REACHES_GUESTS or zone.traits.alone:
        return reach(site, source, zone)
    if leg_address(source, zone):
        known = ", ".join(sorted(REACHES_GUESTS))
        return (
            f"can never work: only the ingress and apps that reach guests ({known}) have legs",
            f"remove services.{source.name}.addresses.{zone.name}",
        )
    if site.is_behind(flow):
        return _no_exit(site, source)
    if site.unreadable_in("hosts") or off_road(site, flow):
        return None  # the latter has the reason
    return (
        f"can never work: no way from Docker-SRV into {zone.name} is known but a leg of the ingress",
        f"declare the router between them, and let {source.name} join an egress zone",
    )


def _off_vlan(site: Site, flow: Flow) -> Reason | None:
    match ends(site, flow):
        case Guest() as source, Container() as end:
            if end != site.ingress:
                remedy = f"write {site.ingress.name if site.ingress else 'the ingress'} as its destination"
                return "can never work: guests reach containers through the ingress alone", remedy
            if site.zones[zone := source.zones[0]].ingress is None:
                return f"needs a leg of the ingress on {zone}", f"add zones.{zone}.ingress, an address there"
    return None


def _between_guests(site: Site, flow: Flow) -> Reason | None:
    match ends(site, flow):
        case Guest() as source, Guest() as end if source.zones != end.zones:
            if site.router is None and site.unreadable_in("hosts"):
                return None
            if site.router is None:
                return "can never work: no router joins their VLANs", "put both in one zone, or remove it"
            if (zone := site.zones[end.zones[0]]).traits.alone:
                return f"reaches into {zone.name}, which is {zone.role}", "use role tenant, or remove it"
    return None


_FLOW_RULES: Final[tuple[Callable[[Site, Flow], Reason | None], ...]] = (
    _to_itself,
    _second_way_in,
    _to_host,
    _egress,
    _from_outside,
    _to_external,
    docker_hosts.between,
    _logs,
    _between_containers,
    _onto_vlan,
    _off_vlan,
    _between_guests,
    off_road,
    hidden,
    doubled,
)
