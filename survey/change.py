"""The one change that closes a finding: a line of the compose file, or of `docker` where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from resources.docker import PublishedPort
from survey.docker import RunningContainer


def in_ports(seen: RunningContainer, ports: Sequence[PublishedPort]) -> str:
    """Return the change that publishes ports to the host itself alone."""
    texts = dict.fromkeys(_text(port) for port in ports)
    closed = ", ".join(f'"127.0.0.1:{text}"' for text in texts)
    if seen.service:
        found = ", ".join(f'"{text}"' for text in texts)
        return f"{_where(seen)}, write {closed} below `ports` in place of {found}, or remove it"
    options = " ".join(f"--publish 127.0.0.1:{text}" for text in texts)
    return f"{_where(seen)} with `{options}`, or without --publish"


def without(seen: RunningContainer, line: str, option: str, instead: str = "") -> str:
    """Return the change that takes away a compose line or docker's option; `instead` does its work."""
    change = f", remove `{line}`" if seen.service else f" without `{option}`"
    return f"{_where(seen)}{change}{f' ({instead})' if instead else ''}"


def on_own_network(seen: RunningContainer, network: str) -> str:
    """Return the change that takes a container from a network to one that only its clients are on."""
    own = f"{seen.service or seen.name}-only"
    if seen.service:
        return (
            f"{_where(seen)}, write `networks: [{own}]` in place of {network}, add {own} to the services "
            f"that need it, and declare `{own}: {{internal: true}}` below the file's `networks`"
        )
    return (
        f"docker network create --internal {own}; docker network connect {own} {seen.name} and each "
        f"container that needs it; docker network disconnect {network} {seen.name}"
    )


def with_login(seen: RunningContainer, origin: str) -> str:
    """Return the change that gives a Traefik router a login, in labels or in its file."""
    router, name = origin.rpartition(" ")[2], f"{origin.rpartition(' ')[2]}-login"
    if not origin.startswith(f"{seen.name}:"):
        file = origin.partition(":")[0]
        return f"in {file}, write `middlewares: [{name}]` at router {router}, and declare a basicAuth {name}"
    label = f"traefik.http.middlewares.{name}.basicauth.users=<user>:<hash of htpasswd -nB>"
    return f"{_where(seen)}, add the labels `traefik.http.routers.{router}.middlewares={name}` and `{label}`"


def leave_bridge(seen: RunningContainer) -> str:
    """Return the change that takes a container off the default bridge."""
    if seen.service:
        return f"{_where(seen)}, remove `network_mode: bridge` and name a network below `networks`"
    return (
        f"docker network create {seen.name}-only; docker network connect {seen.name}-only {seen.name}; "
        f"docker network disconnect bridge {seen.name}; and so for the others"
    )


def _where(seen: RunningContainer) -> str:
    if seen.service:
        return f"in {seen.file or f'the compose file of {seen.project}'}, service {seen.service}"
    return f"start {seen.name} again"


def _text(port: PublishedPort) -> str:
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{port.external}:{port.internal}{protocol}"
