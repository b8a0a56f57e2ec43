"""What the ingress does to the requests of each route: which path it is for, headers and limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from resources.traefik import Configuration, listed
from topology.model import Route

HOST: Final = re.compile(r"(?:Host|HostSNI)\(`([^`]+)`\)", re.IGNORECASE)
_PATH: Final = re.compile(r"Path(?:Prefix)?\(`([^`]*)`\)", re.IGNORECASE)
_REWRITES: Final = frozenset(
    {"addPrefix", "replacePath", "replacePathRegex", "stripPrefix", "stripPrefixRegex"}
)
"""Kinds of middlewares that change a request's path."""


@dataclass(frozen=True, kw_only=True)
class _Router:
    """A router with what decides which requests it gets."""

    path: str
    hosts: frozenset[str]
    below: frozenset[str]
    """Paths in its rule; empty: all."""
    rank: int
    entrypoints: frozenset[str]

    def goes_before(self, other: _Router) -> Iterator[str]:
        """Yield paths of the other, below this router's own, whose requests this one gets."""
        if self.rank < other.rank or not self.entrypoints & other.entrypoints:
            return
        for host in sorted(self.hosts & other.hosts):
            for path in sorted(other.below):
                if any(path.startswith(own and f"{own}/") for own in self.below or {""}):
                    yield f"{host}{path}"


def _routers(configuration: Configuration) -> Iterator[_Router]:
    for path, _, router in configuration.items("http", "routers"):
        if isinstance(router, Mapping):
            rule, priority = str(router.get("rule", "")), str(router.get("priority", ""))
            yield _Router(
                path=path,
                hosts=frozenset(HOST.findall(rule)),
                below=frozenset(each.rstrip("/") for each in _PATH.findall(rule)),
                rank=(int(priority) if re.fullmatch(r"-?[0-9]{1,18}", priority) else 0) or len(rule),
                entrypoints=frozenset(map(str, listed(router.get("entryPoints")))),
            )


def swallowed(configuration: Configuration) -> Iterator[str]:
    """Yield routers that get requests for a path of another router's: Traefik asks the higher ranked."""
    routers = [*_routers(configuration)]
    deeper = [router for router in routers if router.below]
    for one, other in product(routers, deeper):
        for where in one.goes_before(other):
            yield f"{one.path}: goes before {other.path.rpartition('.routers.')[2]}, so it answers at {where}"


def unlike(configuration: Configuration, routes: Mapping[str, Route]) -> Iterator[str]:
    """Yield routers whose headers, limits and changes of paths are not those of their route in `routes`."""
    for path, names, to in configuration.routed:
        route = routes.get(to)
        if route is None:
            continue
        found: dict[str, list[Mapping[str, Any]]] = {}
        for _, kind, settings in configuration.middlewares(names):
            found.setdefault(kind, []).append(
                {key: value for key, value in settings.items() if key != "sourceCriterion"}
            )
        for kind, wanted in route.middlewares.items():
            if wanted not in found.get(kind, []):
                yield f"{path}: has no {kind} as {route.service} declares it"
        if route.paths:
            for kind in sorted(found.keys() & _REWRITES - route.middlewares.keys()):
                yield f"{path}: its {kind} asks {route.service} for another path"


def redirected(configuration: Configuration, routes: Iterable[Route]) -> Iterator[str]:
    """Yield routers that send browsers elsewhere, and those of `redirects` that do not do as declared."""
    wanted = {host: route.redirect for route in routes for host in route.redirects}
    for path, _, router in configuration.items("http", "routers"):
        if not isinstance(router, Mapping):
            continue
        before = [*configuration.middlewares(listed(router.get("middlewares")))]
        found = [dict(settings) for _, kind, settings in before if kind.startswith("redirect")]
        for host in sorted({*HOST.findall(str(router.get("rule", "")))}):
            if host not in wanted and found:
                yield f"{path}: redirects {host}, which is not declared"
            if host in wanted and (found != [wanted[host]] or before[0][1] != "redirectRegex"):
                yield f"{path}: does not redirect {host} as declared, before all else"
