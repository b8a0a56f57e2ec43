"""From where the live probe asks."""

from __future__ import annotations

from ipaddress import IPv4Address

from pydantic import Field

from topology.model.values import HostKey, Name, Value


class SshVantage(Value):
    """A machine from which the live probe asks over SSH; its name is the source that it stands for.

    `front` is where Docker-SRV's published ports are found from there, if not at the host's own `address`.
    """

    name: Name
    ssh: str = Field(pattern=r"^[a-z_][a-z0-9_-]*@[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    """`user@host`; the rest, like port, key and jump host, is the SSH client's own configuration."""
    host_key: HostKey
    front: IPv4Address | None = None


class ImageVantage(Value):
    """The image with Python in which the live probe asks from containers and Docker networks."""

    name: Name
    image: str
