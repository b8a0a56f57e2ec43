"""The guests that set themselves up, as cloud-init files for Debian's cloud images.

`components.virtual_machine` names the same files on the Proxmox host. Owns what all of them have in common.
What a reader would get wrong: cloud-init reads a file at the guest's first boot alone, and whoever may read
the node's snippets reads the file, so no secret is in it: what needs a password makes one up on the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rendered.apps.podman import podman
from rendered.apps.text import as_blocks
from rendered.apps.wordpress import wordpress
from rendered.setup import Setup
from topology.model import SSH, Guest, GuestApp, Topology, table

SETUPS: Final[Mapping[GuestApp, Callable[[Topology, Guest], Setup]]] = table(
    "SETUPS",
    GuestApp,
    {
        GuestApp.WORDPRESS: wordpress,
        GuestApp.JELLYFIN: podman,
        GuestApp.STIRLING_PDF: podman,
        GuestApp.VAULTWARDEN: podman,
    },
)
_PROGRAMS: Final = "/usr/local/sbin/"
_SCRIPT: Final = f"{_PROGRAMS}set-up"
_UPDATES: Final = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'


def cloud_config(topology: Topology, guest: Guest) -> str:
    """The guest's file; it needs an app."""
    assert guest.app  # noqa: S101  # callers pass those that set themselves up
    setup = SETUPS[guest.app](topology, guest)
    script = ["#!/bin/sh", "set -eu", *setup.script]
    if SSH not in guest.ports:
        script += ["systemctl mask ssh.service", "systemctl stop ssh.service"]
    config: dict[str, Any] = {
        "hostname": guest.name,
        "manage_etc_hosts": True,
        "ssh_pwauth": False,
        "disable_root": True,
    }
    if topology.proxmox.authorized_keys:
        config["ssh_authorized_keys"] = list(topology.proxmox.authorized_keys)
    files = {
        "/etc/apt/apt.conf.d/52unattended-upgrades": _UPDATES,
        **setup.files,
        _SCRIPT: "\n".join(script) + "\n",
    }
    config |= {
        "package_update": True,
        "package_upgrade": True,
        "packages": ["unattended-upgrades", *setup.packages],
        "write_files": [
            {
                "path": path,
                "permissions": "0755" if path.startswith(_PROGRAMS) else "0644",
                "content": content,
            }
            for path, content in files.items()
        ],
        "runcmd": [[_SCRIPT]],
    }
    return "#cloud-config\n" + as_blocks(config)
