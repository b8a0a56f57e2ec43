"""Which certificates a container holds, and where: made from the flows in which both ends show one.

Owns the paths of certificate files and who needs which, and how the ingress is told of an ACME server. It
makes no key (`components.authorities` does). What a reader would get wrong: every service that asks for
certificates has an authority of its own, which signs for it and for the declared sources of flows to it. So a
certificate that opens one service opens no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from topology.model import ASKS_FOR_CERTIFICATES, Acme, Topology

FOLDER = "/etc/certificates"
AUTHORITY_DAYS = 5 * 365
"""How long an authority is valid; its successor is added and takes over by configuration."""


RESOLVER = "acme"
"""What Traefik calls the ACME server."""
ACME_FOLDER = "/etc/traefik/acme"
ACME_AUTHORITY = f"{ACME_FOLDER}/authority.pem"
ACME_VOLUME = "/var/tmp"  # noqa: S108  # a volume's place in the container
"""A volume takes owner and mode from the image's folder; here a user who is not root may write."""


def resolver(acme: Acme) -> dict[str, object]:
    """How Traefik is told of the ACME server; it lets the challenge pass its redirection of port 80."""
    challenge: dict[str, object] = {"dnsChallenge": {"provider": acme.challenge}}
    if acme.over_http:
        challenge = {"httpChallenge": {"entryPoint": "web"}}
    return {
        "email": acme.email,
        "caServer": acme.server,
        **({"caCertificates": [ACME_AUTHORITY]} if acme.authority else {}),
        "storage": f"{ACME_VOLUME}/acme.json",
        "keyType": "EC256",
        **challenge,
    }


def login(acme: Acme) -> dict[str, str]:
    """The files of a DNS provider's login, by the variable that names each to lego."""
    return {f"{name}_FILE": f"{ACME_FOLDER}/{name}" for name in acme.credentials}


@dataclass(frozen=True)
class Held:
    """A certificate that `holder` has for `service`, of which it is a client, or which it is itself."""

    holder: str
    service: str

    @property
    def name(self) -> str:
        """What its resources are called, behind the authority's generation."""
        return f"{self.service}.{self.holder}"

    @property
    def certificate(self) -> str:
        """Path of the certificate in the holder's container."""
        return f"{FOLDER}/{self.service}/certificate.pem"

    @property
    def key(self) -> str:
        """Path of its private key."""
        return f"{FOLDER}/{self.service}/key.pem"

    @property
    def authorities(self) -> str:
        """Path of the certificates of the service's authority, all generations that are trusted."""
        return f"{FOLDER}/{self.service}/authorities.pem"

    def client(self, topology: Topology) -> dict[str, str]:
        """How software written in Go is told to show it, and whom to expect."""
        return {
            "ca_file": self.authorities,
            "cert_file": self.certificate,
            "key_file": self.key,
            "server_name": topology.physical(self.service),
        }

    @property
    def server(self) -> dict[str, str]:
        """How it is told to be known by it, and to ask whoever connects for one of the same authority."""
        return {
            "cert_file": self.certificate,
            "key_file": self.key,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": self.authorities,
        }


class PemError(Exception):
    """A PEM file that can't be read, as `path: fault; remedy` without a full stop; never its content."""


def read_pem(key: str, path: str) -> str:
    """Read the file that a configuration key names; environment variables and `~` in it are expanded."""
    file = Path(os.path.expandvars(path)).expanduser()
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not PEM text"
        raise PemError(f"{key}: {file}: {reason}; name a readable PEM file") from None


def held(topology: Topology) -> Iterator[Held]:
    """Every certificate, those of one service together, its own first."""
    for service in topology.containers:
        if service.app in ASKS_FOR_CERTIFICATES:
            clients = (flow.source for flow in topology.flows_to(service.name))
            yield from (Held(holder, service.name) for holder in dict.fromkeys([service.name, *clients]))


def held_by(topology: Topology, name: str) -> dict[str, Held]:
    """What one container holds, by the service that it is for."""
    return {each.service: each for each in held(topology) if each.holder == name}
