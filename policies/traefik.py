"""Finds faults in Traefik's configuration: skipped, opaque and unsafe settings.

`resources.traefik` assembles the configuration; `resources.traefik_catalogue` lists the known settings.

Note: Traefik skips what it cannot read with one log line, so a setting missing from the catalogue is a
fault, too. Messages name paths, never values that may be secret.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from resources.traefik import (
    Configuration,
    FaultKind,
    TraefikFault,
    bare,
    below,
    broken,
    children,
    is_port,
    listed,
    opaque,
)
from resources.traefik_catalogue import (
    ACCESS_LOG,
    AUTHENTICATION,
    CERTIFICATE,
    ENCODED,
    ENTRYPOINT,
    ENTRYPOINT_HTTP,
    FILE_PROVIDER,
    FORWARDED,
    LOG_FIELDS,
    MIDDLEWARES,
    REDIRECTION,
    ROUTER,
    SECTIONS,
    SERVER,
    SERVERS_TRANSPORT,
    SERVICE,
    SETTINGS,
    SETTINGS_OF,
    TIMEOUTS,
    TLS,
    TLS_OPTION,
    TRANSPORT,
)


def faults(configuration: Configuration) -> Iterator[TraefikFault]:
    """Yield every fault of a configuration."""
    yield from configuration.unread
    yield from _static_faults(configuration)
    for file, content in configuration.dynamic:
        yield from _shape(file, content)
    for protocol in ("http", "tcp", "udp"):
        yield from _routing_faults(configuration, protocol)
    yield from _transports(configuration)
    for path, _, option in configuration.items("tls", "options"):
        yield from _unknown(path, option, TLS_OPTION)
    for path, certificate in configuration.certificates:
        yield from _unknown(path, certificate, CERTIFICATE)


def _static_faults(configuration: Configuration) -> Iterator[TraefikFault]:
    providers, metrics = (below(configuration.static, name) for name in ("providers", "metrics"))
    fields = below(below(configuration.static, "accesslog"), "fields")
    for prefix, settings, known in (
        ("", configuration.static, SETTINGS),
        ("providers.", providers, frozenset({"file", "providersthrottleduration"})),
        ("providers.file.", below(providers, "file"), FILE_PROVIDER),
        ("metrics.", metrics, frozenset({"prometheus"})),
        ("ping.", below(configuration.static, "ping"), frozenset({"entrypoint"})),
        ("accesslog.", below(configuration.static, "accesslog"), ACCESS_LOG),
        ("accesslog.fields.", fields, LOG_FIELDS),
    ):
        for name in sorted(set(settings) - known, key=str):
            yield opaque(f"{prefix}{name}", "is not a setting whose traffic is known")
    yield from _texts("accesslog.fields.names", below(fields, "names"))
    yield from _entrypoint_faults(configuration)
    if _true(below(configuration.static, "api").get("insecure")):
        yield TraefikFault(
            kind=FaultKind.EXPOSED, path="api.insecure", text="serves the dashboard without authentication"
        )
    for name in ("serverstransport", "tcpserverstransport"):
        transport = below(configuration.static, name)
        if _true(transport.get("insecureskipverify", below(transport, "tls").get("insecureskipverify"))):
            yield TraefikFault(kind=FaultKind.UNVERIFIED, path=name, text="switches certificate checks off")


def _entrypoint_faults(configuration: Configuration) -> Iterator[TraefikFault]:
    for name, settings in configuration.declared.items():
        path = f"entrypoints.{name}"
        yield from _unknown(path, settings, ENTRYPOINT)
        if not isinstance(settings, Mapping):
            continue
        address = re.fullmatch(r"[^/]*:(\d+)(/(tcp|udp))?", str(settings.get("address", "")))
        if address is None or not is_port(address[1]):
            yield broken(path, "has no address with a port")
        http = below(settings, "http")
        yield from _unknown(f"{path}.http", http, ENTRYPOINT_HTTP)
        yield from _unknown(f"{path}.http.tls", below(http, "tls"), TLS)
        redirections = below(http, "redirections")
        yield from _unknown(f"{path}.http.redirections", redirections, frozenset({"entrypoint"}))
        to = below(redirections, "entrypoint")
        yield from _unknown(f"{path}.http.redirections.entrypoint", to, REDIRECTION)
        yield from _unknown(f"{path}.http.encodedcharacters", below(http, "encodedcharacters"), ENCODED)
        transport = below(settings, "transport")
        yield from _unknown(f"{path}.transport", transport, TRANSPORT)
        timeouts = below(transport, "respondingtimeouts")
        yield from _unknown(f"{path}.transport.respondingtimeouts", timeouts, TIMEOUTS)
        headers = below(settings, "forwardedheaders")
        yield from _unknown(f"{path}.forwardedheaders", headers, FORWARDED)
        defined = {middleware for _, middleware, _ in configuration.items("http", "middlewares")}
        for middleware in listed(http.get("middlewares")):
            if bare(str(middleware)) not in defined:
                yield broken(path, f"names middleware {middleware}, which is not defined")
        if _true(headers.get("insecure")):
            yield TraefikFault(
                kind=FaultKind.EXPOSED, path=path, text="trusts X-Forwarded headers from every address"
            )
    ping = configuration.static.get("ping")
    name = str(below(configuration.static, "ping").get("entrypoint", "traefik")).lower()
    if ping is not None and name not in configuration.declared:
        yield broken("ping", f"names entrypoint {name}, which is not defined, so Traefik opens port 8080")


def _routing_faults(configuration: Configuration, protocol: str) -> Iterator[TraefikFault]:
    names = {
        section: {n for _, n, _ in configuration.items(protocol, section)} for section in SECTIONS[protocol]
    }
    for section, counts in (
        (s, Counter(n for _, n, _ in configuration.items(protocol, s))) for s in SECTIONS[protocol]
    ):
        for name in (name for name, count in counts.items() if count > 1):
            yield broken(f"{protocol}.{section}.{name}", "is defined in two files, so neither counts")
    references = _References(
        protocol=protocol,
        services=names["services"],
        middlewares=names.get("middlewares", set()),
        transports=names.get("serversTransports", set()),
        entrypoints=set(configuration.declared),
        secured={
            name
            for name, settings in configuration.declared.items()
            if isinstance(settings, Mapping) and {"tls", "redirections"} & set(below(settings, "http"))
        },
        resolvers=set(configuration.resolvers),
        options={name for _, name, _ in configuration.items("tls", "options")} | {"default"},
        authentication={
            name
            for _, name, _ in configuration.items(protocol, "middlewares")
            if any(kind in AUTHENTICATION for _, kind, _ in configuration.middlewares([name]))
        }
        if protocol == "http"
        else set(),
    )
    rules: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for path, _, router in configuration.items(protocol, "routers"):
        if not isinstance(router, Mapping):
            yield broken(path, "is not a mapping")
            continue
        yield from references.router(path, router)
        rule = (str(router.get("rule", "")), tuple(sorted(map(str, listed(router.get("entryPoints"))))))
        rules[rule] += 1
        if rules[rule] == 2 and not router.get("priority"):  # noqa: PLR2004  # only the first repetition is reported
            yield broken(path, "has the rule of another router; which of them answers is chance")
    for path, _, service in configuration.items(protocol, "services"):
        yield from references.service(path, service)
    for path, _, middleware in configuration.items(protocol, "middlewares"):
        yield from references.middleware(path, middleware)


def _transports(configuration: Configuration) -> Iterator[TraefikFault]:
    for protocol in ("http", "tcp"):
        for path, _, transport in configuration.items(protocol, "serversTransports"):
            yield from _unknown(path, transport, SERVERS_TRANSPORT[protocol])
            settings = transport if isinstance(transport, Mapping) else {}
            if _true(settings.get("insecureSkipVerify", below(settings, "tls").get("insecureSkipVerify"))):
                yield TraefikFault(
                    kind=FaultKind.UNVERIFIED, path=path, text="switches certificate checks off"
                )


@dataclass(frozen=True, kw_only=True)
class _References:
    """Names defined in the configuration of one protocol, to find references to undefined ones."""

    protocol: str
    services: set[str]
    middlewares: set[str]
    transports: set[str]
    entrypoints: set[str]
    secured: set[str]
    resolvers: set[str]
    options: set[str]
    authentication: set[str]

    def router(self, path: str, router: Mapping[str, object]) -> Iterator[TraefikFault]:
        yield from _unknown(path, router, ROUTER)
        service = str(router.get("service", ""))
        if service.endswith("@internal"):
            if not self.authentication & {bare(str(m)) for m in listed(router.get("middlewares"))}:
                yield TraefikFault(
                    kind=FaultKind.EXPOSED, path=path, text=f"serves {service} without authentication"
                )
        else:
            yield from self._missing(path, "service", self.services, [service])
        yield from self._missing(path, "middleware", self.middlewares, listed(router.get("middlewares")))
        known = {name.lower() for name in self.entrypoints}
        for name in listed(router.get("entryPoints")):
            if str(name).lower() not in known:
                yield broken(path, f"names entrypoint {name}, which is not defined")
        tls = router.get("tls")
        if not listed(router.get("entryPoints")):
            yield TraefikFault(
                kind=FaultKind.EXPOSED, path=path, text="names no entrypoint, so it answers on all of them"
            )
        for name in listed(router.get("entryPoints")):
            if self.protocol == "http" and tls is None and str(name).lower() in known - self.secured:
                yield TraefikFault(
                    kind=FaultKind.EXPOSED, path=path, text=f"serves in clear on entrypoint {name}"
                )
        if isinstance(tls, Mapping):
            if (resolver := tls.get("certResolver")) and str(resolver).lower() not in self.resolvers:
                yield broken(path, f"names certificate resolver {resolver}, which is not defined")
            yield from self._missing(path, "TLS option", self.options, listed(tls.get("options")))

    def service(self, path: str, service: object) -> Iterator[TraefikFault]:
        if not isinstance(service, Mapping):
            yield broken(path, "is not a mapping")
            return
        yield from _unknown(path, service, frozenset(SERVICE))
        for kind, known in SERVICE.items():
            if kind not in service:
                continue
            body = below(service, kind)
            yield from _unknown(f"{path}.{kind}", body, known)
            yield from self._missing(path, "transport", self.transports, listed(body.get("serversTransport")))
            yield from self._missing(path, "service", self.services, children(service))
            for server in listed(body.get("servers")):
                yield from _unknown(f"{path}.{kind}.servers", server, SERVER)
            if kind == "loadBalancer" and not listed(body.get("servers")):
                yield broken(path, "has no server")

    def middleware(self, path: str, middleware: object) -> Iterator[TraefikFault]:
        if not isinstance(middleware, Mapping):
            yield broken(path, "is not a mapping")
            return
        for kind in sorted(set(middleware) - MIDDLEWARES, key=str):
            yield opaque(f"{path}.{kind}", "sends requests to destinations that can't be known")
        for kind in sorted(set(middleware) & set(SETTINGS_OF)):
            yield from _unknown(f"{path}.{kind}", middleware[kind], SETTINGS_OF[kind])
            for key in ("customRequestHeaders", "customResponseHeaders"):
                yield from _texts(f"{path}.{kind}.{key}", below(below(middleware, kind), key))
        chain = below(middleware, "chain")
        yield from self._missing(path, "middleware", self.middlewares, listed(chain.get("middlewares")))
        errors = below(middleware, "errors")
        yield from self._missing(path, "service", self.services, listed(errors.get("service")))

    @staticmethod
    def _missing(path: str, what: str, known: set[str], names: Iterable[object]) -> Iterator[TraefikFault]:
        for name in names:
            if bare(str(name)) not in known:
                yield broken(path, f"names {what} {name or '(none)'}, which is not defined")


def _shape(file: str, content: Mapping[str, object]) -> Iterator[TraefikFault]:
    for top, body in content.items():
        if top not in SECTIONS:
            yield opaque(f"{file}: {top}", "is not a section that Traefik's file provider is known to have")
        elif not body or not isinstance(body, Mapping):
            yield broken(f"{file}: {top}", "is empty, so Traefik drops the whole file")
        else:
            for section, entries in body.items():
                if section not in SECTIONS[top]:
                    yield opaque(f"{file}: {top}.{section}", "is not a section that is understood")
                elif not entries:
                    yield broken(f"{file}: {top}.{section}", "is empty, so Traefik drops the whole file")


def _unknown(path: str, value: object, known: frozenset[str]) -> Iterator[TraefikFault]:
    if not isinstance(value, Mapping):
        yield broken(path, "is not a mapping")
        return
    for key in sorted(set(value) - known, key=str):
        yield opaque(f"{path}.{key}", "is not a setting whose traffic is known")


def _texts(path: str, value: Mapping[str, object]) -> Iterator[TraefikFault]:
    for key in sorted((key for key, inner in value.items() if not isinstance(inner, str)), key=str):
        yield broken(f"{path}.{key}", "is not text")


def _true(value: object) -> bool:
    return str(value).lower() == "true"
