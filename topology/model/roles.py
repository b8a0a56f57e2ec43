"""What a zone can be for: one row of `ROLES` for each role, from which every rule about roles follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from topology.model.table import table


class Role(StrEnum):
    """What a zone is for; the hard rules of the policy pack hang on it."""

    EDGE = "edge"
    FRONTEND = "frontend"
    QUERY = "query"
    BACKEND = "backend"
    PROBE = "probe"
    TENANT = "tenant"
    ISOLATED = "isolated"
    MANAGEMENT = "management"


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A colour as CSS writes it, in the page's light and dark theme."""

    light: str
    dark: str


@dataclass(frozen=True, kw_only=True)
class RoleTraits:
    """What follows from a role. No column has a default, so that a new role answers every question."""

    docker: bool
    """The zone is a Docker network."""
    vlan: bool
    """The zone is a VLAN with guests; one that is neither is outside what the project builds."""
    internal: bool
    """The Docker network, or the ingress's leg on the VLAN, has no way to its host."""
    routable: bool
    """The ingress may reach the services there."""
    beside_routable: bool
    """A service that the ingress reaches may join the zone too."""
    inner: bool
    """Only containers open connections to services there: no guest, no outsider, not the ingress."""
    alone: bool
    """One guest is there, and no service but the ingress and management reaches it."""
    sensitive: bool
    """A change that opens a flow to the zone needs a reviewer's word."""
    colour: Colour
    """Of the zone in the page's drawing."""
    meaning: str
    """One sentence for the documentation, without its full stop."""


ROLES: Final[Mapping[Role, RoleTraits]] = table(
    "ROLES",
    Role,
    {
        Role.EDGE: RoleTraits(
            docker=True,
            vlan=False,
            internal=False,
            routable=False,
            beside_routable=False,
            inner=False,
            alone=False,
            sensitive=False,
            colour=Colour(light="#fdf3dc", dark="#3a3018"),
            meaning="Docker network of the ingress alone, where its ports are published; there is one",
        ),
        Role.FRONTEND: RoleTraits(
            docker=True,
            vlan=False,
            internal=True,
            routable=True,
            beside_routable=True,
            inner=False,
            alone=False,
            sensitive=False,
            colour=Colour(light="#e5effd", dark="#1b2f4a"),
            meaning="Docker network of the services that the ingress reaches",
        ),
        Role.QUERY: RoleTraits(
            docker=True,
            vlan=False,
            internal=True,
            routable=False,
            beside_routable=True,
            inner=True,
            alone=False,
            sensitive=True,
            colour=Colour(light="#efe9fc", dark="#2c2548"),
            meaning="Docker network of what the frontend asks",
        ),
        Role.BACKEND: RoleTraits(
            docker=True,
            vlan=False,
            internal=True,
            routable=False,
            beside_routable=False,
            inner=True,
            alone=False,
            sensitive=True,
            colour=Colour(light="#e6eaee", dark="#27303a"),
            meaning="Docker network that neither the ingress nor a frontend service joins",
        ),
        Role.PROBE: RoleTraits(
            docker=True,
            vlan=False,
            internal=False,
            routable=False,
            beside_routable=False,
            inner=True,
            alone=False,
            sensitive=False,
            colour=Colour(light="#ffffff", dark="#182029"),
            meaning=(
                "Docker network from which Docker-SRV is watched: its published ports and nothing else; "
                "for the blackbox exporter and Prometheus alone"
            ),
        ),
        Role.TENANT: RoleTraits(
            docker=False,
            vlan=True,
            internal=True,
            routable=True,
            beside_routable=True,
            inner=False,
            alone=False,
            sensitive=False,
            colour=Colour(light="#e0f4ef", dark="#16382f"),
            meaning="VLAN with guests",
        ),
        Role.ISOLATED: RoleTraits(
            docker=False,
            vlan=True,
            internal=True,
            routable=True,
            beside_routable=True,
            inner=False,
            alone=True,
            sensitive=True,
            colour=Colour(light="#fce8ee", dark="#432330"),
            meaning="VLAN with one guest",
        ),
        Role.MANAGEMENT: RoleTraits(
            docker=False,
            vlan=False,
            internal=True,
            routable=False,
            beside_routable=False,
            inner=False,
            alone=False,
            sensitive=True,
            colour=Colour(light="#eceae4", dark="#33312a"),
            meaning=(
                "where administrators sit; nothing is built there, "
                "and at least one must reach the Proxmox API"
            ),
        ),
    },
)
