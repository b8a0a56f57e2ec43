"""Where certificates come from, and which flows do without."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from topology.model.flows import DNS, HTTP, Flow, Port
from topology.model.values import INTERNET, LABEL, FilePath, Name, Value


class Certificate(Value):
    """PEM files with the ingress's certificate chain and key; environment variables are expanded."""

    certificate: FilePath
    key: FilePath


def _server_port(url: str) -> Port:
    """The port of an https URL; raises ValueError where it has none that is a port."""
    return Port(number=443 if (given := urlsplit(url).port) is None else given)


def _has_port(url: str) -> str:
    _server_port(url)
    return url


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=63)]
"""A variable by which lego, Traefik's ACME client, is told of a DNS provider's login."""


class Acme(Value):
    """Whom the ingress has its certificates from, one for each host name of a route.

    `challenge` is `http`, or what lego calls the provider in whose DNS the ingress shows that the names are
    its own; `credentials` are then the variables of its login, each the stack's secret `acme:<variable>`.
    `authority` is the PEM file that the server's own certificate is checked with, None for those that the
    image trusts; `name_servers` are whom the ingress asks for names.
    """

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    server: Annotated[
        str,
        StringConstraints(pattern=rf"^https://({LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?(:\d+)?/\S*$"),
        AfterValidator(_has_port),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    challenge: str = Field(default="http", pattern=r"^[a-z0-9]+$")
    credentials: tuple[Variable, ...] = ()
    authority: FilePath | None = None
    name_servers: tuple[IPv4Address, ...]

    @property
    def over_http(self) -> bool:
        """Whether the ACME server asks the ingress itself, on port 80."""
        return self.challenge == "http"

    def flows(self, ingress: str) -> dict[Flow, str]:
        """What has to be declared for it, and what for."""
        needed = {
            Flow(source=ingress, destination=INTERNET, port=_server_port(self.server)): "ask the ACME server",
            Flow(source=ingress, destination=INTERNET, port=DNS): "ask a name server",
        }
        if self.over_http:
            needed[Flow(source=INTERNET, destination=ingress, port=HTTP)] = "answer the HTTP challenge"
        else:
            provider = Flow(source=ingress, destination=INTERNET, port=Port(number=443))
            needed.setdefault(provider, f"ask {self.challenge}")
        return needed


class Certificates(Value):
    """What the private authorities sign. `authorities` are the generations that all trust, the `signer`'s
    alone signs; a certificate lasts `days` and is renewed by the first update of its last `renew` days.
    """

    authorities: tuple[Name, ...] = Field(default=("a",), min_length=1)
    signer: Name = "a"
    days: int = Field(default=30, ge=2, le=90)
    renew: int = Field(default=10, ge=1, le=89)


class Plain(Value):
    """A flow without TLS: to a service that can't ask for a certificate, or to a guest that shows none."""

    flow: Flow
    reason: str = Field(min_length=10)
