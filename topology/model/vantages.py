"""Vantages: the places from which the live probe runs."""

from __future__ import annotations

from ipaddress import IPv4Address

from pydantic import Field

from topology.model.values import HostKey, Name, Value


class SshVantage(Value):
    """A machine from which the live probe runs over SSH; its name is the source that it represents.

    `docker-host-address` is the address of Docker-SRV's published ports as seen from there, if it differs
    from the host's own `address`.
    """

    name: Name
    ssh: str = Field(pattern=r"^[a-z_][a-z0-9_-]*@[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    """`user@host`. The SSH client's own configuration sets port, key and jump host."""
    host_key: HostKey
    docker_host_address: IPv4Address | None = None


class ImageVantage(Value):
    """The image with Python in which the live probe runs for containers and Docker networks."""

    name: Name
    image: str
