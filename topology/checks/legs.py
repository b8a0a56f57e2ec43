"""Checks of containers' legs on networks of guests, other than the ingress's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from topology.checks.site import Reason, Site
from topology.fault import Fault
from topology.model import Container, Guest, Zone, lans, leg_address, leg_alias

_ALIAS: Final = 64
"""Characters of an alias of Proxmox's firewall (API schema: `pve-fw-alias`)."""


def reach(site: Site, source: Container, zone: Zone) -> Reason | None:
    """Return why a container other than the ingress can't reach guests of a zone by a leg; None: it can."""
    if zone.traits.alone:
        return f"reaches into {zone.name}, which is {zone.role}", "use role tenant, or remove it"
    if zone in lans(site.zones.values()) or any(site.around(each) == zone for each in site.zones.values()):
        return (
            f"puts {source.name} on {zone.name}, among machines that are no guests",
            "give the guest a VLAN of guests alone, or remove it",
        )
    if leg_address(source, zone) is None:
        return (
            f"needs a leg of {source.name} on {zone.name}",
            f"add services.{source.name}.addresses.{zone.name}, an address there",
        )
    return None


def legs(site: Site) -> Iterator[Fault]:
    """Check that each leg has a flow to a guest, a name that fits, and callers on one Docker network."""
    if site.unreadable_in("flows") or site.unreadable_in("services") or site.unreadable_in("zones"):
        return
    for container in site.containers:
        own = [zone for name in container.addresses if (zone := site.zones.get(name)) and zone.has_guests]
        for zone in own:
            yield from _leg(site, container, zone)
        if own and container != site.ingress and len(asked_on := _asked_on(site, container)) > 1:
            yield Fault(
                f"services.{container.name}.addresses.{own[0].name}",
                f"with a leg {container.name} listens on one address, and is asked on {', '.join(asked_on)}",
                "let those that ask it share one zone with it, or leave the leg out",
            )


def _leg(site: Site, container: Container, zone: Zone) -> Iterator[Fault]:
    path = f"services.{container.name}.addresses.{zone.name}"
    if container == site.ingress:
        yield Fault(path, "is the ingress's leg", f"write it as zones.{zone.name}.ingress")
        return
    if zone.name not in {guest.zones[0] for guest in site.guests if guest.name in _reached(site, container)}:
        yield Fault(
            path,
            f"{container.name} has no flow to a guest there, so it needs no leg",
            "remove it, or declare the flow",
        )
    name = f"{site.name_prefix}{leg_alias(container, zone)}"
    if len(name) > _ALIAS:
        yield Fault(path, f"{name} has {len(name)} characters as an alias", "give the service a shorter name")


def _reached(site: Site, container: Container) -> set[str]:
    """Return the guests that a container has flows to."""
    found = {flow.destination for flow in site.flows.values() if flow.source == container.name}
    return {name for name in found if isinstance(site.services.get(name), Guest)}


def _asked_on(site: Site, container: Container) -> list[str]:
    """Return the Docker zones on which a container has callers."""
    callers = {flow.source for flow in site.flows.values() if flow.destination == container.name}
    near = {zone for name in callers if (caller := site.services.get(name)) for zone in caller.zones}
    return sorted(near & {*container.zones})
