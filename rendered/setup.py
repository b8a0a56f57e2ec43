"""What an app adds to a guest that sets itself up; `rendered.cloud_init` makes a file of it.

What a reader would get wrong: files are written before the packages are installed, so that a service starts
with its own configuration and never with Debian's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Debian packages, files by path, and lines of a shell script that root runs when both are there.

    The script runs again where Proxmox makes the guest's cloud-init drive anew, so it can be repeated.
    """

    packages: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    script: tuple[str, ...]


KEY: Final = "/etc/ssl/private/guest-key.pem"
CERTIFICATE: Final = "/etc/ssl/guest-certificate.pem"
ISSUE: Final = "/etc/issue.d/certificate.issue"


def certified(name: str) -> str:
    """Script lines that make a key and sign it for this name with itself, and tell the certificate's print.

    The print stands above the console's login prompt too. Whoever puts another key and certificate in their
    place keeps them.
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
    """Script line that makes up a password on the guest, where only root reads it."""
    return f"[ -s {file} ] || (umask 077; head -c 18 /dev/urandom | base64 > {file})"
