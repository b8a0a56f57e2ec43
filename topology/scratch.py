"""Folders in which programs of published images make their sockets, outside of their data."""

from __future__ import annotations

from typing import Final

from topology.host_folders import as_run, within
from topology.model import Container
from topology.versions import software

SOCKETS: Final = {
    "postgres": "/var/run/postgresql",
    "postgis": "/var/run/postgresql",
    "timescaledb": "/var/run/postgresql",
    "pgvecto-rs": "/var/run/postgresql",
    "mariadb": "/run/mysqld",
    "mysql": "/var/run/mysqld",
}
"""Last part of an image's name -> the folder, without which the program does not start."""


def without_socket(container: Container) -> str | None:
    """Return the folder that a container's program can't make its socket in; None where there is none.

    The root file system is read-only unless the container holds files or says otherwise.
    """
    folder = SOCKETS.get(software(container.image))
    is_writable = (
        container.files or container.secrets if container.read_only is None else not container.read_only
    )
    if folder is None or is_writable:
        return None
    places = [each.target for each in container.tmpfs] + [each.target for each in container.volumes]
    return None if any(within(as_run(folder), as_run(place)) for place in places) else folder
