"""Sources of certificates, and the declared flows without TLS."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from topology.model.flows import DNS, HTTP, Flow, Port
from topology.model.values import INTERNET, LABEL, FilePath, Name, Reason, Value


class Certificate(Value):
    """PEM files with the ingress's certificate chain and key. Environment variables are expanded."""

    certificate: FilePath
    key: FilePath


def _server_port(url: str) -> Port:
    """Return the port of an https URL; raises ValueError where the URL's port is invalid."""
    return Port(number=443 if (given := urlsplit(url).port) is None else given)


def _has_port(url: str) -> str:
    _server_port(url)
    return url


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=63)]
"""Environment variable through which lego, Traefik's ACME client, gets a DNS provider's credentials."""


class Acme(Value):
    """The ACME server that issues the ingress's certificates, one for each host name of a route.

    `challenge` is `http`, or lego's name of the DNS provider for the DNS challenge; `credentials` are then
    the provider's variables, each the stack's secret `acme:<variable>`. `ca-file` is the PEM file that
    verifies the server's own certificate; None: the authorities that the image trusts. `name_servers` are
    the ingress's resolvers.
    """

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    server: Annotated[
        str,
        StringConstraints(pattern=rf"^https://({LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?(:\d+)?/\S*$"),
        AfterValidator(_has_port),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    challenge: str = Field(default="http", pattern=r"^[a-z0-9]+$")
    credentials: tuple[Variable, ...] = ()
    ca_file: FilePath | None = None
    name_servers: tuple[IPv4Address, ...]

    @property
    def over_http(self) -> bool:
        """Whether the ACME server validates the names over HTTP, on the ingress's port 80."""
        return self.challenge == "http"

    def flows(self, ingress: str) -> dict[Flow, str]:
        """Return the flows that the ACME client needs, each with its purpose."""
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
    """Settings of the private authorities. Containers trust every generation in `authorities`; only `signer`
    signs. A certificate is valid for `days`; the first update in its last `renew` days renews it.
    """

    authorities: tuple[Name, ...] = Field(default=("a",), min_length=1)
    signer: Name = "a"
    days: int = Field(default=30, ge=2, le=90)
    renew: int = Field(default=10, ge=1, le=89)


class Unencrypted(Value):
    """A flow without TLS: to a service that can't ask for certificates, or to a guest without one."""

    flow: Flow
    reason: Reason
