"""Checks of the headers that a route adds and removes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from topology.checks.site import Reason, Site, twice
from topology.fault import Fault
from topology.fault import at as below
from topology.model import IDENTITY_HEADERS

_FRAMING: Final = frozenset(
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
)
_SECRETS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
_GUARDS: Final = frozenset(
    [
        "referrer-policy",
        "server",
        "strict-transport-security",
        "x-content-type-options",
        "x-frame-options",
        "x-powered-by",
    ]
)
_CLIENT: Final = frozenset({"forwarded", "proxy", "x-real-ip", *(name.lower() for name in IDENTITY_HEADERS)})


def headers(site: Site) -> Iterator[Fault]:
    """Check that a header is no secret, no part of the connection, and none that the ingress sets itself."""
    for service in site.services.values():
        for key, names in (
            ("request-headers", service.request_headers),
            ("response-headers", service.response_headers),
        ):
            path = f"services.{service.name}.{key}"
            yield from twice(((below(path, name), name.lower()) for name in names), "write it once")
            for name in names:
                if reason := _reason(name.lower(), request=key == "request-headers"):
                    yield Fault(below(path, name), *reason)


def _reason(name: str, *, request: bool) -> Reason | None:
    """Return why a stack file can't set a header."""
    if name in _FRAMING:
        return f"{name} belongs to the connection", "leave it out"
    if name in _SECRETS:
        return f"{name} holds a secret", "give it to the service, which can hold secrets"
    if request and (name in _CLIENT or (name.startswith("x-forwarded-") and name != "x-forwarded-prefix")):
        return f"{name} says who the client is, which the ingress does", "leave it out"
    if not request and name in _GUARDS:
        return f"{name} is the ingress's own for every answer", "leave it out"
    return None
