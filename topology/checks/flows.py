"""Checks of flows, and of the routes among them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from topology.checks.ends import closed_port, unknown_end, unknown_source
from topology.checks.flow_rules import obstacle
from topology.checks.site import Reason, Site, twice
from topology.fault import Fault
from topology.model import (
    APPS,
    HTTP,
    HTTPS,
    INTERNET,
    App,
    Container,
    Entries,
    Flow,
    Guest,
    Protocol,
    audience,
    served_on,
)


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


def receivers(site: Site) -> Iterator[Fault]:
    """Check that each Alertmanager has a flow to its receiver."""
    if site.unreadable_in("flows"):
        return
    for service in site.containers:
        if service.app is App.ALERTMANAGER and all(f.source != service.name for f in site.flows.values()):
            yield Fault(
                f"services.{service.name}",
                "no flow leads to its receiver, so alerts reach no one",
                f"declare one, like {service.name} -> {INTERNET}:443/tcp",
            )


def streams(site: Site) -> Iterator[Fault]:
    """Check that each stream has its two flows, and a port of the ingress of its own."""
    ingress = site.ingress
    if ingress is None or site.unreadable_in("flows") or site.unreadable_in("services"):
        return
    own = {
        f"services.{service.name}.streams[{index}]": (service.name, each)
        for service in site.services.values()
        for index, each in enumerate(service.streams)
    }
    yield from twice(((path, each.entry) for path, (_, each) in own.items()), "give each a port of its own")
    known = {(flow.destination, flow.port) for flow in site.flows.values() if flow.source == ingress.name}
    heard = {flow.port: path for path, flow in site.flows.items() if flow.destination == ingress.name}
    for path, (name, each) in own.items():
        if each.entry in {HTTP, HTTPS}:
            yield Fault(path, f"{each.entry} of {ingress.name} is for pages", "use another port")
        elif (name, each.port) not in known:
            end = f"{name}:{each.port}"
            yield Fault(path, f"no flow leads to {end}", f"declare {ingress.name} -> {end}")
        elif each.entry not in heard:
            remedy = f"declare its source, like internet -> {ingress.name}:{each.entry}"
            yield Fault(path, f"no flow leads to {ingress.name}:{each.entry}", remedy)
    for port in heard.keys() - {each.entry for _, each in own.values()}:
        if port.protocol is not Protocol.TCP:
            remedy = f"make it a stream of a service, like '{port.number}:{port}'"
            yield Fault(heard[port], f"{port} of {ingress.name} leads nowhere", remedy)


def routes(site: Site) -> Iterator[Fault]:
    """Check that each host name and path routes to one port of one service, over TCP."""
    ingress = site.ingress
    first: dict[str, Flow] = {}
    for path, flow in site.route_flows.items():
        if flow.port.protocol is not Protocol.TCP:
            yield Fault(path, f"{flow} is a route, and routes are HTTP", "use a tcp port, or a stream")
        if flow.port.number in site.services[flow.destination].pages:
            continue
        if first.setdefault(flow.destination, flow).port != flow.port:
            yield Fault(
                path,
                f"{flow} is a second route under one host name, after {first[flow.destination].port}",
                f"give it a name of its own, like pages: {{'{flow.port.number}': {flow.destination}-more}}",
            )
    named = [*_names(site, first), *_further(site)]
    yield from twice(
        ((path, host) for path, host, _ in named), "give each route a host name or paths of its own"
    )
    for service in site.services.values():
        yield from _paths(service)
    if ingress and not site.unreadable_in("flows"):
        led = {(flow.destination, flow.port.number) for flow in site.route_flows.values()}
        for path, _, (name, number) in _further(site):
            if (name, number) not in led:
                yield Fault(path, "no flow leads to it", f"declare {ingress.name} -> {name}:{number}/tcp")
        yield from _unrouted(site, ingress.name, {flow.destination for flow in site.route_flows.values()})


def _paths(service: Container | Guest) -> Iterator[Fault]:
    """Yield faults of paths: an app has them, one is below another, or there is none to strip."""
    at = f"services.{service.name}"
    if service.paths and service.app:
        fault = f"{service.app} serves its pages from / on"
        yield Fault(f"{at}.paths", fault, "leave it out, and give it a host name of its own")
    if service.paths and service.redirects:
        fault = f"{service.name} has paths, and a redirect is for a whole host name"
        yield Fault(f"{at}.redirects", fault, "give it to the service without paths")
    if service.strip_paths and not service.paths:
        yield Fault(f"{at}.strip-paths", f"{service.name} has no paths", "write paths, or leave it out")
    for index, path in enumerate(service.paths):
        above = next((each for each in service.paths if path.startswith(f"{each}/")), None)
        if above:
            yield Fault(f"{at}.paths[{index}]", f"{path} is below {above}", "leave it out")


def _names(site: Site, first: Mapping[str, Flow]) -> Iterator[tuple[str, str, tuple[str, int]]]:
    """Yield the host names and paths of each service's first route: path, name, and where it leads."""
    for name, flow in first.items():
        service = site.services[name]
        for index, path in enumerate(service.paths or ("",)):
            key = f"paths[{index}]" if path else "host"
            yield f"services.{name}.{key}", f"{service.host}{path}", (name, flow.port.number)
    for name, flow in first.items():
        service = site.services[name]
        for index, host in enumerate(service.aliases):
            for path in service.paths or ("",):
                yield f"services.{name}.aliases[{index}]", f"{host}{path}", (name, flow.port.number)
        for index, host in enumerate(service.redirects):
            yield f"services.{name}.redirects[{index}]", host, (name, flow.port.number)


def _further(site: Site) -> Iterator[tuple[str, str, tuple[str, int]]]:
    """Yield the host names of further pages: path, name, and where it leads."""
    for service in site.services.values():
        for number, host in service.pages.items():
            yield f"services.{service.name}.pages.{number}", host, (service.name, number)


def _unrouted(site: Site, ingress: str, routed: Collection[str]) -> Iterator[Fault]:
    """Yield keys about the route of a service without a route."""
    for service in site.services.values():
        for key in (
            "audience",
            "aliases",
            "redirects",
            "login",
            "paths",
            "requests",
            "request_headers",
            "response_headers",
        ):
            if getattr(service, key) and service.name not in routed:
                path = f"services.{service.name}.{key.replace('_', '-')}"
                yield Fault(path, f"{service.name} has no route", f"declare a flow from {ingress} to it")


def audiences(site: Site) -> Iterator[Fault]:
    """Check that a port of the ingress is for each route's audience alone, and that none is left to guess."""
    ingress = site.ingress
    if ingress is None or site.unreadable_in("flows") or site.unreadable_in("zones"):
        return
    routed = {flow.destination for flow in site.route_flows.values()}
    for service in site.services.values():
        if service.name in routed:
            for reason in _audience(site, ingress.name, service, site.web):
                yield Fault(f"services.{service.name}.audience", *reason)


def _audience(site: Site, ingress: str, service: Container | Guest, known: Entries) -> Iterator[Reason]:
    """Yield why no source, or not the stated audience, can use a route."""
    strangers = [name for name in service.audience if name not in {INTERNET, *site.outsides}]
    for name in strangers:
        yield f"{name} is neither internet nor a management or external zone", "write one, or leave it out"
    if strangers or not (known or service.audience):
        return
    if not service.audience and len({*known.values()}) > 1:
        if site.unreadable_in("services"):
            return  # one that could not be read may have streams, whose ports are not for pages
        told = ", ".join(f"{port} for {' and '.join(sorted(names))}" for port, names in known.items())
        yield f"is missing, though {ingress} serves {told}", "write who may use the route"
    elif not served_on(audience(service.audience, known), known):
        who = service.audience or (*sorted({name for names in known.values() for name in names}),)
        yield (
            f"no port of {ingress} serves pages for {' and '.join(who)} alone",
            f"declare {who[0]} -> {ingress}:8443/tcp, or another port",
        )
