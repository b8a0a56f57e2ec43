"""Checks of logins: which service answers for the clients of which others."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.site import Reason, Site
from topology.fault import Fault
from topology.model import BASIC, INTERNET, Container, Guest, audience


def logins(site: Site) -> Iterator[Fault]:
    """Check that each login is `basic` or a service that can answer, and that no flow goes past it."""
    if site.ingress is None or site.unreadable_in("flows") or site.unreadable_in("services"):
        return
    ingress = site.ingress.name
    for service in site.services.values():
        if service.forward_auth:
            for key, fault, remedy in _provider(site, ingress, service):
                yield Fault(f"services.{service.name}.{key}", fault, remedy)
        if service.login not in {None, BASIC}:
            for reason in _login(site, service):
                yield Fault(f"services.{service.name}.login", *reason)
            yield from _past(site, ingress, service)


def _provider(site: Site, ingress: str, service: Container | Guest) -> Iterator[tuple[str, str, str]]:
    """Yield why a service can't answer for others' clients, by its key."""
    if service.name == BASIC:
        yield "forward-auth", f"{BASIC} is the login by name and password", "give the service another name"
    if service.name not in site.routed:
        yield (
            "forward-auth",
            f"{service.name} has no route, so the ingress can't ask it",
            f"declare a flow from {ingress} to it",
        )
    if service.ca_file:
        yield "forward-auth", "the ingress asks without TLS alone", "leave out its ca-file"
    if service.login:
        yield (
            "login",
            f"{service.name} is the login of others, so its own pages can't ask for one",
            "leave it out",
        )


def _login(site: Site, service: Container | Guest) -> Iterator[Reason]:
    """Yield why the service that is named can't answer for this service's clients."""
    provider = site.services.get(str(service.login))
    if provider is None or not provider.forward_auth:
        able = dict.fromkeys((BASIC, *(each.name for each in site.services.values() if each.forward_auth)))
        yield f"{service.login} is no service with forward-auth", f"use {' or '.join(able)}, or leave it out"
        return
    theirs, own = audience(provider.audience, site.web), audience(service.audience, site.web)
    if INTERNET not in theirs and not own <= theirs:
        others = ", ".join(sorted(own - theirs))
        yield f"{others} may not use the login page of {provider.name}", "give both the same audience"


def _past(site: Site, ingress: str, service: Container | Guest) -> Iterator[Fault]:
    """Yield flows to the service's pages that no login precedes: their source could write any user's name."""
    pages = {f.port for f in site.flows.values() if f.source == ingress and f.destination == service.name}
    for path, flow in site.flows.items():
        if flow.destination == service.name and flow.port in pages and flow.source != ingress:
            yield Fault(
                path,
                f"{flow} goes past the login of {service.name}, which believes the user names of any request",
                f"remove it, or let {flow.source} use another port",
            )
