"""Checks of the headers that a route adds and removes."""

from __future__ import annotations

import re
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


_NAMES: Final = re.compile(
    r"(.*-)?(client-?ip|connecting-ip|user-(email|login|name)|user(name)?|e?mail|groups?|principal(-.*)?)"
)
"""Headers by which proxies say who the client is, besides those that the ingress sets or removes."""
_ASKED: Final = re.compile(r"x-(original|rewrite|override)-.*|x-(http-)?method(-override)?|x-host")
"""Headers that replace the path or method of a request, after the ingress has chosen by them."""
_ELSEWHERE: Final = frozenset({"alt-svc", "location", "refresh"})
_LOGIN: Final = re.compile(r"(basic|bearer|digest|token)\s+\S{8,}", re.IGNORECASE)
_KEY: Final = re.compile(r"(.*-)?(api-?key|auth|auth-?key|access-?key|jwt|pass(word)?|secret|token)")


def headers(site: Site) -> Iterator[Fault]:
    """Check that a header is no secret, no part of the connection, and none that the ingress sets itself."""
    for service in site.services.values():
        for key, names in (
            ("request-headers", service.request_headers),
            ("response-headers", service.response_headers),
        ):
            path = f"services.{service.name}.{key}"
            yield from twice(((below(path, name), name.lower()) for name in names), "write it once")
            for name, value in names.items():
                request = key == "request-headers"
                reason = _reason(name.lower(), request=request) or _leading(
                    name.lower(), value, request=request
                )
                if reason:
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


def _leading(name: str, value: str, *, request: bool) -> Reason | None:
    """Return why a stack file can't give a header this value, where it may remove the header."""
    if not value:
        return None
    if _LOGIN.fullmatch(value) or (request and _KEY.fullmatch(name)):
        return f"{name} holds a secret", "give it to the service, which can hold secrets"
    if request and _NAMES.fullmatch(name):
        return (
            f"{name} says who the client is, of every client alike",
            'leave it out, or write "" to remove it',
        )
    if request and _ASKED.fullmatch(name):
        return f"{name} changes what is asked for behind the ingress's rules", 'leave it out, or write ""'
    if not request and name in _ELSEWHERE:
        return f"{name} leads browsers elsewhere", "use redirects, or leave it out"
    return None
