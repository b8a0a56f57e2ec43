"""The guests that set themselves up, as cloud-init files for Debian's cloud images; and the command for them.

`python -m rendered.cloud_init Pulumi.home.yaml` writes cloud-init-home/<guest>.yaml for each guest with an
app; `components.virtual_machine` names the same files on the Proxmox host. Owns what all of them have in
common, output and exit codes: 0 written, 2 bad input, and then nothing is. What a reader would get wrong:
cloud-init reads a file at the guest's first boot alone, and whoever may read the node's snippets reads the
file, so no secret is in it: what needs a password makes one up on the guest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rendered.apps.podman import podman
from rendered.apps.text import as_blocks
from rendered.apps.wordpress import wordpress
from rendered.setup import Setup
from topology.config import ConfigError, Fault, from_file
from topology.model import SSH, Guest, GuestApp, Topology

SETUPS: Final[Mapping[GuestApp, Callable[[Topology, Guest], Setup]]] = {
    GuestApp.WORDPRESS: wordpress,
    GuestApp.JELLYFIN: podman,
    GuestApp.STIRLING_PDF: podman,
    GuestApp.VAULTWARDEN: podman,
}
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one stack's files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rendered.cloud_init", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="Pulumi.<stack>.yaml")
    file = parser.parse_args(arguments).file
    try:
        topology = from_file(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    texts = {
        guest.name: cloud_config(topology, guest) for guest in topology.guests if topology.user_data(guest)
    }
    if not texts:
        print(
            Fault(file.name, "no guest sets itself up", "give one app: wordpress, or an app and an image"),
            file=sys.stderr,
        )
        return 2
    folder = Path(f"cloud-init-{file.name.removeprefix('Pulumi.').removesuffix('.yaml')}")
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{topology.physical(name)}.yaml"
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
