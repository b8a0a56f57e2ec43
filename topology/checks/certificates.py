"""Checks of certificates, and of flows without TLS."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.ends import closed_port, ends
from topology.checks.site import FRONTENDS, Site, not_public, twice
from topology.fault import Fault
from topology.model import (
    ASKS_FOR_CERTIFICATES,
    SPEAKS_TLS,
    Acme,
    App,
    Certificates,
    Container,
    DockerHost,
    Flow,
    Guest,
    Role,
    is_scrape,
)


def served(site: Site) -> Iterator[Fault]:
    """Check that keys about certificates are there only where Docker-SRV serves and asks for them."""
    given = {"tls": site.tls is not None, "certificates": site.certificates != Certificates()}
    for key in (key for key, is_given in given.items() if is_given and DockerHost not in site.halves):
        yield Fault(key, "no host is of kind docker, where alone certificates are used", "remove it")


def acme(site: Site) -> Iterator[Fault]:
    """Check that the ingress has the flows, name servers and credentials that the ACME challenge needs."""
    acme, ingress = site.tls, site.ingress
    if not isinstance(acme, Acme):
        return
    yield from twice(
        ((f"tls.acme.credentials[{i}]", name) for i, name in enumerate(acme.credentials)), "name each once"
    )
    if acme.over_http and acme.credentials:
        yield Fault(
            "tls.acme.credentials", "the HTTP challenge needs none", "remove it, or name a DNS provider"
        )
    if not acme.over_http and not acme.credentials:
        yield Fault(
            "tls.acme.credentials",
            f"{acme.challenge} needs a login to change names",
            "name the variables of one, as lego does",
        )
    if not acme.name_servers:
        yield Fault("tls.acme.name-servers", "is empty", "write it like [9.9.9.9]")
    yield from not_public(site, "tls.acme.name-servers", acme.name_servers, "the ingress's flows")
    if ingress is None or site.unreadable_in("flows"):
        return
    for flow, purpose in acme.flows(ingress.name).items():
        if flow not in site.flows.values():
            yield Fault("flows", f"nothing lets {ingress.name} {purpose}", f"add {flow}")


def certificates(site: Site) -> Iterator[Fault]:
    """Check that the signer is among the trusted authorities, and that renewal falls within the validity."""
    given = site.certificates
    yield from twice(
        ((f"certificates.authorities[{i}]", name) for i, name in enumerate(given.authorities)),
        "name each once",
    )
    if given.signer not in given.authorities:
        yield Fault(
            "certificates.signer",
            f"no service trusts {given.signer}: authorities has {', '.join(given.authorities)}",
            "name one of them, or add it there first",
        )
    if given.renew >= given.days:
        yield Fault(
            "certificates.renew",
            f"what lasts {given.days} days can't be renewed {given.renew} days before",
            "use fewer than days",
        )


def of_containers(site: Site) -> Iterator[Fault]:
    """Check that only containers whose page the ingress asks by TLS have a `ca-file`."""
    for container in (each for each in site.containers if each.ca_file):
        path = f"services.{container.name}.ca-file"
        if container.app:
            yield Fault(path, f"{container.app} gets its certificates from this project", "leave it out")
        elif site.ingress and not site.unreadable_in("flows") and container.name not in site.routed:
            yield Fault(
                path,
                f"the ingress asks no page of {container.name}, and nothing else checks its certificate",
                f"leave it out, or declare a flow from {site.ingress.name}",
            )


def unencrypted(site: Site) -> Iterator[Fault]:
    """Check that flows to guests and backend services use certificates, or stand under `unencrypted`."""
    bare = {flow: path for path, flow in site.flows.items() if _may_be_unencrypted(site, flow)}
    for path, unencrypted in site.unencrypted.items():
        if (
            unencrypted.flow not in bare
            and not site.unreadable_in("flows")
            and not site.unreadable_in("services")
        ):
            yield Fault(
                f"{path}.flow",
                f"{unencrypted.flow} is no declared flow that lacks certificates",
                "remove it, or correct the flow",
            )
    yield from twice(
        ((f"{path}.flow", unencrypted.flow) for path, unencrypted in site.unencrypted.items()),
        "declare it once",
    )
    declared = {unencrypted.flow for unencrypted in site.unencrypted.values()}
    for flow, path in bare.items():
        if flow in declared or site.unreadable_in("unencrypted") or closed_port(site, flow):
            continue
        match ends(site, flow):
            case Container() as source, Guest() if source != site.ingress:
                yield Fault(
                    path,
                    f"{flow} is not encrypted: {source.name} has no certificate of {flow.destination}",
                    "declare it under unencrypted, with the reason",
                )
            case Container(), Guest():
                yield Fault(
                    path,
                    f"{flow} is not encrypted: nothing says who signed a certificate of {flow.destination}",
                    "give it ca-file, or declare the flow under unencrypted, with the reason",
                )
            case _ if flow.destination in site.externals:
                yield Fault(
                    path,
                    f"{flow} is not encrypted: nothing says who signed a certificate of {flow.destination}",
                    f"give zones.{flow.destination} host and ca-file, or declare the flow under unencrypted",
                )
            case Container(), Container() as end if not site.roles(end) & {Role.EDGE, *FRONTENDS}:
                yield Fault(
                    path,
                    f"{flow} is not encrypted: {flow.destination} can't ask for a certificate",
                    "declare it under unencrypted, with the reason",
                )


def _may_be_unencrypted(site: Site, flow: Flow) -> bool:
    source = site.services.get(flow.source)
    if flow.destination in site.externals:
        is_page = isinstance(source, Container) and source.app is App.MACHINE_PAGE
        return is_page and not site.zones[flow.destination].ca_file
    match site.services.get(flow.destination):
        case Container() as end:
            by_tls = end.ca_file and _may_be_ingress(site, flow.source)
            return not by_tls and end.app not in ASKS_FOR_CERTIFICATES
        case Guest() as end if _may_be_ingress(site, flow.source):
            return not end.ca_file and end.app not in SPEAKS_TLS
        case Guest():
            return is_scrape(flow, site.services)
    return False


def _may_be_ingress(site: Site, name: str) -> bool:
    return name == site.ingress.name if site.ingress else DockerHost in site.halves
