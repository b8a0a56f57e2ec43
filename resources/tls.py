"""Models of the tls provider's resources: keys, certificate requests and certificates.

Note: none of them carries traffic, but an authority's key opens every service that trusts the authority.
PEM texts are checked where containers receive them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resources.inputs import Inputs


class PrivateKey(Inputs):
    """A tls.PrivateKey resource; browsers and Go do not accept the provider's default curve."""

    algorithm: str = ""
    ecdsa_curve: str = "P224"
    rsa_bits: int = 2048


class Request(Inputs, inert="private_key_pem"):
    """A tls.CertRequest resource: whom a certificate will name."""

    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    subject: Mapping[str, Any] = {}
    uris: tuple[str, ...] = ()


class Signed(
    Inputs, inert="ca_cert_pem ca_private_key_pem cert_request_pem set_subject_key_id private_key_pem subject"
):
    """The uses and lifetime of a certificate."""

    allowed_uses: tuple[str, ...] = ()
    early_renewal_hours: float = 0
    is_ca_certificate: bool = False
    validity_period_hours: float = 0


class TlsCertificate(Signed):
    """A tls.LocallySignedCert resource."""


class Authority(Signed, inert="set_authority_key_id"):
    """A tls.SelfSignedCert resource."""
