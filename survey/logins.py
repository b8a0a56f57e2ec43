"""Whether a Traefik router asks for a login, by basicAuth, digestAuth or forwardAuth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from resources.traefik import listed
from survey.docker import RunningContainer

_KINDS = frozenset({"basicauth", "digestauth", "forwardauth"})


def has_login(origin: str, routed: RunningContainer, proxy: RunningContainer) -> bool:
    """Return whether the router called `origin` has a login, by labels or by the proxy's own files."""
    name = origin.rpartition(" ")[2]
    return any(kind in _KINDS for kind in _kinds(_middlewares(name, routed, proxy), routed, proxy))


def _middlewares(router: str, routed: RunningContainer, proxy: RunningContainer) -> list[str]:
    pattern = re.compile(rf"traefik\.http\.routers\.{re.escape(router)}\.middlewares", re.IGNORECASE)
    for label in routed.container.labels:
        if pattern.fullmatch(label.label):
            return [part.strip() for part in label.value.split(",")]
    for _, name, value in proxy.container.traefik.items("http", "routers"):
        if name == router and isinstance(value, Mapping):
            return [str(each) for each in listed(value.get("middlewares"))]
    return []


def _kinds(names: Iterable[str], routed: RunningContainer, proxy: RunningContainer) -> Iterator[str]:
    """Yield the kinds of middlewares, of both providers, and of those in their chains."""
    waiting, met = [_bare(name) for name in names], set[str]()
    while waiting:
        name = waiting.pop()
        if name in met:
            continue
        met.add(name)
        if any(name in each.logins for each in (routed, proxy)):
            yield "basicauth"
        waiting += [_bare(each) for seen in (routed, proxy) for each in seen.chains.get(name, ())]
        yield from (kind.lower() for _, kind, _ in proxy.container.traefik.middlewares([name]))


def _bare(name: str) -> str:
    return name.partition("@")[0].lower()
