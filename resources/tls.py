"""The tls provider's resources: keys, requests for certificates, and what is signed.

What a reader would get wrong: none of them carries traffic, but whoever holds an authority's key opens every
service that trusts it. The PEM texts are looked at where they end, in containers.
"""

from __future__ import annotations

from resources.inputs import Inputs


class PrivateKey(Inputs):
    """tls.PrivateKey; the provider's default curve is none that browsers or Go take."""

    algorithm: str = ""
    ecdsa_curve: str = "P224"
    rsa_bits: int = 2048


class Request(Inputs, inert="dns_names ip_addresses private_key_pem subject uris"):
    """tls.CertRequest: what is asked for counts for nothing until it is signed."""


class Signed(
    Inputs, inert="ca_cert_pem ca_private_key_pem cert_request_pem set_subject_key_id private_key_pem subject"
):
    """What a certificate is good for, and how long."""

    allowed_uses: tuple[str, ...] = ()
    early_renewal_hours: float = 0
    is_ca_certificate: bool = False
    validity_period_hours: float = 0


class Certificate(Signed):
    """tls.LocallySignedCert."""


class Authority(Signed, inert="set_authority_key_id"):
    """tls.SelfSignedCert."""
