"""What an app adds to a guest that sets itself up; `rendered.cloud_init` writes it into the guest's file.

Note: files are written before packages are installed, so a service starts with the project's configuration,
never with Debian's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Debian packages, files by path, and a root shell script that runs after both are installed.

    The script must be repeatable: it runs again when Proxmox recreates the guest's cloud-init drive.
    """

    packages: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    script: tuple[str, ...]


KEY: Final = "/etc/ssl/private/guest-key.pem"
CERTIFICATE: Final = "/etc/ssl/guest-certificate.pem"
ISSUE: Final = "/etc/issue.d/certificate.issue"


def certified(name: str) -> str:
    """Return script lines that generate a key and a self-signed certificate, and print its fingerprint.

    The console's login prompt shows the fingerprint too. An existing certificate is kept.
    """
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
    names = f"-subj /CN={name} -addext subjectAltName=DNS:{name}"
    made = f"openssl req -x509 {key} -days 3650 {names} -keyout {KEY} -out {CERTIFICATE}"
    return (
        f"[ -s {CERTIFICATE} ] || (umask 077; {made})\n"
        f"install -d {ISSUE.rpartition('/')[0]}\n"
        f"openssl x509 -in {CERTIFICATE} -noout -subject -fingerprint -sha256 | tee {ISSUE}"
    )


def made_up(file: str) -> str:
    """Return the script line that generates a password on the guest, readable only by root."""
    return f"[ -s {file} ] || (umask 077; head -c 18 /dev/urandom | base64 > {file})"
