"""Rules for the ingress: what it serves is exactly what is declared, and it can be read to the last line.

Owns what Traefik's configuration says. Which packets that lets through is `policies.flows`'s. What a reader
would get wrong: a router opens a way as surely as a published port does, and Traefik says so nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from policies.declared import Declared
from policies.graph.docker import Container, DockerProvider
from policies.graph.proxmox import ProxmoxProvider
from policies.graph.view import View
from policies.rule import Severity, policy
from policies.traefik import Kind
from topology.model import INTERNET

_HOST = re.compile(r"(?:Host|HostSNI)\(`([^`]+)`\)")


def _faults(view: View[Container], topology: Declared, kind: Kind) -> Iterator[str]:
    if view.inputs.is_proxy(topology):
        yield from (str(fault) for fault in view.inputs.traefik.faults() if fault.kind is kind)


@policy(
    Container,
    obligation="All of the ingress's configuration must be readable and understood.",
    remedy="Keep the file provider, with uploaded files of known settings and without templates.",
    severity=Severity.CRITICAL,
)
def ingress_configuration_known(view: View[Container], topology: Declared) -> Iterator[str]:
    """What can't be read may route anywhere."""
    yield from _faults(view, topology, Kind.OPAQUE)


@policy(
    Container,
    obligation="What the ingress's configuration names must be defined; nothing is empty or twice.",
    remedy="Define the name, or remove what names it; leave empty sections out.",
)
def ingress_configuration_whole(view: View[Container], topology: Declared) -> Iterator[str]:
    """Traefik skips what it can't use, or drops the whole file, with one log line."""
    yield from _faults(view, topology, Kind.BROKEN)


@policy(
    Container,
    obligation="The ingress must not serve its dashboard without authentication, nor trust strangers.",
    remedy="Remove the router or the setting, or put an authentication middleware in front.",
    severity=Severity.CRITICAL,
)
def ingress_keeps_to_itself(view: View[Container], topology: Declared) -> Iterator[str]:
    """The dashboard shows every route; a trusted header is an address that anybody may claim."""
    yield from _faults(view, topology, Kind.EXPOSED)


@policy(
    Container,
    DockerProvider,
    ProxmoxProvider,
    obligation="Certificates and host keys must be checked.",
    remedy="Name the authority that signed the certificate instead of switching the check off.",
)
def peers_verified(view: View[Any], topology: Declared) -> Iterator[str]:
    """Without the check whoever answers is believed, and gets what was meant for the other."""
    if isinstance(view.inputs, DockerProvider | ProxmoxProvider):
        if view.inputs.unverified:
            yield view.inputs.unverified
    elif isinstance(view.inputs, Container):
        yield from _faults(view, topology, Kind.UNVERIFIED)


@policy(
    Container,
    obligation="Every router of the ingress must be a declared route, with its host name and address.",
    remedy="Declare the flow from the ingress to the service, or remove the router.",
    severity=Severity.CRITICAL,
)
def routes_declared(view: View[Container], topology: Declared) -> Iterator[str]:
    """A router is a way in."""
    if not view.inputs.is_proxy(topology):
        return
    for path, rule, url in view.inputs.traefik.targets():
        netloc = urlsplit(url if "://" in url else f"//{url}").netloc
        route = topology.routes_by_place.get(netloc)
        if route is None:
            yield f"{path}: leads to {netloc or '(nothing)'}, which is no declared route"
            continue
        hosts = _HOST.findall(rule)
        if not hosts or re.sub(r"(Host|HostSNI)\(`[^`]+`\)|\|\||\s", "", rule):
            yield f"{path}: its rule is not made of host names alone, so it answers for others too"
        for host in hosts:
            if host != route.host:
                yield f"{path}: serves {route.service} under {host}, which is not its declared {route.host}"


@policy(
    Container,
    obligation="Every declared route must be served, on a port that is published.",
    remedy="Add the router, and publish the entrypoint's port.",
)
def routes_served(view: View[Container], topology: Declared) -> Iterator[str]:
    """A declared route that nobody serves is a broken promise; so is a port where nothing listens."""
    container = view.inputs
    if container.name != topology.physical(topology.ingress.name):
        return
    served = {
        urlsplit(url if "://" in url else f"//{url}").netloc for _, _, url in container.traefik.targets()
    }
    for route in topology.routes:
        if urlsplit(route.url).netloc not in served:
            yield f"no router leads to {route.service}, which is a declared route"
    listening = {(each.port.number, each.port.protocol) for each in container.traefik.entrypoints}
    for port in container.ports:
        if (port.internal, port.protocol) not in listening:
            yield f"publishes {port}, where no entrypoint listens"
    published = {(port.external, port.protocol) for port in container.ports}
    for flow in topology.flows_to(topology.ingress.name):
        if flow.source == INTERNET and (flow.port.number, flow.port.protocol) not in published:
            yield f"does not publish {flow.port}, which {flow.source} is declared to reach"


@policy(
    Container,
    obligation="Routes must come from the ingress's files, never from labels.",
    remedy="Remove the traefik labels and declare the flow.",
)
def no_routes_from_labels(view: View[Container], _: Declared) -> Iterator[str]:
    """Whoever may label a container may then publish it; on several networks the one used is chance."""
    labels = {label.label.lower(): label.value for label in view.inputs.labels}
    routed = sorted(label for label in labels if label.startswith("traefik."))
    if not routed:
        return
    yield f"label {routed[0]} makes a route that no file declares"
    if len(view.inputs.legs) > 1 and "traefik.docker.network" not in labels:
        yield "is on several networks, and no label says which of them Traefik is to use"
