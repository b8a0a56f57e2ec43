"""Jellyfin, Stirling-PDF and Vaultwarden: their upstreams' images, run by Debian's podman as a systemd unit.

Vaultwarden is published only as an image, and the others need newer Java and libraries than Debian has. The
guest's VLAN and firewall isolate the app; the container only packages it, and publishes one port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rendered.setup import Setup, made_up
from topology.model import Guest, GuestApp, Topology

_UNIT: Final = """[Unit]
Description=%(name)s
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/podman run --rm --replace --name %(name)s --pull missing %(options)s %(image)s
ExecStop=/usr/bin/podman stop --time 30 %(name)s
Restart=always
RestartSec=10s

[Install]
WantedBy=multi-user.target
"""
_ADMIN_PAGE: Final = """#!/bin/sh
# Vaultwarden's admin page, on for some minutes. A reboot ends it too, and what is saved there ends with it.
set -eu
folder=/run/vaultwarden-admin-page
case "${1:-}" in
  off | [1-9] | [1-9][0-9]) ;;
  *) echo "usage: vaultwarden-admin-page MINUTES|off, at most 99" >&2; exit 2 ;;
esac
systemctl stop vaultwarden-admin-page.timer 2> /dev/null || true
rm -rf $folder
if [ "$1" != off ]; then
  # Its end first: without one it does not begin.
  systemd-run --quiet --unit vaultwarden-admin-page --on-active "$1min" "$0" off
  umask 077
  mkdir $folder
  head -c 24 /dev/urandom | base64 > $folder/token
  chown 1000 $folder/token
  given="--volume $folder/token:/admin-token:ro --env ADMIN_TOKEN_FILE=/admin-token"
  echo "ADMIN_PAGE=$given" > $folder/options
  echo "for $1 minutes, by this token: $(cat $folder/token)"
fi
systemctl restart vaultwarden.service
"""
_NOBODY_IN_PARTICULAR: Final = ("--user 1000:1000", "--cap-drop all")


@dataclass(frozen=True, kw_only=True)
class _Image:
    """Settings for running an upstream's image; `folders` are below /var/lib/<app> on the guest."""

    port: int
    folders: Mapping[str, str]
    owner: int = 1000
    options: tuple[str, ...] = _NOBODY_IN_PARTICULAR
    environment: Mapping[str, str] = field(default_factory=dict)
    password: str | None = None
    """Environment variable of the first administrator's password."""
    files: Mapping[str, str] = field(default_factory=dict)


_IMAGES: Final[Mapping[GuestApp, _Image]] = {
    GuestApp.JELLYFIN: _Image(port=8096, folders={"config": "/config", "cache": "/cache", "media": "/media"}),
    # The image starts as root and drops to its own user.
    GuestApp.STIRLING_PDF: _Image(
        port=8080,
        folders={"configs": "/configs", "logs": "/logs"},
        owner=0,
        options=(),
        environment={
            "DISABLE_ADDITIONAL_FEATURES": "false",
            "SECURITY_ENABLELOGIN": "true",
            "SECURITY_INITIALLOGIN_USERNAME": "admin",
            "SYSTEM_ENABLEANALYTICS": "false",
        },
        password="SECURITY_INITIALLOGIN_PASSWORD",  # noqa: S106  # a variable's name
    ),
    # Without a token the admin page is disabled. Its settings are saved in a scratch folder, because in the
    # data folder they would persist and override the environment.
    GuestApp.VAULTWARDEN: _Image(
        port=8080,
        folders={"data": "/data"},
        options=(*_NOBODY_IN_PARTICULAR, "--read-only", "$ADMIN_PAGE"),
        environment={
            "CONFIG_FILE": "/tmp/config.json",  # noqa: S108  # a path in the container
            "ROCKET_PORT": "8080",
            "SIGNUPS_ALLOWED": "false",
            "INVITATIONS_ALLOWED": "false",
            "SHOW_PASSWORD_HINT": "false",
            "DISABLE_ICON_DOWNLOAD": "true",
        },
        files={
            "/usr/local/sbin/vaultwarden-admin-page": _ADMIN_PAGE,
            "/etc/systemd/system/vaultwarden.service.d/admin-page.conf": (
                "[Service]\nEnvironmentFile=-/run/vaultwarden-admin-page/options\n"
            ),
        },
    ),
}


def podman(topology: Topology, guest: Guest) -> Setup:
    """Return the systemd unit, its environment, data folders, and a generated password where needed."""
    assert guest.app  # noqa: S101  # topology.checks ensures it
    assert guest.web  # noqa: S101  # topology.checks ensures it
    name, image = str(guest.app), _IMAGES[guest.app]
    data, variables = f"/var/lib/{name}", f"/etc/{name}.env"
    environment = {**image.environment}
    if guest.app is GuestApp.VAULTWARDEN:
        environment["DOMAIN"] = topology.page(guest).removesuffix("/")
    options = [
        *image.options,
        "--security-opt no-new-privileges",
        f"--publish {guest.web.number}:{image.port}",
        f"--env-file {variables}",
        *(f"--volume {data}/{folder}:{place}" for folder, place in image.folders.items()),
    ]
    folders = " ".join(f"{data}/{folder}" for folder in image.folders)
    script = [f"install -d -o {image.owner} -g {image.owner} -m 700 {folders}"]
    if image.password:
        secret = f"/root/{name}-admin-password"
        options.append(f"--env-file /etc/{name}.secret.env")
        script += [
            made_up(secret),
            f'(umask 077; echo "{image.password}=$(cat {secret})" > /etc/{name}.secret.env)',
        ]
    script += [
        "systemctl daemon-reload",
        *(f"systemctl {verb} {name}.service" for verb in ("enable", "start")),
    ]
    return Setup(
        packages=("podman",),
        files={
            variables: "".join(f"{key}={value}\n" for key, value in environment.items()),
            f"/etc/systemd/system/{name}.service": _UNIT
            % {"name": name, "image": guest.image, "options": " ".join(options)},
            **image.files,
        },
        script=tuple(script),
    )
