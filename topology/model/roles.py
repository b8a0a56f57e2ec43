"""Roles of zones: one row of `ROLES` for each role. Every rule about roles is derived from the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from topology.model.table import table


class Role(StrEnum):
    """Purpose of a zone. The policy pack's mandatory rules depend on it."""

    EDGE = "edge"
    FRONTEND = "frontend"
    QUERY = "query"
    BACKEND = "backend"
    EGRESS = "egress"
    PROBE = "probe"
    TENANT = "tenant"
    ISOLATED = "isolated"
    MANAGEMENT = "management"
    EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A CSS colour for the report page's light and dark theme."""

    light: str
    dark: str


@dataclass(frozen=True, kw_only=True)
class RoleTraits:
    """Properties of a role. No field has a default, so a new role must set every one."""

    docker: bool
    """The zone is a Docker network."""
    vlan: bool
    """The zone is a VLAN with guests. In a zone of neither kind the project builds nothing."""
    internal: bool
    """The Docker network, or the ingress's leg on the VLAN, has no connection to its host."""
    routable: bool
    """The ingress may reach the zone's services."""
    beside_routable: bool
    """A service that the ingress reaches may also join the zone."""
    inner: bool
    """Only containers other than the ingress connect to the zone's services; guests and hosts do not."""
    alone: bool
    """The zone has one guest, which only the ingress and management reach."""
    sensitive: bool
    """A change that opens a flow to the zone needs a review."""
    colour: Colour
    """Colour of the zone in the report page's drawing."""
    meaning: str
    """One sentence for the documentation, without a full stop."""


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
        Role.EGRESS: RoleTraits(
            docker=True,
            vlan=False,
            internal=False,
            routable=False,
            beside_routable=True,
            inner=True,
            alone=False,
            sensitive=True,
            colour=Colour(light="#f6ead9", dark="#3a2b1e"),
            meaning=(
                "Docker network by which containers reach the internet, each on the ports of its own flows; "
                "no port is published there"
            ),
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
        Role.EXTERNAL: RoleTraits(
            docker=False,
            vlan=False,
            internal=True,
            routable=False,
            beside_routable=False,
            inner=False,
            alone=False,
            sensitive=False,
            colour=Colour(light="#f3ead9", dark="#37301f"),
            meaning=(
                "machines that are there already, such as a NAS, the household's own or another site's; "
                "nothing is built there, beyond a router or on a VLAN among guests"
            ),
        ),
    },
)
