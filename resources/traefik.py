"""Traefik's configuration: what it listens on, its routers, and the servers that they lead to.

`resources.traefik_sources` reads it; `policies.traefik` checks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from reachability.facts import Entrypoint
from resources.traefik_shape import lower
from topology.model import Port, Protocol

INTERNAL: Final = "traefik"
"""Name of the entry point that Traefik keeps for its own pages; a router must name it."""


class FaultKind(StrEnum):
    """The effect of a fault on the proof."""

    OPAQUE = "opaque"
    BROKEN = "broken"
    EXPOSED = "exposed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class TraefikFault:
    """A fault at a path of the configuration."""

    kind: FaultKind
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Static settings with lower-case keys, dynamic files as (path, content), and the faults of reading.

    Values are as Traefik takes them; `misfits` are those of another type, and settings that are not known.
    """

    static: Mapping[str, Any]
    dynamic: tuple[tuple[str, Mapping[str, Any]], ...]
    unread: tuple[TraefikFault, ...]
    misfits: tuple[TraefikFault, ...] = ()

    @property
    def declared(self) -> Mapping[str, Any]:
        """Settings of all entry points by name; Traefik has a default one if none is set."""
        return below(self.static, "entrypoints") or {"http": {"address": ":80"}}

    @property
    def entrypoints(self) -> tuple[Entrypoint, ...]:
        """Ports that Traefik listens on for others, so without those on loopback.

        A UDP router without entry points is on all of UDP, `asDefault` or not.
        """
        return tuple(
            Entrypoint(
                name=name,
                port=port,
                default=port.protocol is Protocol.UDP
                or (name != INTERNAL and bool(settings.get("asdefault") or not self._chosen)),
                address=_listens_at(str(settings["address"])),
            )
            for name, settings in self.declared.items()
            if isinstance(settings, Mapping) and (port := _listens(str(settings.get("address", ""))))
        )

    @property
    def _chosen(self) -> bool:
        return any(isinstance(e, Mapping) and e.get("asdefault") for e in self.declared.values())

    @property
    def reads_labels(self) -> bool:
        """Whether containers' labels create routers."""
        return bool({"docker", "swarm"} & lower(below(self.static, "providers")).keys())

    @property
    def exposed_by_default(self) -> bool:
        """Whether every container without a contrary label gets a router."""
        docker = below(lower(below(self.static, "providers")), "docker")
        return str(docker.get("exposedbydefault", True)).lower() != "false"

    def items(self, protocol: str, section: str) -> Iterator[tuple[str, str, Any]]:
        """Yield path, name and content of every entry in a section."""
        for file, content in self.dynamic:
            for name, value in below(below(content, protocol), section).items():
                yield f"{file}: {protocol}.{section}.{name}", name, value

    def middlewares(self, names: Iterable[Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield path, kind and settings of these HTTP middlewares, and of those in their chains."""
        defined = {name: (path, value) for path, name, value in self.items("http", "middlewares")}
        waiting, seen = [bare(str(name)) for name in names], set()
        while waiting:
            name = waiting.pop(0)
            path, value = defined.get(name, ("", {}))
            if name in seen or not isinstance(value, Mapping):
                continue
            seen.add(name)
            for kind in value:
                yield path, kind, below(value, kind)
            waiting += [bare(str(m)) for m in listed(below(value, "chain").get("middlewares"))]

    @property
    def resolvers(self) -> Mapping[str, Any]:
        """Certificate resolvers by the name that routers use."""
        return below(self.static, "certificatesresolvers")

    @property
    def listening(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Entry points that serve others over HTTP, with their settings: all but those of streams alone."""
        names = {each.name for each in self.entrypoints} - (self._named("tcp", "udp") - self._named("http"))
        return tuple((name, settings) for name, settings in self.declared.items() if name in names)

    def entered(self, router: Mapping[str, Any]) -> Iterator[Entrypoint]:
        """Yield the entry points that a router names."""
        named = {str(name) for name in listed(router.get("entryPoints"))}
        yield from (each for each in self.entrypoints if each.name in named)

    def _named(self, *protocols: str) -> set[str]:
        """Return the entry points that routers of these protocols name."""
        routers = (router for each in protocols for _, _, router in self.items(each, "routers"))
        named = (listed(router.get("entryPoints")) for router in routers if isinstance(router, Mapping))
        return {str(name) for names in named for name in names}

    @property
    def certificates(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Certificates by path; Traefik selects one by host name."""
        return tuple(
            (f"{file}: tls.certificates[{index}]", entry)
            for file, content in self.dynamic
            for index, entry in enumerate(listed(below(content, "tls").get("certificates")))
            if isinstance(entry, Mapping)
        )

    @property
    def routed(self) -> Iterator[tuple[str, list[Any], str]]:
        """Each HTTP router's path and middlewares, with each `host:port` that the router leads to."""
        services = {name: value for _, name, value in self.items("http", "services")}
        for path, _, router in self.items("http", "routers"):
            if isinstance(router, Mapping):
                for url in _servers(services, bare(str(router.get("service", ""))), set()):
                    yield path, listed(router.get("middlewares")), place(url)

    @property
    def asked(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Each server: its service's path, its URL or address, and the transport to it."""
        for protocol in ("http", "tcp", "udp"):
            transports = {name: value for _, name, value in self.items(protocol, "serversTransports")}
            for path, _, service in self.items(protocol, "services"):
                balancer = below(service, "loadBalancer") if isinstance(service, Mapping) else {}
                transport = below(transports, bare(str(balancer.get("serversTransport", ""))))
                for server in listed(balancer.get("servers")):
                    if isinstance(server, Mapping):
                        yield path, str(server.get("url") or server.get("address") or ""), transport

    def targets(self) -> Iterator[tuple[str, str, str]]:
        """Yield each server that an HTTP router leads to: the router's path, its rule, and the URL."""
        for path, router, url in self._led("http"):
            yield path, str(router.get("rule", "")), url

    def streams(self) -> Iterator[tuple[str, Mapping[str, Any], str, Protocol]]:
        """Yield each server that a router of TCP or UDP leads to: path, router, address and protocol."""
        for protocol in Protocol:
            for path, router, address in self._led(protocol):
                yield path, router, address, protocol

    def _led(self, protocol: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        services = {name: value for _, name, value in self.items(protocol, "services")}
        for path, _, router in self.items(protocol, "routers"):
            if isinstance(router, Mapping):
                for url in _servers(services, bare(str(router.get("service", ""))), set()):
                    yield path, router, url


def children(service: Mapping[str, Any]) -> list[Any]:
    """Return the services that a service forwards requests to."""
    weighted, mirroring, failover = (below(service, kind) for kind in ("weighted", "mirroring", "failover"))
    return [
        *(child.get("name") for child in listed(weighted.get("services")) if isinstance(child, Mapping)),
        *(child.get("name") for child in listed(mirroring.get("mirrors")) if isinstance(child, Mapping)),
        *listed(mirroring.get("service")),
        *listed(failover.get("service")),
        *listed(failover.get("fallback")),
    ]


def _servers(services: Mapping[str, Any], name: str, seen: set[str]) -> Iterator[str]:
    """Yield the servers that a service leads to, those of a service in `seen` once."""
    service = services.get(name)
    if name in seen or not isinstance(service, Mapping):
        return
    seen.add(name)
    for server in listed(below(service, "loadBalancer").get("servers")):
        if isinstance(server, Mapping):
            yield str(server.get("url") or server.get("address") or "")
    for child in children(service):
        yield from _servers(services, bare(str(child)), seen)


def below(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the mapping at a key; an empty one if there is none."""
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a value as a list: empty for no value, of one item for a single value."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def bare(name: str) -> str:
    """Return a name without its suffix `@file`."""
    return name.removesuffix("@file")


def _listens_at(address: str) -> IPv4Address | None:
    """Return the one IPv4 address that Traefik listens at; None: at every address, or a name's."""
    try:
        found = IPv4Address(address.partition("/")[0].rpartition(":")[0])
    except ValueError:
        return None
    return None if found.is_unspecified else found


def _listens(address: str) -> Port | None:
    """Return the port of an address such as `:80` or `0.0.0.0:53/udp`; None on loopback or without a port."""
    where, _, protocol = address.partition("/")
    host, _, number = where.rpartition(":")
    if _LOOPBACK.fullmatch(host) or not is_port(number):
        return None
    return Port(number=int(number), protocol=Protocol.UDP if protocol == "udp" else Protocol.TCP)


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) <= _LAST_PORT


_LAST_PORT: Final = 65535
_LOOPBACK: Final = re.compile(r"127(\.[0-9]{1,3}){3}|localhost|\[::1\]")


def split(target: str) -> SplitResult:
    """Return the parts of a URL, or of a target without a scheme; an unusable one has none."""
    try:
        return urlsplit(target if "://" in target else f"//{target}")
    except ValueError:
        return SplitResult("", "", "", "", "")


def place(url: str) -> str:
    """Return the `host:port` of a URL or address, without a login, and with its scheme's port."""
    parts = split(url)
    with suppress(ValueError):
        port = parts.port or {"http": 80, "h2c": 80, "https": 443}.get(parts.scheme)
        return f"{parts.hostname or ''}:{port or ''}".removesuffix(":")
    return parts.hostname or ""


def opaque(path: str, text: str) -> TraefikFault:
    """Return a fault for configuration whose effect cannot be determined."""
    return TraefikFault(kind=FaultKind.OPAQUE, path=path, text=text)


def broken(path: str, text: str) -> TraefikFault:
    """Return a fault for configuration that Traefik ignores."""
    return TraefikFault(kind=FaultKind.BROKEN, path=path, text=text)
