"""How the software in a container runs: command, files, data, user and health check.

`rendered.apps` creates the runtimes of known apps; `rendered.container` turns them into properties. Note: a
change of `files` replaces the container, because the engine copies files in once before the start. Persistent
data belongs in `data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

NOBODY = "65534:65534"


@dataclass(frozen=True)
class StackSecret:
    """A file or variable whose text is a secret of the stack, such as `grafana:adminPassword`."""

    namespace: str
    key: str


def stack_secret(key: str) -> StackSecret:
    """Return the secret of a configuration key such as `wiki:db-password`."""
    namespace, _, name = key.partition(":")
    return StackSecret(namespace, name)


@dataclass(frozen=True, kw_only=True)
class PemFile:
    """A file whose text is a PEM file on the machine that runs Pulumi; `key` is its configuration key."""

    key: str
    path: str
    secret: bool = False


Text = str | StackSecret | PemFile
"""Content of a file in a container, or its source."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The properties of a container that depend on its software, not on its place in the network."""

    command: tuple[str, ...] = ()
    """Arguments to the image's entry point; empty: the image's default."""
    files: Mapping[str, Text] = field(default_factory=dict)
    """Path in the container -> content."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that are no secrets."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Path in the container -> name of the volume, which outlives the container."""
    host_paths: Mapping[str, str] = field(default_factory=dict)
    """Path in the container -> path on Docker-SRV, read-only."""
    name_servers: tuple[IPv4Address, ...] = ()
    """Resolvers of names that are not containers; `Topology.name_servers` gives every service its own."""
    user: str = NOBODY
    """Numeric `uid:gid`."""
    health: tuple[str, ...] = ()
    """Command inside the container that exits with 0 when healthy; empty: the image's own check."""


def tcp_health(port: int, address: str = "127.0.0.1") -> tuple[str, ...]:
    """Return a check that the port accepts connections, for ports that require certificates from clients."""
    return ("nc", address, str(port))


def http_health(port: int, path: str) -> tuple[str, ...]:
    """Return a check that `path` answers with a success status; needs busybox's wget in the image."""
    return ("wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}")


def bash_health(port: int, path: str) -> tuple[str, ...]:
    """Return a check that `path` answers 200; needs only bash in the image, neither wget nor curl."""
    asks = (
        f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        rf' && printf "GET {path} HTTP/1.0\r\n\r\n" >&3 && read -r _ code _ <&3 && [ "$code" = 200 ]'
    )
    return ("bash", "-c", asks)
