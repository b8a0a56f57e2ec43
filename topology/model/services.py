"""What listens: containers and guests."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import BeforeValidator, Field

from topology.model.apps import FROM_DEBIAN, App, GuestApp
from topology.model.flows import SSH, Port
from topology.model.values import Day, FilePath, HostName, Name, UserId, Value


def _alone(zone: object) -> object:
    if isinstance(zone, str):
        return (zone,)
    if isinstance(zone, tuple):
        return zone
    raise ValueError("not one zone")


class AdminPage(Value):
    """An admin page that the ingress passes: the last day on which it may, and what it is for."""

    until: Day
    reason: str = Field(min_length=10)


class Service(Value):
    """Something that listens. `host` is the full host name that the ingress serves it under, if it does."""

    name: Name
    zones: tuple[Name, ...] = Field(min_length=1)
    ports: tuple[Port, ...] = ()
    host: HostName
    memory: int = Field(default=256, ge=16, le=1_048_576)
    """MiB."""


class Container(Service):
    """A service in a container of Docker-SRV; `zones` are the Docker networks it joins."""

    image: str
    app: App | None = None
    user: UserId | None = None
    """None: the one that its software needs, nobody where that is not known."""


class Guest(Service):
    """A service in a virtual machine of Proxmox-SRV; `zones` is the one VLAN it sits on, `zone` in YAML."""

    zones: Annotated[tuple[Name], BeforeValidator(_alone)] = Field(validation_alias="zone")
    vm: int = Field(ge=100, le=999_999_999)
    """VM id; the bounds are Proxmox's own."""
    address: IPv4Address
    cores: int = Field(default=1, ge=1, le=512)
    disk: int = Field(default=8, ge=1, le=131_072)
    """GiB."""
    app: GuestApp | None = None
    image: str | None = None
    """Image of an app that its upstream gives away as a container alone; a digest pins it."""
    authority: FilePath | None = None
    """PEM file of whoever signed the certificate that it shows the ingress; None: it speaks no TLS."""
    admin_page: AdminPage | None = None
    """None: the ingress passes no request to Vaultwarden's admin page."""

    @property
    def sets_itself_up(self) -> bool:
        """Whether it does so at its first boot; what Debian packages needs no image."""
        return self.image is not None or self.app in FROM_DEBIAN

    @property
    def web(self) -> Port | None:
        """The port that its app serves: the first that is not for logging in."""
        return next((port for port in self.ports if port != SSH), None)

    @property
    def mac(self) -> str:
        """The card's address: Proxmox's own OUI, then the VM id; known before the guest exists."""
        return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in (self.vm & 0xFFFFFF).to_bytes(3, "big"))
