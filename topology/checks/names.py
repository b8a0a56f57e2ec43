"""Checks of names: unique, and valid in the engine, Proxmox and the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from topology.checks.site import Site
from topology.fault import Fault
from topology.model import Guest

_PREDEFINED: Final = ("bridge", "host", "none")
"""Networks that every Docker engine creates."""

_LABEL: Final = range(1, 64)
"""Length of a DNS label (RFC 1123); containers look each other up by name."""

_GROUP: Final = range(2, 19)
"""Length of a Proxmox security group's name (API schema: `pve-security-group-name`)."""

_BRIDGE: Final = 12
"""Characters of a Docker network's name that fit behind `br-` in its bridge's interface name."""


def names(site: Site) -> Iterator[Fault]:
    """Check that hosts, management zones and services have unique names, since flows refer to them."""
    for name, (first, *others) in site.ends.items():
        for path in others:
            yield Fault(path, f"{name} is the name of {first} already", "rename it, so that flows are clear")


def physical_names(site: Site) -> Iterator[Fault]:
    """Check that physical names are valid in the engine, Proxmox and the kernel."""
    for service in site.services.values():
        physical = f"{site.name_prefix}{service.name}"
        limits = _GROUP if isinstance(service, Guest) else _LABEL
        if len(physical) not in limits:
            kind = "Proxmox security group" if isinstance(service, Guest) else "container"
            yield Fault(
                f"services.{service.name}",
                f"{physical} has {len(physical)} characters as a name of a {kind}",
                f"use {limits[0]}-{limits[-1]}, name-prefix included",
            )
    bridges: dict[str, str] = {}
    legs = {z.network for z in site.zones.values() if z.vlan}
    for zone in (z for z in site.zones.values() if z.is_docker or z.is_flat):
        physical = f"{site.name_prefix}{zone.name}"
        if physical in _PREDEFINED or zone.name in legs:
            yield Fault(
                f"zones.{zone.name}", f"a Docker network {physical} is there already", "rename the zone"
            )
        if zone.is_flat:
            continue
        first = bridges.setdefault(physical[:_BRIDGE], zone.name)
        if first != zone.name:
            yield Fault(
                f"zones.{zone.name}",
                f"its bridge would be named br-{physical[:_BRIDGE]}, as that of zones.{first}",
                f"let the first {_BRIDGE} characters differ, name-prefix included",
            )
