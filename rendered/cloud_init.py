"""The cloud-init files of guests that set themselves up, for Debian's cloud images.

`components.virtual_machine` refers to the files on the Proxmox host by the same names. Note: cloud-init reads
the file only at the guest's first boot. Every user with access to the node's snippets can read it, so it
contains no secret; passwords are generated on the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rendered.apps.podman import podman
from rendered.apps.text import as_blocks
from rendered.apps.wordpress import wordpress
from rendered.exporter import exporter
from rendered.setup import Setup
from topology.model import SSH, Guest, GuestApp, ProxmoxHost, Topology, table

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
    """Return the guest's cloud-init file; the guest must have an app."""
    assert guest.app  # noqa: S101  # callers pass only guests that set themselves up
    setup, watched = SETUPS[guest.app](topology, guest), exporter(topology, guest)
    whole = Setup(
        packages=(*setup.packages, *watched.packages),
        files={**setup.files, **watched.files},
        script=(*setup.script, *watched.script),
    )
    return machine(guest.name, topology.node_of(guest), whole, ssh=SSH in guest.ports)


def machine(name: str, host: ProxmoxHost, setup: Setup, *, ssh: bool, root: bool = False) -> str:
    """Return the cloud-init file of a machine of a host, with a setup.

    `ssh` keeps its SSH server, by which the host's keys log in as Debian's own user, or as root.
    """
    script = ["#!/bin/sh", "set -eu", *setup.script]
    if not ssh:
        script += ["systemctl mask ssh.service", "systemctl stop ssh.service"]
    config: dict[str, Any] = {
        "hostname": name,
        "manage_etc_hosts": True,
        "ssh_pwauth": False,
        "disable_root": not root,
    }
    if keys := host.authorized_keys:
        config["ssh_authorized_keys"] = [*keys]
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
