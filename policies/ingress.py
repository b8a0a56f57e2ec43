"""Rules for the ingress: it serves exactly the declared routes, is fully understood, and is hardened.

`policies.ingress_hardening` has the bounds for hardening; `policies.flows` evaluates the resulting flows.

Note: a router makes a service reachable just as a published port does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from policies import ingress_hardening, traefik
from policies.ingress_routes import HOST, redirected, swallowed, unlike
from policies.rule import Severity, policy
from resources.docker import DockerContainer, DockerProvider
from resources.proxmox import ProxmoxProvider
from resources.traefik import FaultKind, place, split
from resources.typed import TypedResource, is_secret
from topology.index import TopologyIndex
from topology.model import ADMIN_PAGE_LEFT_OUT, ANY_NAME, BASIC, Protocol, Route


def _faults(view: TypedResource[DockerContainer], topology: TopologyIndex, kind: FaultKind) -> Iterator[str]:
    if view.inputs.is_proxy(topology):
        yield from (str(fault) for fault in traefik.faults(view.inputs.traefik) if fault.kind is kind)


@policy(
    DockerContainer,
    obligation="All of the ingress's configuration must be readable and understood.",
    remedy="Keep the file provider, with uploaded files of known settings and without templates.",
    severity=Severity.CRITICAL,
)
def ingress_configuration_known(
    view: TypedResource[DockerContainer], topology: TopologyIndex
) -> Iterator[str]:
    """Yield configuration whose effect cannot be determined: it may route anywhere."""
    yield from _faults(view, topology, FaultKind.OPAQUE)


@policy(
    DockerContainer,
    obligation="What the ingress's configuration names must be defined; nothing is empty or twice.",
    remedy="Define the name, or remove what names it; leave empty sections out.",
)
def ingress_configuration_whole(
    view: TypedResource[DockerContainer], topology: TopologyIndex
) -> Iterator[str]:
    """Yield configuration that Traefik skips, or for which it drops the whole file."""
    yield from _faults(view, topology, FaultKind.BROKEN)


@policy(
    DockerContainer,
    obligation="The ingress must serve no dashboard without authentication, and trust no undeclared proxy.",
    remedy="Remove the router or the setting, or put an authentication middleware in front.",
    severity=Severity.CRITICAL,
)
def ingress_keeps_to_itself(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield an open dashboard, which shows every route, and trust in headers that any client can set."""
    yield from _faults(view, topology, FaultKind.EXPOSED)


@policy(
    DockerContainer,
    DockerProvider,
    ProxmoxProvider,
    obligation="Certificates and host keys must be checked.",
    remedy="Name the authority that signed the certificate instead of switching the check off.",
)
def peers_verified(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield disabled checks of certificates and host keys: any machine could impersonate the peer."""
    if isinstance(view.inputs, DockerProvider | ProxmoxProvider):
        if view.inputs.unverified:
            yield view.inputs.unverified
    elif isinstance(view.inputs, DockerContainer):
        yield from _faults(view, topology, FaultKind.UNVERIFIED)
        for file, content in view.inputs.documents:
            yield from (f"{file}: {key} switches a check off" for key in _switches(content))


def _switches(content: object) -> Iterator[str]:
    """Yield each `insecure_skip_verify` that is set, at any depth."""
    if isinstance(content, Mapping):
        yield from (key for key, value in content.items() if key == "insecure_skip_verify" and value)
        content = list(content.values())
    if isinstance(content, list):
        for inner in content:
            yield from _switches(inner)


def _hardened(
    view: TypedResource[DockerContainer], topology: TopologyIndex, *checks: Callable[..., Iterator[str]]
) -> Iterator[str]:
    if view.inputs.is_proxy(topology):
        for check in checks:
            yield from check(view.inputs.traefik)


def _files(container: DockerContainer) -> dict[str, str | None]:
    return {upload.file: upload.text for upload in container.uploads}


@policy(
    DockerContainer,
    obligation="The ingress must speak current TLS alone, and only for names that it has a certificate for.",
    remedy="Set minVersion, cipherSuites, curvePreferences and sniStrict, and list the certificates.",
    severity=Severity.CRITICAL,
)
def ingress_tls_current(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield weak TLS settings: clients could choose the weakest protocol, or probe for host names."""
    yield from _hardened(view, topology, lambda c: ingress_hardening.tls(c, _files(view.inputs)))


@policy(
    DockerContainer,
    obligation="Every answer of the ingress must be encrypted and carry the security headers for browsers.",
    remedy="Name a headers middleware at each entry point that serves, and let the others redirect to it.",
)
def ingress_answers_guarded(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield entry points without encryption and security headers; no router can bypass its entry point."""
    yield from _hardened(view, topology, ingress_hardening.answers)


@policy(
    DockerContainer,
    obligation="Requests to the ingress must be bounded in size, number and time.",
    remedy="Set maxHeaderBytes and respondingTimeouts, rateLimit and inFlightReq at the entry point, "
    "and buffering at the routers of the site's own pages.",
)
def ingress_requests_bounded(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield missing bounds, so that one client cannot exhaust shared resources.

    Bodies are buffered only for the site's own pages, because buffering would block a guest's streams.
    """
    pages = [urlsplit(route.url).netloc for route in topology.routes if route.app]
    yield from _hardened(
        view, topology, ingress_hardening.limits, lambda c: ingress_hardening.bodies(c, pages)
    )


@policy(
    DockerContainer,
    obligation="A request must mean the same to the ingress and to the service behind it.",
    remedy="Set sanitizePath, encodedCharacters and aliasHeadersStrategy at each entry point, "
    "and remove the request header Proxy.",
)
def ingress_requests_cleaned(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield missing normalisation of requests.

    PHP reads X_Real_Ip as X-Real-Ip and Proxy as a setting; many servers decode a path twice.
    """
    yield from _hardened(view, topology, ingress_hardening.requests)


@policy(
    DockerContainer,
    obligation="Only declared proxies may say who a client is, and each client must be counted by itself.",
    remedy="Declare trusted-proxies at the docker host; trustedIPs and excludedIPs must be exactly these.",
)
def ingress_trusts_declared_proxies(
    view: TypedResource[DockerContainer], topology: TopologyIndex
) -> Iterator[str]:
    """Yield undeclared trusted proxies, and limits that count all clients of a proxy as one."""
    declared = [str(prefix) for prefix in topology.docker.trusted_proxies]
    yield from _hardened(view, topology, lambda c: ingress_hardening.proxies(c, declared))


@policy(
    DockerContainer,
    obligation="The ingress must log every access as JSON, and no secret with it.",
    remedy="Set accessLog.format json; drop headers, query parameters and ClientUsername.",
    severity=Severity.MEDIUM,
)
def ingress_log_keeps_no_secret(
    view: TypedResource[DockerContainer], topology: TopologyIndex
) -> Iterator[str]:
    """Yield logged cookies, tokens and credentials."""
    yield from _hardened(view, topology, ingress_hardening.log)


@policy(
    DockerContainer,
    obligation="The ingress must ask for each declared login, and for one where the service itself does not.",
    remedy="Put basicAuth with usersFile and removeHeader, or the declared forwardAuth, before the service.",
    severity=Severity.CRITICAL,
)
def ingress_asks_for_logins(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield routes without the required login: Prometheus has no users but shows the whole site."""
    if not view.inputs.is_proxy(topology):
        return
    guarded = [urlsplit(route.url).netloc for route in topology.routes if route.login == BASIC]
    asked = {urlsplit(route.url).netloc: route.login_url for route in topology.routes if route.login_url}
    yield from _hardened(
        view,
        topology,
        lambda c: ingress_hardening.logins(c, guarded, _files(view.inputs)),
        lambda c: ingress_hardening.forward_logins(c, asked),
    )
    users = ingress_hardening.password_files(view.inputs.traefik)
    for index, upload in enumerate(view.inputs.uploads):
        if upload.file in users and not is_secret(view, ("uploads", index, "content")):
            yield f"uploads[{index}].content holds password hashes in plain text; make it a Pulumi secret"


@policy(
    DockerContainer,
    obligation="Every router of the ingress must be a declared route, with its names, paths and address.",
    remedy="Declare the flow from the ingress to the service, or remove the router.",
    severity=Severity.CRITICAL,
)
def routes_declared(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield routers to undeclared services or under other names and paths, and other limits and headers."""
    if not view.inputs.is_proxy(topology):
        return
    for path, rule, url in view.inputs.traefik.targets():
        to = place(url)
        route = topology.routes_by_place.get(to)
        if split(url).username or split(url).password:
            yield f"{path}: has a login in the URL of {to}"
        if route is None:
            yield f"{path}: leads to {to or '(nothing)'}, which is no declared route"
            continue
        yield from (f"{path}: {each}" for each in _misnamed(rule, route))
    yield from swallowed(view.inputs.traefik)
    yield from unlike(view.inputs.traefik, topology.routes_by_place)
    yield from redirected(view.inputs.traefik, topology.routes)
    yield from _streams(view.inputs, topology)


def _misnamed(rule: str, route: Route) -> Iterator[str]:
    """Yield why a rule is not the route's: it is for other host names, or for other paths of them."""
    if route.paths:
        if rule not in route.rules.values():
            yield f"its rule is not that of {' or '.join(route.rules)}, so it answers for others too"
        return
    names = rule.removesuffix(ADMIN_PAGE_LEFT_OUT)
    hosts = HOST.findall(names)
    if not hosts or re.sub(r"\|\||\s", "", HOST.sub("", names)):
        yield "its rule is not made of host names alone, so it answers for others too"
    for host in hosts:
        if host not in {*route.hosts, *route.redirects}:
            named = " or ".join(route.hosts)
            yield f"serves {route.service} under {host}, which is not its declared {named}"


def _streams(container: DockerContainer, topology: TopologyIndex) -> Iterator[str]:
    """Yield routers of TCP and UDP that are no declared stream."""
    declared = {(each.entry, each.address) for each in topology.streams}
    for path, router, address, protocol in container.traefik.streams():
        entries = {each.port for each in container.traefik.entered(router)}
        if not entries or {(entry, place(address)) for entry in entries} - declared:
            ports = ", ".join(sorted(map(str, entries))) or "no port"
            yield f"{path}: leads from {ports} to {place(address)}, which is no declared stream"
        if "tls" in router or (protocol is Protocol.TCP and router.get("rule") != ANY_NAME):
            yield f"{path}: its rule is not {ANY_NAME} without TLS, so other connections go elsewhere"


@policy(
    DockerContainer,
    obligation="No router must pass Vaultwarden's admin page, but where its guest declares until when.",
    remedy=f"End the rule in{ADMIN_PAGE_LEFT_OUT}, and change no path on the way; or declare admin-page.",
    severity=Severity.CRITICAL,
)
def admin_pages_closed(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield routers that pass Vaultwarden's admin page: one token lists accounts and invites users."""
    closed = {place for place, route in topology.routes_by_place.items() if not route.admin_page}
    yield from _hardened(view, topology, lambda c: ingress_hardening.admin_pages(c, closed))


@policy(
    DockerContainer,
    obligation="The ingress must listen on edge, on loopback, and where services have flows to it.",
    remedy="Write the address before the port of each entry point; declare the flow that comes by another.",
)
def ingress_listens_on_edge(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield entry points with other addresses: a newcomer on a VLAN would reach them on the ingress's leg."""
    if not view.inputs.is_ingress(topology):
        return
    ears = {f"{at}:{number}" for at, numbers in topology.ears.items() for number in numbers}
    declared = view.inputs.traefik.declared
    for name in (each.name for each in view.inputs.traefik.entrypoints):
        address = str(declared[name].get("address", ""))
        host = address.rpartition(":")[0]
        if host != str(topology.edge_address) and address.removesuffix("/tcp") not in ears:
            yield f"entry point {name} listens on {host or 'every address'}, not on {topology.edge_address}"


@policy(
    DockerContainer,
    obligation="Every declared route must be served, on a port that is published.",
    remedy="Add the router, and publish the entrypoint's port.",
)
def routes_served(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield declared routes that no router serves, and ports without a listener."""
    container = view.inputs
    if not container.is_ingress(topology):
        return
    served = defaultdict[str, set[str]](set)
    for _, rule, url in container.traefik.targets():
        served[place(url)] |= {rule, *HOST.findall(rule)}
    for route in topology.routes if not container.traefik.unread else ():
        hosts = served.get(urlsplit(route.url).netloc)
        if hosts is None:
            yield f"no router leads to {route.name}, which is a declared route"
        yield from (
            f"no router serves {route.service} as {host}, which is declared"
            for host in ((*route.aliases, *route.redirects) if not route.paths else ())
            if hosts and host not in hosts
        )
        yield from (
            f"no router serves {route.service} as {where}, which is declared"
            for where, rule in (route.rules.items() if route.paths else ())
            if hosts and rule not in hosts
        )
    yield from _missing_streams(container, topology)
    listening = {(each.port.number, each.port.protocol) for each in container.traefik.entrypoints}
    for port in container.ports:
        if (port.internal, port.protocol) not in listening:
            yield f"publishes {port}, where no entrypoint listens"
    published = {(port.external, port.protocol) for port in container.ports}
    for entry, sources in topology.entries.items():
        if (entry.number, entry.protocol) not in published:
            yield f"does not publish {entry}, which {', '.join(sorted(sources))} is declared to reach"


def _missing_streams(container: DockerContainer, topology: TopologyIndex) -> Iterator[str]:
    passed = {
        (entry.port, place(address))
        for _, router, address, _ in container.traefik.streams()
        for entry in container.traefik.entered(router)
    }
    for stream in topology.streams if not container.traefik.unread else ():
        if (stream.entry, stream.address) not in passed:
            yield f"no router leads from {stream.entry} to {stream.service}:{stream.port}, a declared stream"


@policy(
    DockerContainer,
    obligation="Routes must come from the ingress's files, never from labels.",
    remedy="Remove the traefik labels and declare the flow.",
)
def no_routes_from_labels(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield Traefik labels.

    Labels would publish a container; on several networks Traefik would pick one arbitrarily.
    """
    labels = {label.label.lower(): label.value for label in view.inputs.labels}
    routed = sorted(label for label in labels if label.startswith("traefik."))
    if not routed:
        return
    yield f"label {routed[0]} makes a route that no file declares"
    if len(view.inputs.legs) > 1 and "traefik.docker.network" not in labels:
        yield "is on several networks, and no label says which of them Traefik is to use"
