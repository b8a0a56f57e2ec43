"""Checks of the two ends of a flow."""

from __future__ import annotations

from collections.abc import Collection

from topology.checks.site import Reason, Site
from topology.fault import nearest
from topology.model import Container, DockerHost, Flow, Guest


def unknown_source(site: Site, name: str) -> Reason | None:
    """Return why a name can't be the source of a flow; None where it can."""
    return unknown(
        site, "source", name, site.sources, "a service, a management or external zone, or internet"
    )


def unknown_end(site: Site, name: str) -> Reason | None:
    """Return why a name can't be the destination of a flow; None where it can."""
    return unknown(
        site, "destination", name, site.destinations, "a service, a host, an external zone or internet"
    )


def unknown(site: Site, role: str, name: str, known: Collection[str], wanted: str) -> Reason | None:
    """Return why a name is unknown; None for known names and for declared ones that could not be read."""
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


def closed_port(site: Site, flow: Flow) -> Reason | None:
    """Return why a flow's port is not a port of its destination; None where it is one."""
    external = site.zones.get(flow.destination) if flow.destination in site.externals else None
    end = site.services.get(flow.destination) or site.hosts.get(flow.destination) or external
    if end is None or (flow.destination, flow.port) in site.open_ports:
        return None
    listed = f"has {', '.join(map(str, end.ports))}" if end.ports else "has no ports"
    return f"goes to a port that is not there: {end.name} {listed}", "correct the flow or the ports"


def ends(site: Site, flow: Flow) -> tuple[Container | Guest | None, Container | Guest | None]:
    """Return the source and destination services of a flow; None for both unless both are validly placed."""
    source, end = site.services.get(flow.source), site.services.get(flow.destination)
    known = site.ingress or DockerHost not in site.halves
    sound = known and source and end and site.is_placed(source) and site.is_placed(end)
    return (source, end) if sound else (None, None)
