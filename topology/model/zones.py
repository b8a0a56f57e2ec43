"""Zones: the networks of a site."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from pydantic import Field

from topology.model.flows import Port
from topology.model.roles import ROLES, Role, RoleTraits
from topology.model.values import Day, FilePath, HostName, InterfaceName, Name, Value

ZONE_LENGTHS: Final = range(16, 31)
"""Prefix lengths of a zone: /30 has room for a gateway and one host; /16 is more than a homelab needs."""


class Zone(Value):
    """One network: a Docker network, a network of guests, or machines that are there already.

    Guests are on a VLAN of the Proxmox bridge, or, without `vlan`, on the untagged network of that bridge or
    of `bridge`, which each of their nodes has already; `parent` is Docker-SRV's interface there.
    `ingress` is the address of the ingress's leg there; without it the ingress has none. `ports` are those
    that external machines answer on; `host` is the name in the certificate of a single one, and `ca_file` the
    PEM file of the authority that signed it. `docker_host` is the Docker host that a Docker network is on;
    None where there is one only. Through the day `observed_until`, in UTC, undeclared connections
    between members of the Docker network pass, and are remembered.
    """

    name: Name
    role: Role
    prefix: IPv4Network
    vlan: int | None = Field(default=None, ge=1, le=4094)
    ingress: IPv4Address | None = None
    bridge: InterfaceName | None = None
    parent: InterfaceName | None = None
    ports: tuple[Port, ...] = ()
    docker_host: Name | None = None
    observed_until: Day | None = None
    host: HostName | None = None
    ca_file: FilePath | None = None

    @property
    def traits(self) -> RoleTraits:
        """Properties of the zone's role."""
        return ROLES[self.role]

    @property
    def is_docker(self) -> bool:
        """Whether the zone is a Docker network of its own."""
        return self.vlan is None and self.traits.docker

    @property
    def has_guests(self) -> bool:
        """Whether the zone is a network of guests."""
        return self.traits.vlan

    @property
    def is_outside(self) -> bool:
        """Whether the project builds nothing there: management and external machines."""
        return not (self.traits.docker or self.traits.vlan)

    @property
    def is_flat(self) -> bool:
        """Whether the zone is a network of guests without a VLAN tag, which they share with the LAN."""
        return self.traits.vlan and self.vlan is None

    @property
    def is_machine(self) -> bool:
        """Whether the zone is one external machine."""
        return self.role is Role.EXTERNAL and self.prefix.num_addresses == 1

    @property
    def internal(self) -> bool:
        """Whether the Docker network has no connection to its host."""
        return self.traits.internal

    @property
    def gateway(self) -> IPv4Address:
        """First address of the prefix. On a VLAN without a router no host has this address."""
        return self.prefix[1]

    @property
    def network(self) -> str:
        """Name of the Docker network: the zone's, but `vlan10` for the legs on VLAN 10."""
        return self.name if self.vlan is None else f"vlan{self.vlan}"


def lans(zones: Iterable[Zone]) -> tuple[Zone, ...]:
    """Return the zones of guests whose network is shared with other machines: flat ones, and management's."""
    every = tuple(zones)
    own = [zone.prefix for zone in every if zone.role is Role.MANAGEMENT]
    guests = (zone for zone in every if zone.has_guests)
    return tuple(zone for zone in guests if zone.is_flat or any(map(zone.prefix.overlaps, own)))


def zone_around(zone: Zone, zones: Iterable[Zone]) -> Zone | None:
    """Return the zone of guests on whose network external machines are; None: they are elsewhere."""
    inside = (each for each in zones if each.has_guests and zone.prefix.subnet_of(each.prefix))
    return next(inside, None) if zone.role is Role.EXTERNAL else None


def network_of(zone: Zone, zones: Iterable[Zone]) -> Zone:
    """Return the zone of guests on whose network a zone's machines are; itself where there is none."""
    every = tuple(zones)
    shared = (lan for lan in lans(every) if zone.is_outside and zone.prefix.overlaps(lan.prefix))
    return next(shared, None) or zone_around(zone, every) or zone
