"""Zones, and what each is for."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from pydantic import Field

from topology.model.values import Name, Value


class Role(StrEnum):
    """What a zone is for; the hard rules of the policy pack hang on it.

    `edge`: the ingress alone, where its ports are published. `frontend`: the Docker services the ingress may
    reach. `query`: what the frontend asks. `backend`: never a destination from outside or from the ingress.
    `probe`: where Docker-SRV is watched from as a stranger sees it, by its published ports and nothing else.
    `tenant`: a VLAN with guests that the ingress may reach. `isolated`: a tenant VLAN with one guest and no
    egress unless declared. `management`: where administrators sit, outside what the project builds.
    """

    EDGE = "edge"
    FRONTEND = "frontend"
    QUERY = "query"
    BACKEND = "backend"
    PROBE = "probe"
    TENANT = "tenant"
    ISOLATED = "isolated"
    MANAGEMENT = "management"


class Zone(Value):
    """One network: a Docker network, a VLAN of the Proxmox bridge (`vlan` is set), or management.

    `ingress` is the address of the ingress's own leg on a VLAN; without one the ingress has no leg there.
    """

    name: Name
    role: Role
    prefix: IPv4Network
    vlan: int | None = Field(default=None, ge=1, le=4094)
    ingress: IPv4Address | None = None

    @property
    def is_docker(self) -> bool:
        """Whether the zone is a Docker network of its own."""
        return self.vlan is None and self.role is not Role.MANAGEMENT

    @property
    def internal(self) -> bool:
        """Whether the Docker network has no way to its host: all but edge and probe."""
        return self.role not in (Role.EDGE, Role.PROBE)

    @property
    def gateway(self) -> IPv4Address:
        """First address of the prefix; nobody answers there on a VLAN without a router."""
        return self.prefix[1]

    @property
    def network(self) -> str:
        """Name of the Docker network: the zone's own, or `vlan10` for the ingress's leg on VLAN 10."""
        return self.name if self.vlan is None else f"vlan{self.vlan}"
