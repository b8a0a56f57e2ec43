"""Reads Traefik's routers from dynamic configuration and container labels: which entrypoint leads where.

Rules and middlewares are ignored, because neither can widen what a router reaches. `reachability.engine`
resolves names to containers.

Note: with the Docker provider on and exposing by default, a container without labels is routed as well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from reachability.facts import ContainerFact, Entrypoint, Proxy, ProxyService, Router, RouterProtocol
from topology.model import Port, Protocol

INTERNAL = "internal"
"""Traefik's own provider (`api@internal`): such a service is the proxy itself."""

_LABEL = re.compile(r"traefik\.(http|tcp|udp)\.(routers|services)\.([^.]+)\.(.+)", re.IGNORECASE)
_HTTPS = ("https", "wss")


class Server(NamedTuple):
    """A router's destination. `host` is a name or address, None when `text` cannot be read."""

    entrypoints: tuple[Port, ...]
    origin: str
    text: str
    host: str | None
    port: Port | None


class Labelled(NamedTuple):
    """A container that a proxy routes to because of its labels; `port` None is any port."""

    entrypoints: tuple[Port, ...]
    origin: str
    container: str
    port: Port | None


def parse_dynamic(
    content: Mapping[str, Any], origin: str
) -> tuple[tuple[Router, ...], tuple[ProxyService, ...]]:
    """Return the routers and services of a dynamic configuration, given as parsed YAML or TOML.

    Keys are read in either case, as Traefik does. Values whose shape Traefik does not accept are skipped:
    Traefik refuses the whole file then.
    """
    routers: list[Router] = []
    services: list[ProxyService] = []
    for kind in RouterProtocol:
        section = _mapping(_get(content, kind))
        for name, router in _mapping(_get(section, "routers")).items():
            routers.append(
                Router(
                    name=name,
                    origin=f"{origin}: {kind} router {name}",
                    kind=kind,
                    service=str(_get(router, "service") or ""),
                    entrypoints=tuple(map(str, _list(_get(router, "entryPoints")))),
                    rule=str(_get(router, "rule") or ""),
                )
            )
        for name, service in _mapping(_get(section, "services")).items():
            services.append(
                ProxyService(
                    name=name,
                    origin=f"{origin}: {kind} service {name}",
                    kind=kind,
                    servers=tuple(_servers(service)),
                    services=tuple(_children(service)),
                )
            )
    return tuple(routers), tuple(services)


def _servers(service: Any) -> Iterator[str]:
    for server in _list(_get(_get(service, "loadBalancer"), "servers")):
        text = _get(server, "url") or _get(server, "address")
        if text:
            yield str(text)


def _children(service: Any) -> Iterator[str]:
    for child in _list(_get(_get(service, "weighted"), "services")):
        yield str(_get(child, "name"))
    mirroring, failover = _get(service, "mirroring"), _get(service, "failover")
    for mirror in _list(_get(mirroring, "mirrors")):
        yield str(_get(mirror, "name"))
    yield from filter(
        None, (_get(mirroring, "service"), _get(failover, "service"), _get(failover, "fallback"))
    )


def _get(value: Any, key: str) -> Any:
    wanted = key.lower()
    return next((v for k, v in _mapping(value).items() if str(k).lower() == wanted), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def servers(proxy: Proxy) -> Iterator[Server]:
    """Yield every server of every router that is on an entrypoint."""
    services = {(service.kind, service.name): service for service in proxy.services}
    for router in proxy.routers:
        ports = _ports(proxy, router.kind, router.entrypoints)
        for text in _leaves(services, router.kind, router.service, set()):
            host, port = _read(text, router.kind)
            yield Server(ports, router.origin, text, host, port)


def labelled(proxy: Proxy, containers: Iterable[ContainerFact]) -> Iterator[Labelled]:
    """Yield the containers that a proxy's Docker provider routes to; none if the provider ignores labels.

    A container is routed when `traefik.enable` is true, or is absent while the provider exposes by default.
    Without a router of its own it gets one on every default entrypoint. Without a port label it is routed on
    every port that its service declares; Traefik itself takes the lowest port that the image exposes.
    """
    for container in containers if proxy.labels else ():
        labels = {key.lower(): value for key, value in container.labels.items()}
        enabled = labels.get("traefik.enable", str(proxy.exposed_by_default)).lower()
        if enabled != "true" or container.name == proxy.container:
            continue
        found = [
            (*match.groups(), value) for key, value in labels.items() if (match := _LABEL.fullmatch(key))
        ]
        routers: dict[tuple[RouterProtocol, str], tuple[str, ...]] = {
            (RouterProtocol(kind), name): () for kind, what, name, _, _ in found if what == "routers"
        }
        for kind, what, name, option, value in found:
            if what == "routers" and option == "entrypoints":
                routers[RouterProtocol(kind), name] = tuple(part.strip() for part in value.split(","))
        for (kind, name), entrypoints in (routers or {(RouterProtocol.HTTP, container.name): ()}).items():
            numbers = [
                int(value)
                for other, what, _, option, value in found
                if (what, other, option) == ("services", kind, "loadbalancer.server.port") and value.isdigit()
            ]
            ports = [Port(number=number, protocol=_protocol(kind)) for number in numbers]
            for port in ports or container.ports or (None,):
                yield Labelled(
                    _ports(proxy, kind, entrypoints),
                    f"{container.origin}: {kind} router {name}",
                    container.name,
                    port,
                )


def _ports(proxy: Proxy, kind: RouterProtocol, names: tuple[str, ...]) -> tuple[Port, ...]:
    return tuple(
        entrypoint.port
        for entrypoint in proxy.entrypoints
        if entrypoint.port.protocol is _protocol(kind) and _chosen(entrypoint, names)
    )


def _chosen(entrypoint: Entrypoint, names: tuple[str, ...]) -> bool:
    return entrypoint.name in names if names else entrypoint.default


def _protocol(kind: RouterProtocol) -> Protocol:
    return Protocol.UDP if kind is RouterProtocol.UDP else Protocol.TCP


def _leaves(
    services: Mapping[tuple[RouterProtocol, str], ProxyService],
    kind: RouterProtocol,
    reference: str,
    seen: set[str],
) -> Iterator[str]:
    """Yield the servers that a reference leads to, those of a service in `seen` once."""
    name, _, provider = reference.partition("@")
    if provider == INTERNAL or name in seen:
        return
    service = services.get((kind, name))
    if service is None:
        yield reference
        return
    seen.add(name)
    yield from service.servers
    for child in service.services:
        yield from _leaves(services, kind, child, seen)


def _read(text: str, kind: RouterProtocol) -> tuple[str | None, Port | None]:
    try:
        parts = urlsplit(text if kind is RouterProtocol.HTTP else f"//{text}")
        number = parts.port or (443 if parts.scheme in _HTTPS else 80)
    except ValueError:
        return None, None
    if not parts.hostname or (kind is not RouterProtocol.HTTP and parts.port is None):
        return None, None
    return parts.hostname, Port(number=number, protocol=_protocol(kind))
