"""The ends of a flow, and why one can't be."""

from __future__ import annotations

from collections.abc import Collection

from topology.checks.site import Reason, Site
from topology.fault import nearest
from topology.model import INTERNET, Container, DockerHost, Flow, Guest


def unknown_source(site: Site, name: str) -> Reason | None:
    """Why a name is no source of a flow."""
    known = (INTERNET, *site.management, *site.services)
    return unknown(site, "source", name, known, "a service, a management zone or internet")


def unknown_end(site: Site, name: str) -> Reason | None:
    """Why a name is no destination of a flow."""
    known = (INTERNET, *site.hosts, *site.services)
    return unknown(site, "destination", name, known, "a service, a host or internet")


def unknown(site: Site, role: str, name: str, known: Collection[str], wanted: str) -> Reason | None:
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


def closed_port(site: Site, flow: Flow) -> Reason | None:
    """Why a flow's port is none of its destination's."""
    end = site.services.get(flow.destination) or site.hosts.get(flow.destination)
    ports = () if end is None or isinstance(end, DockerHost) else end.ports
    if end is None or flow.port in ports:
        return None
    listed = f"has {', '.join(map(str, ports))}" if ports else "has no ports"
    return f"goes to a port that is not there: {end.name} {listed}", "correct the flow or the ports"


def ends(site: Site, flow: Flow) -> tuple[Container | Guest | None, Container | Guest | None]:
    """Both services of a flow, if both are where they can be."""
    source, end = site.services.get(flow.source), site.services.get(flow.destination)
    sound = site.ingress and source and end and site.is_placed(source) and site.is_placed(end)
    return (source, end) if sound else (None, None)
