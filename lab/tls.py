"""The lab's certificate authority: signs for the Proxmox API, the ingress and the sites.

`STATE/tls` holds the authority, the certificates it signed, and a trust bundle. Nothing is installed on the
machine: a program trusts the lab only when it is given the bundle. The bundle is the system's own trust plus
the lab's authority, so SSL_CERT_FILE may point at it without breaking other TLS.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import paths

RENEW_BEFORE = dt.timedelta(days=7)
_LEAF_LIFE = dt.timedelta(days=365)
_AUTHORITY_LIFE = dt.timedelta(days=3650)
# Where Go and OpenSSL search, in Go's order (crypto/x509/root_linux.go).
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def authority() -> tuple[Path, Path]:
    """Return the authority's certificate and key (PEM, the key 0600), made on first use."""
    with _locked() as folder:
        return _authority(folder)


def leaf(name: str, sans: Sequence[str]) -> tuple[Path, Path]:
    """Return certificate and key of `name` for these host names and addresses.

    An existing certificate is reused while it names the same hosts, is signed by the current authority
    and has more than RENEW_BEFORE left.
    """
    with _locked() as folder:
        authority_cert, authority_key = _authority(folder)
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        issuer = x509.load_pem_x509_certificate(authority_cert.read_bytes())
        names = [_general_name(san) for san in sans]
        if not (cert.exists() and key.exists() and _serves(cert, issuer, names)):
            signer = serialization.load_pem_private_key(authority_key.read_bytes(), password=None)
            assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101 - _authority writes no other kind
            private = ec.generate_private_key(ec.SECP256R1())
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = (
                _builder(name, issuer.subject, private, _LEAF_LIFE)
                .add_extension(x509.SubjectAlternativeName(names), critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(usage, critical=False)
            )
            _write(key, _private_pem(private), 0o600)
            _write(cert, _pem(builder.sign(signer, hashes.SHA256())), 0o644)
        return cert, key


def bundle() -> Path:
    """Return a PEM file with the system's authorities and the lab's own, for SSL_CERT_FILE."""
    with _locked() as folder:
        own, _ = _authority(folder)
        path = folder / "bundle.pem"
        # Inside `make env` SSL_CERT_FILE is this very file; reading it back would accumulate old authorities.
        candidates = (os.environ.get("SSL_CERT_FILE", ""), *_SYSTEM_BUNDLES)
        system = next((Path(c) for c in candidates if c and Path(c) != path and Path(c).is_file()), None)
        trusted = system.read_bytes().rstrip() + b"\n" if system else b""
        _write(path, trusted + own.read_bytes(), 0o644)
        return path


@contextmanager
def _locked() -> Iterator[Path]:
    folder = paths.STATE / "tls"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _authority(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "ca.crt", folder / "ca.key"
    if not (cert.exists() and key.exists()):
        private = ec.generate_private_key(ec.SECP256R1())
        name = "homelab-network lab CA"
        usage = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            _builder(name, None, private, _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        _write(key, _private_pem(private), 0o600)
        _write(cert, _pem(builder.sign(private, hashes.SHA256())), 0o644)
    return cert, key


def _builder(
    name: str, issuer: x509.Name | None, key: ec.EllipticCurvePrivateKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + life)
    )


def _serves(path: Path, issuer: x509.Certificate, names: list[x509.GeneralName]) -> bool:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        cert.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(held) == names and cert.not_valid_after_utc - dt.datetime.now(dt.UTC) > RENEW_BEFORE


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
    draft.replace(path)
