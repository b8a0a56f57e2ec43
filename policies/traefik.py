"""Finds faults in Traefik's configuration: skipped, opaque and unsafe settings.

`resources.traefik` assembles the configuration; `resources.traefik_shape` lists the known settings.

Note: Traefik skips what it cannot read with one log line, so a setting missing from that list is a fault,
too. Messages name paths, never values that may be secret.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from resources.traefik import (
    INTERNAL,
    Configuration,
    FaultKind,
    TraefikFault,
    bare,
    below,
    broken,
    children,
    is_port,
    listed,
)
from resources.traefik_shape import DYNAMIC, Struct

_AUTHENTICATION: Final = frozenset({"basicAuth", "digestAuth"})
_SECTIONS: Final = {
    protocol: frozenset(shape.fields)
    for protocol, shape in DYNAMIC.fields.items()
    if isinstance(shape, Struct) and protocol != "tls"
}
_SERVICES: Final = ("loadBalancer", "weighted", "mirroring", "failover")


def faults(configuration: Configuration) -> Iterator[TraefikFault]:
    """Yield every fault of a configuration."""
    yield from configuration.unread
    yield from configuration.misfits
    yield from _static_faults(configuration)
    for protocol in _SECTIONS:
        yield from _routing_faults(configuration, protocol)
    yield from _transports(configuration)


def _static_faults(configuration: Configuration) -> Iterator[TraefikFault]:
    yield from _entrypoint_faults(configuration)
    if below(configuration.static, "api").get("insecure"):
        yield TraefikFault(
            kind=FaultKind.EXPOSED, path="api.insecure", text="serves the dashboard without authentication"
        )
    for name in ("serverstransport", "tcpserverstransport"):
        transport = below(configuration.static, name)
        if transport.get("insecureskipverify") or below(transport, "tls").get("insecureskipverify"):
            yield TraefikFault(kind=FaultKind.UNVERIFIED, path=name, text="switches certificate checks off")


def _entrypoint_faults(configuration: Configuration) -> Iterator[TraefikFault]:
    for name, settings in configuration.declared.items():
        path = f"entrypoints.{name}"
        if not isinstance(settings, Mapping):
            continue
        address = re.fullmatch(r"[^/\s]*:(\d+)(/(tcp|udp))?", str(settings.get("address", "")))
        if address is None or not is_port(address[1]):
            yield broken(path, "has no address with a port")
        http = below(settings, "http")
        defined = {middleware for _, middleware, _ in configuration.items("http", "middlewares")}
        for middleware in listed(http.get("middlewares")):
            if bare(str(middleware)) not in defined:
                yield broken(path, f"names middleware {middleware}, which is not defined")
        if below(settings, "forwardedheaders").get("insecure"):
            yield TraefikFault(
                kind=FaultKind.EXPOSED, path=path, text="trusts X-Forwarded headers from every address"
            )
    yield from _own_pages(configuration)


def _own_pages(configuration: Configuration) -> Iterator[TraefikFault]:
    """Yield pages of Traefik's own that open port 8080, and measurements that others than this host read."""
    prometheus = below(configuration.static, "metrics").get("prometheus")
    for path, settings in (("ping", configuration.static.get("ping")), ("metrics.prometheus", prometheus)):
        if not isinstance(settings, Mapping):
            continue
        name = str(settings.get("entrypoint", INTERNAL))
        if name not in configuration.declared:
            yield broken(path, f"names entrypoint {name}, which is not defined, so Traefik opens port 8080")
        elif settings is prometheus and name in {entry.name for entry in configuration.entrypoints}:
            yield TraefikFault(
                kind=FaultKind.EXPOSED, path=path, text=f"serves measurements on entrypoint {name}"
            )


def _routing_faults(configuration: Configuration, protocol: str) -> Iterator[TraefikFault]:
    names = {
        section: {n for _, n, _ in configuration.items(protocol, section)} for section in _SECTIONS[protocol]
    }
    for section, counts in (
        (s, Counter(n for _, n, _ in configuration.items(protocol, s))) for s in _SECTIONS[protocol]
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
            if any(kind in _AUTHENTICATION for _, kind, _ in configuration.middlewares([name]))
        }
        if protocol == "http"
        else set(),
    )
    rules: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for path, _, router in configuration.items(protocol, "routers"):
        if not isinstance(router, Mapping):
            continue
        yield from references.router(path, router)
        if protocol != "udp" and not router.get("rule"):
            yield broken(path, "has no rule, so Traefik leaves it out")
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
            settings = transport if isinstance(transport, Mapping) else {}
            if settings.get("insecureSkipVerify") or below(settings, "tls").get("insecureSkipVerify"):
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

    def router(self, path: str, router: Mapping[str, Any]) -> Iterator[TraefikFault]:
        service = str(router.get("service", ""))
        if service.endswith("@internal"):
            if not self.authentication & {bare(str(m)) for m in listed(router.get("middlewares"))}:
                yield TraefikFault(
                    kind=FaultKind.EXPOSED, path=path, text=f"serves {service} without authentication"
                )
        else:
            yield from self._missing(path, "service", self.services, [service])
        yield from self._missing(path, "middleware", self.middlewares, listed(router.get("middlewares")))
        entered, tls = [str(name) for name in listed(router.get("entryPoints"))], router.get("tls")
        for name in entered:
            if name not in self.entrypoints:
                yield broken(path, f"names entrypoint {name}, which is not defined")
        if not entered:
            yield TraefikFault(
                kind=FaultKind.EXPOSED, path=path, text="names no entrypoint, so it answers on all of them"
            )
        for name in entered:
            if self.protocol == "http" and tls is None and name in self.entrypoints - self.secured:
                yield TraefikFault(
                    kind=FaultKind.EXPOSED, path=path, text=f"serves in clear on entrypoint {name}"
                )
        if isinstance(tls, Mapping):
            if (resolver := tls.get("certResolver")) and str(resolver) not in self.resolvers:
                yield broken(path, f"names certificate resolver {resolver}, which is not defined")
            yield from self._missing(path, "TLS option", self.options, listed(tls.get("options")))

    def service(self, path: str, service: object) -> Iterator[TraefikFault]:
        if not isinstance(service, Mapping):
            return
        yield from self._kinds(path, service)
        for kind in (kind for kind in _SERVICES if kind in service):
            body = below(service, kind)
            yield from self._missing(path, "transport", self.transports, listed(body.get("serversTransport")))
            yield from self._missing(path, "service", self.services, children(service))
            servers = listed(body.get("servers"))
            if kind == "loadBalancer" and not servers:
                yield broken(path, "has no server")
            if not all(
                isinstance(each, Mapping) and (each.get("url") or each.get("address")) for each in servers
            ):
                yield broken(path, "has a server without an address")

    def middleware(self, path: str, middleware: object) -> Iterator[TraefikFault]:
        if not isinstance(middleware, Mapping):
            return
        yield from self._kinds(path, middleware)
        chain = below(middleware, "chain")
        yield from self._missing(path, "middleware", self.middlewares, listed(chain.get("middlewares")))
        errors = below(middleware, "errors")
        yield from self._missing(path, "service", self.services, listed(errors.get("service")))

    @staticmethod
    def _kinds(path: str, value: Mapping[str, Any]) -> Iterator[TraefikFault]:
        if len(value) > 1:
            yield broken(path, "is of two kinds, so Traefik leaves it out")

    @staticmethod
    def _missing(path: str, what: str, known: set[str], names: Iterable[Any]) -> Iterator[TraefikFault]:
        for name in names:
            if bare(str(name)) not in known:
                yield broken(path, f"names {what} {name or '(none)'}, which is not defined")
