"""Routes: the services that the ingress serves, each under its host name, and who may use them.

An entry is a published port of the ingress. Who may use it follows from the flows to the ingress: `internet`,
which means everyone, or zones of management and external machines alone. A route is served on the entries
that no source outside its audience may use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import product
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from topology.model.apps import NO_LOGIN, App
from topology.model.flows import HTTP, HTTPS, Flow, Port
from topology.model.values import INTERNET, FilePath, Name, Value

IDENTITY_HEADERS: Final = (
    *(f"Remote-{name}" for name in ("Email", "Groups", "Name", "User")),
    *(f"X-Auth-Request-{name}" for name in ("Access-Token", "Email", "Groups", "Preferred-Username", "User")),
    *(
        f"X-Authentik-{name}"
        for name in ("Email", "Entitlements", "Groups", "Jwt", "Name", "Uid", "Username")
    ),
    *(f"X-Forwarded-{name}" for name in ("Access-Token", "Email", "Groups", "Preferred-Username", "User")),
    *(f"X-Remote-{name}" for name in ("Email", "Groups", "Name", "User")),
    *(f"X-Webauth-{name}" for name in ("Email", "Groups", "Name", "User")),
)
"""Headers in which Authelia, oauth2-proxy, authentik, Pocket ID's and others' logins name a user. For each,
Traefik removes what the client wrote and passes on what the login answered.
"""

Entries = Mapping[Port, frozenset[str]]
"""Published ports of the ingress, with who may use each; where the internet may, it is named alone."""

ADMIN_PAGE_LEFT_OUT = " && !PathRegexp(`(?i)^/admin`)"
"""End of a Traefik rule that excludes admin pages. Vaultwarden matches the path's first segment after it
decodes percent signs and merges slashes; the entry point does both before it selects a router.
"""

ANY_NAME: Final = "HostSNI(`*`)"
"""Traefik's rule of a TCP router for all connections of its entry points, the only one without TLS."""

BASIC: Final = "basic"
"""Login by a name and a password of the secret `traefik:users`, which the ingress checks itself."""


Headers = Mapping[
    Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=100)],
    Annotated[str, StringConstraints(pattern=r"^([!-~]([ -~]*[!-~])?)?$", max_length=4096)],
]
"""Name of a header -> its text; an empty one removes the header."""


class Requests(Value):
    """Bounds of a service's requests."""

    body: int | None = Field(default=None, ge=1, le=16)
    """MiB of a request's body. The ingress then has all of it before the service sees the first byte, and all
    of an answer before the client does; None: bodies and answers pass as they come.
    """
    rate: int | None = Field(default=None, ge=1, le=100)
    """Requests a second of one client, on average; twice as many at once."""
    at_once: int | None = Field(default=None, ge=1, le=100)
    """Requests of one client that wait for an answer."""


class Stream(Value):
    """A port of the ingress that leads, without HTTP, to one port of a service."""

    service: Name
    entry: Port
    port: Port
    address: str
    """`host:port` of the service, as of a route's URL."""


class Route(Value):
    """A flow from the ingress to a service, served under the service's own host names."""

    service: Name
    port: Port
    host: str
    url: str
    """URL of the service: with its container name on a Docker network, with its address on a VLAN."""
    further: bool = False
    """Whether it leads to one of the `pages` of the service."""
    aliases: tuple[str, ...] = ()
    """Further host names of the route."""
    redirects: tuple[str, ...] = ()
    """Host names at which the ingress answers with the same path of the first host name."""
    paths: tuple[str, ...] = ()
    """Paths of its host names that it is for, each with all below it; empty: every path."""
    strip: bool = False
    """Whether the service sees requests without these paths."""
    requests: Requests = Requests()
    request_headers: Headers = Field(default_factory=dict)
    response_headers: Headers = Field(default_factory=dict)
    app: App | None = None
    stated_login: Name | None = None
    login_url: str | None = None
    """URL that the ingress asks whether a request's client may use the service; None: it asks none."""
    ca_file: FilePath | None = None
    """PEM file of the service's certificate authority; None: the ingress connects without TLS."""
    admin_page: bool = True
    """Whether the ingress forwards requests to the service's admin page, if there is one."""
    audience: frozenset[str] = frozenset()
    """Who may use the route: `internet`, which means everyone, or management and external zones."""
    ports: tuple[int, ...] = ()
    """The ingress's ports that serve the route, by TLS."""

    @property
    def name(self) -> str:
        """Its name among the routes: that of its service, with the port if it leads to further pages."""
        return f"{self.service}-{self.port.number}" if self.further else self.service

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host name of the route; the first is the one that pages name."""
        return (self.host, *self.aliases)

    @property
    def ends(self) -> tuple[str, ...]:
        """What follows the host name in Traefik's rules, one for each path.

        Note: of two rules for a request Traefik takes the longer one, which is that of the longer path.
        """
        return tuple(map(below, self.paths)) or ("" if self.admin_page else ADMIN_PAGE_LEFT_OUT,)

    @property
    def rules(self) -> Mapping[str, str]:
        """Traefik's rules, by the host name and path that each is for."""
        ends = zip(self.paths or ("",), self.ends, strict=True)
        return {
            f"{host}{path}": f"Host(`{host}`){end}"
            for (path, end), host in product(ends, (*self.hosts, *self.redirects))
        }

    @property
    def middlewares(self) -> Mapping[str, Mapping[str, object]]:
        """Traefik's middlewares for its requests besides the login, by kind, with their settings."""
        body, rate, at_once = self.requests.body, self.requests.rate, self.requests.at_once
        headers = {
            "customRequestHeaders": self.request_headers,
            "customResponseHeaders": self.response_headers,
        }
        return {
            **({"rateLimit": {"average": rate, "burst": 2 * rate}} if rate else {}),
            **({"inFlightReq": {"amount": at_once}} if at_once else {}),
            **({"stripPrefix": {"prefixes": list(self.paths)}} if self.strip else {}),
            **(
                {"headers": given}
                if (given := {k: dict(sorted(v.items())) for k, v in headers.items() if v})
                else {}
            ),
            **({"buffering": {"maxRequestBodyBytes": body * 1024 * 1024}} if body else {}),
        }

    @property
    def redirect(self) -> Mapping[str, object]:
        """Settings of Traefik's `redirectRegex` for the host names that redirect."""
        whole = self.page.removesuffix(self.path)
        return {"regex": "^https://[^/]+/(.*)", "replacement": f"{whole}/${{1}}", "permanent": True}

    @property
    def place(self) -> str:
        """First host name and path, which no other route has."""
        return next(iter(self.rules))

    @property
    def path(self) -> str:
        """Path of the page that a browser opens."""
        return f"{self.paths[0]}/" if self.paths else "/"

    @property
    def page(self) -> str:
        """URL that a browser opens."""
        standard = not self.ports or HTTPS.number in self.ports
        return f"https://{self.host}{'' if standard else f':{self.ports[0]}'}{self.path}"

    @property
    def login(self) -> str | None:
        """What answers for a request's client: `basic`, or a service; None: the ingress asks for no login."""
        return self.stated_login or (BASIC if self.app in NO_LOGIN else None)


def below(path: str) -> str:
    """Return the end of a Traefik rule for a path and all below it; `/api` is not for `/apiary`."""
    return f" && (Path(`{path}`) || PathPrefix(`{path}/`))"


def entries(flows: Iterable[Flow], ingress: str | None, outsides: Collection[str]) -> Entries:
    """Return the entries that follow from the flows to the ingress, in declared order."""
    found: defaultdict[Port, set[str]] = defaultdict(set)
    for flow in flows:
        if flow.destination == ingress and (flow.source == INTERNET or flow.source in outsides):
            found[flow.port].add(flow.source)
    everyone = frozenset({INTERNET})
    return {port: everyone if INTERNET in names else frozenset(names) for port, names in found.items()}


def audience(stated: Collection[str], known: Entries) -> frozenset[str]:
    """Return who may use a route: the stated ones, else those of all entries; none where these differ."""
    by_entries = {*known.values()}
    names = frozenset(stated) or (by_entries.pop() if len(by_entries) == 1 else frozenset())
    return frozenset({INTERNET}) if INTERNET in names else names


def served_on(who: frozenset[str], known: Entries) -> tuple[int, ...]:
    """Return the entries of a route for `who`, by TLS; 443, which is closed then, where there is no entry.

    Port 80 answers with a redirect alone.
    """
    if not known:
        return (HTTPS.number,)
    return tuple(
        port.number for port, names in known.items() if port != HTTP and (INTERNET in who or names <= who)
    )
