"""Checks of zones: prefixes, VLANs, roles and addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Final

from topology.addresses import hosts
from topology.checks.site import DOCKER_ROLES, VLAN_ROLES, Site, twice
from topology.fault import Fault
from topology.model import ZONE_LENGTHS, DockerHost, ProxmoxHost, Role, Zone

_OUTSIDE_LENGTHS: Final = range(8, 33)
"""Prefix lengths of external machines: one address, or all of a company's."""

_SET_ASIDE: Final = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
"""Prefixes that no network can use (IANA's special-purpose registry, RFC 6890)."""


def prefixes(site: Site) -> Iterator[Fault]:
    """Check that each zone has a usable prefix of its own.

    A network of guests may hold those of external machines, and a tenant's management's.
    """
    for zone in site.zones.values():
        path, prefix = f"zones.{zone.name}.prefix", zone.prefix
        sizes = _OUTSIDE_LENGTHS if zone.role is Role.EXTERNAL else ZONE_LENGTHS
        if prefix.prefixlen not in sizes:
            yield Fault(
                path, f"/{prefix.prefixlen} is no size for a zone", f"use /{sizes[0]} to /{sizes[-1]}"
            )
        if any(map(prefix.overlaps, _SET_ASIDE)):
            yield Fault(
                path, f"{prefix} is set aside and never routed", "use a private prefix like 10.10.10.0/24"
            )
    for one, other in combinations(site.zones.values(), 2):
        roles = {one.role, other.role}
        is_lan = roles > {Role.MANAGEMENT} and (Role.TENANT in roles or one.is_flat or other.is_flat)
        is_inside = site.around(one) == other or site.around(other) == one
        if one.prefix.overlaps(other.prefix) and not (is_lan or is_inside):
            yield Fault(
                f"zones.{other.name}.prefix",
                f"{other.prefix} overlaps {one.prefix} of zones.{one.name}",
                "give each zone a prefix of its own",
            )


def vlans(site: Site) -> Iterator[Fault]:
    """Check that each of several zones of guests has its own tag, and no zone of another kind has one."""
    alone = sum(zone.has_guests for zone in site.zones.values()) == 1 and not site.unreadable_in("zones")
    for zone in site.zones.values():
        path = f"zones.{zone.name}"
        if zone.role in VLAN_ROLES:
            if zone.is_flat and (zone.traits.alone or not (alone or zone.bridge)):
                other = "" if zone.traits.alone else ", or the bridge on which its guests have none"
                yield Fault(
                    f"{path}.vlan", f"a zone of role {zone.role} needs a VLAN tag", f"add one, 1-4094{other}"
                )
            yield from _own_bridge(site, zone, path)
            continue
        for key in ("vlan", "ingress", "bridge", "parent"):
            if getattr(zone, key) is not None:
                yield Fault(
                    f"{path}.{key}",
                    f"a zone of role {zone.role} has none",
                    f"remove it, or use role {' or '.join(VLAN_ROLES)}",
                )
    for zone in site.zones.values():
        if zone.observed_until and not zone.is_docker:
            yield Fault(
                f"zones.{zone.name}.observed-until",
                f"a zone of role {zone.role} is no Docker network, whose members Docker's host sees",
                "give it to its guests" if zone.has_guests else "remove it",
            )
        if zone.ports and zone.role is not Role.EXTERNAL:
            yield Fault(
                f"zones.{zone.name}.ports",
                f"a zone of role {zone.role} has none",
                f"give them to a service, or use role {Role.EXTERNAL}",
            )
        yield from twice(
            ((f"zones.{zone.name}.ports[{i}]", port) for i, port in enumerate(zone.ports)),
            "name each port once",
        )
    yield from twice(
        ((f"zones.{z.name}.vlan", z.vlan) for z in site.zones.values() if z.vlan),
        "give each zone its own tag",
    )
    yield from twice(
        ((f"zones.{z.name}.bridge", z.bridge) for z in site.zones.values() if z.bridge and not z.vlan),
        "give each zone its own bridge",
    )


def _is_behind(site: Site, zone: Zone) -> bool:
    """Whether the router leads the ingress to a zone, in which it has no leg of its own."""
    return site.router is not None and zone.name in site.router.legs and zone.ingress is None


def _own_bridge(site: Site, zone: Zone, path: str) -> Iterator[Fault]:
    """Yield what is wrong with a bridge of a zone's own, or with Docker-SRV's interface there."""
    if zone.bridge and zone.vlan:
        yield Fault(
            f"{path}.bridge", "stands beside vlan, which is a tag on the hosts' bridge", "keep one of them"
        )
    for node in site.nodes if not zone.vlan else ():
        if zone.bridge == node.bridge and site.needs_bridge:
            yield Fault(
                f"{path}.bridge",
                f"{zone.bridge} is that of hosts.{node.name}, where a guest without a tag sees every VLAN",
                "name another bridge of the node, one that carries no VLANs",
            )
    if zone.parent and not zone.bridge:
        yield Fault(f"{path}.parent", "legs there are on the trunk", "leave it out")
    if (
        zone.bridge
        and not zone.vlan
        and zone.name in site.leg_zones
        and not (zone.parent or _is_behind(site, zone))
    ):
        yield Fault(
            f"{path}.parent",
            "missing, and the ingress reaches guests there",
            "name the interface of Docker-SRV that is on that network, like eth0",
        )


def roles(site: Site) -> Iterator[Fault]:
    """Check that Docker-SRV has one edge zone, Proxmox-SRV a management zone, and that no zone is empty."""
    edges = [zone.name for zone in site.zones.values() if zone.role is Role.EDGE]
    if len(edges) > 1:
        yield Fault(
            "zones",
            f"{' and '.join(edges)} are all of role edge",
            "keep one: its ports are published there; a tunnel is a guest with a flow to the ingress",
        )
    if not site.unreadable_in("zones"):
        if not edges and site.has(DockerHost):
            yield Fault(
                "zones", "no zone is of role edge", "add the one that the ingress publishes its ports on"
            )
        if not site.management and site.has(ProxmoxHost):
            yield Fault(
                "zones",
                "no zone is of role management, and the datacenter firewall drops all but management",
                "add one, or nothing reaches Proxmox",
            )
    if site.unreadable_in("services"):
        return
    inhabited = {*DOCKER_ROLES, *VLAN_ROLES} - {Role.EDGE}  # the ingress check reports an empty edge zone
    members = Counter(name for service in site.services.values() for name in service.zones)
    for zone in site.zones.values():
        if zone.role in inhabited and not members[zone.name]:
            yield Fault(
                f"zones.{zone.name}", "no service is in this zone", "put one there, or remove the zone"
            )


def isolated(site: Site) -> Iterator[Fault]:
    """Check that an isolated zone has one guest at most."""
    for zone in (z for z in site.zones.values() if z.traits.alone):
        tenants = [guest.name for guest in site.guests if zone.name in guest.zones]
        if len(tenants) > 1:
            yield Fault(
                f"zones.{zone.name}",
                f"{' and '.join(tenants)} share this {zone.role} zone",
                "give each guest an isolated zone of its own",
            )


def addresses(site: Site) -> Iterator[Fault]:
    """Check that each address lies in its zone, is usable there, and is unique."""
    owners: list[tuple[str, IPv4Address, Zone]] = [
        (f"zones.{zone.name}.ingress", zone.ingress, zone)
        for zone in site.zones.values()
        if zone.ingress and zone.has_guests
    ]
    owners += [
        (f"services.{guest.name}.address", guest.address, site.zones[guest.zones[0]])
        for guest in site.guests
        if site.is_placed(guest)
    ]
    owners += [
        (f"services.{container.name}.addresses.{name}", address, site.zones[name])
        for container in site.containers
        for name, address in container.addresses.items()
        if name in site.zones and (name in container.zones or site.zones[name].has_guests)
    ]
    nodes = [host for host in site.hosts.values() if isinstance(host, ProxmoxHost) and host.address]
    for node in nodes if site.management and not site.unreadable_in("zones") else ():
        path, inside = f"hosts.{node.name}.address", [site.zones[name] for name in site.management]
        zones = [zone for zone in inside if node.address in zone.prefix]
        owners += [(path, node.address, zone) for zone in zones if node.address]
        if not zones:
            yield Fault(path, f"{node.address} is in no management zone", "use one there, or leave it out")
    for path, address, zone in owners:
        if zone.prefix.prefixlen not in ZONE_LENGTHS:
            continue
        if address not in zone.prefix:
            fault = f"{address} is outside {zone.prefix}, the prefix of zones.{zone.name}"
        elif address in (zone.prefix.network_address, zone.prefix.broadcast_address):
            fault = f"{address} is the network or broadcast address of zones.{zone.name}"
        elif address == zone.gateway or (site.router and address == site.router.address(zone)):
            fault = f"{address} is the gateway of zones.{zone.name}"
        elif others := [
            z.name for z in site.zones.values() if site.around(z) == zone and address in z.prefix
        ]:
            fault = f"{address} is an address of zones.{others[0]}"
        else:
            continue
        yield Fault(path, fault, f"use one of {zone.prefix[2]}-{zone.prefix[-2]}")
    yield from twice(((path, address) for path, address, _ in owners), "give each its own address")


def members(site: Site) -> Iterator[Fault]:
    """Check that Docker zones have an address for every container, and that given ones are in its zones."""
    for container in site.containers:
        for name in container.addresses:
            if name not in container.zones and not (name in site.zones and site.zones[name].has_guests):
                yield Fault(
                    f"services.{container.name}.addresses.{name}",
                    f"{container.name} is not in zone {name}",
                    f"name one of {', '.join(container.zones)}",
                )
    counts = Counter(name for container in site.containers for name in container.zones)
    for zone in site.zones.values():
        room = len(hosts(zone.prefix))
        if zone.is_docker and zone.prefix.prefixlen in ZONE_LENGTHS and counts[zone.name] > room:
            yield Fault(
                f"zones.{zone.name}.prefix",
                f"{zone.prefix} has addresses for {room} containers, and {counts[zone.name]} are in the zone",
                "use a shorter prefix length",
            )
