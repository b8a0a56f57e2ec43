"""What an app adds to a guest that sets itself up; `components.cloud_init` makes a file of it.

What a reader would get wrong: files are written before the packages are installed, so that a service starts
with its own configuration and never with Debian's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Debian packages, files by path, and lines of a shell script that root runs when both are there.

    The script runs again where Proxmox makes the guest's cloud-init drive anew, so it can be repeated.
    """

    packages: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    script: tuple[str, ...]


def made_up(file: str) -> str:
    """Script line that makes up a password on the guest, where only root reads it."""
    return f"[ -s {file} ] || (umask 077; head -c 18 /dev/urandom | base64 > {file})"
