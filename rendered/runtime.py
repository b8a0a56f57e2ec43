"""How the software in a container is run: command, files, data, identity, health.

Owns the shape only. `rendered.apps` fills it for the software whose configuration the project writes;
`components.container` turns it into a resource. What a reader would get wrong: a change of `files` replaces
the container (the engine copies files in once, before the start), so data belongs in `data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

NOBODY = "65534:65534"


@dataclass(frozen=True)
class StackSecret:
    """A file whose text is a secret of the stack, such as `grafana:adminPassword`."""

    namespace: str
    key: str


@dataclass(frozen=True, kw_only=True)
class PemFile:
    """A file whose text is a PEM file where Pulumi runs; `key` is the configuration's that names it."""

    key: str
    path: str
    secret: bool = False


Text = str | StackSecret | PemFile
"""What a file in a container holds, or where that is to be found."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Everything about a container that its software decides, and its place in the network does not."""

    command: tuple[str, ...] = ()
    """Arguments to the image's entry point; empty: the image's own."""
    files: Mapping[str, Text] = field(default_factory=dict)
    """Path in the container -> text."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Never a secret: those are files."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Path in the container -> name of the volume, which outlives the container."""
    host_paths: Mapping[str, str] = field(default_factory=dict)
    """Path in the container -> path on Docker-SRV, read-only."""
    name_servers: tuple[IPv4Address, ...] = ()
    """Whom it asks for names that are no container's; none: whom Docker-SRV asks."""
    user: str = NOBODY
    """Numeric `uid:gid`."""
    health: tuple[str, ...] = ()
    """Command run inside the container, exit 0 when healthy; empty: the image's own check."""


def tcp_health(port: int) -> tuple[str, ...]:
    """Healthy when the port takes connections; for what asks for a certificate, which busybox can't show."""
    return ("nc", "127.0.0.1", str(port))


def http_health(port: int, path: str) -> tuple[str, ...]:
    """Healthy when `path` answers with a success; for images that carry busybox's wget."""
    return ("wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}")


def bash_health(port: int, path: str) -> tuple[str, ...]:
    """Healthy when `path` answers 200; for images that carry bash, and neither wget nor curl."""
    asks = (
        f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        rf' && printf "GET {path} HTTP/1.0\r\n\r\n" >&3 && read -r _ code _ <&3 && [ "$code" = 200 ]'
    )
    return ("bash", "-c", asks)
