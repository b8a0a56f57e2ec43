"""The certificates that each container holds, derived from the flows to services that ask for them.

This module defines the certificates' paths and holders, and Traefik's settings for an ACME server.
`components.authorities` generates the keys. Each service that asks for certificates has its own authority,
which signs for the service and for the sources of its flows; a certificate is valid for one service only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from topology.model import ASKS_FOR_CERTIFICATES, Acme, Topology

FOLDER = "/etc/certificates"
AUTHORITY_DAYS = 5 * 365
"""Validity of an authority in days. The configuration adds its successor and switches the signer."""


RESOLVER = "acme"
"""Traefik's name for the ACME server."""
ACME_FOLDER = "/etc/traefik/acme"
ACME_AUTHORITY = f"{ACME_FOLDER}/authority.pem"
ACME_VOLUME = "/var/tmp"  # noqa: S108  # a volume's place in the container
"""A new volume takes owner and mode from the image's folder; users other than root may write to this one."""


def resolver(acme: Acme) -> dict[str, object]:
    """Return Traefik's settings for the ACME server. Traefik doesn't redirect the HTTP challenge to HTTPS."""
    challenge: dict[str, object] = {"dnsChallenge": {"provider": acme.challenge}}
    if acme.over_http:
        challenge = {"httpChallenge": {"entryPoint": "web"}}
    return {
        "email": acme.email,
        "caServer": acme.server,
        **({"caCertificates": [ACME_AUTHORITY]} if acme.ca_file else {}),
        "storage": f"{ACME_VOLUME}/acme.json",
        "keyType": "EC256",
        **challenge,
    }


def login(acme: Acme) -> dict[str, str]:
    """Return lego's environment variables for a DNS provider's credentials, each with its file's path."""
    return {f"{name}_FILE": f"{ACME_FOLDER}/{name}" for name in acme.credentials}


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate that `holder` has for `service`: as a client, or as the service itself."""

    holder: str
    service: str

    @property
    def name(self) -> str:
        """Name of the certificate's resources, without the authority's generation."""
        return f"{self.service}.{self.holder}"

    @property
    def certificate(self) -> str:
        """Path of the certificate in the holder's container."""
        return f"{FOLDER}/{self.service}/certificate.pem"

    @property
    def key(self) -> str:
        """Path of the private key in the holder's container."""
        return f"{FOLDER}/{self.service}/key.pem"

    @property
    def authorities(self) -> str:
        """Path of the service's trusted authority certificates, all generations in one file."""
        return f"{FOLDER}/{self.service}/authorities.pem"

    def client(self, topology: Topology) -> dict[str, str]:
        """Return the client's TLS settings, in the keys that software written in Go uses."""
        return {
            "ca_file": self.authorities,
            "cert_file": self.certificate,
            "key_file": self.key,
            "server_name": topology.physical(self.service),
        }

    @property
    def server(self) -> dict[str, str]:
        """The server's TLS settings, which require client certificates of the same authority."""
        return {
            "cert_file": self.certificate,
            "key_file": self.key,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": self.authorities,
        }


class PemError(Exception):
    """An unreadable PEM file, as `path: fault; remedy` without a full stop; never the file's content."""


def read_pem(key: str, path: str) -> str:
    """Return the text of the PEM file that a configuration key names; raises PemError where it is unreadable.

    Environment variables and `~` in the path are expanded.
    """
    file = Path(os.path.expandvars(path)).expanduser()
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not PEM text"
        raise PemError(f"{key}: {file}: {reason}; name a readable PEM file") from None


def held(topology: Topology) -> Iterator[IssuedCertificate]:
    """Yield every certificate, grouped by service, the service's own first."""
    for service in topology.containers:
        if service.app in ASKS_FOR_CERTIFICATES:
            clients = (flow.source for flow in topology.flows_to(service.name))
            yield from (
                IssuedCertificate(holder, service.name) for holder in dict.fromkeys([service.name, *clients])
            )
