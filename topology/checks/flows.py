"""Checks of flows, and of the routes among them."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.ends import closed_port, unknown_end, unknown_source
from topology.checks.flow_rules import obstacle
from topology.checks.site import Site, twice
from topology.fault import Fault
from topology.model import APPS, Flow, Protocol


def flows(site: Site) -> Iterator[Fault]:
    """Check that each flow has two known ends and an open port, is declared once, and breaks no flow rule."""
    yield from twice(((path, flow) for path, flow in site.flows.items()), "declare it once")
    for path, flow in site.flows.items():
        unknown = [*filter(None, (unknown_source(site, flow.source), unknown_end(site, flow.destination)))]
        for fault, remedy in unknown:
            yield Fault(path, fault, remedy)
        if unknown or any(len(site.ends.get(name, ())) > 1 for name in (flow.source, flow.destination)):
            continue
        if reason := obstacle(site, flow) or closed_port(site, flow):
            yield Fault(path, f"{flow} {reason[0]}", reason[1])


def upstreams(site: Site) -> Iterator[Fault]:
    """Check that each app that forwards to an upstream has exactly one flow, to that upstream."""
    if site.unreadable_in("flows") or site.unreadable_in("services"):
        return
    for service in site.containers:
        wanted = APPS[service.app].upstream if service.app else None
        if wanted is None:
            continue
        own = [flow for flow in site.flows.values() if flow.source == service.name]
        ends = [site.services.get(flow.destination) for flow in own]
        if [getattr(end, "app", None) for end in ends] != [wanted]:
            yield Fault(
                f"services.{service.name}",
                f"{service.app} needs exactly one outgoing flow, to {wanted}; it has {len(own)}",
                f"declare one flow from it, to the service of app {wanted}",
            )


def routes(site: Site) -> Iterator[Fault]:
    """Check that each host name routes to one port of one service, over TCP."""
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
    yield from twice(
        ((f"services.{name}.host", site.services[name].host) for name in first),
        "give each routed service its own host name",
    )
