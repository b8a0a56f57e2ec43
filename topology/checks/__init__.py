"""Semantic checks of the configuration, as small functions over the parts that could be read.

`topology.config` checks the shape, `reachability.engine` proves reachability. Of the flows, these checks
reject those that are forbidden or can never work.

Note: `Site.unreadable` lists entries that are declared but faulty; no check may report them as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from topology.checks import (
    assertions,
    certificates,
    compose,
    compose_limits,
    docker_hosts,
    flows,
    guests,
    headers,
    hosts,
    legs,
    logins,
    machine_pages,
    names,
    nodes,
    router_guest,
    routers,
    services,
    system_containers,
    vantages,
    zones,
)
from topology.checks.site import Site
from topology.checks.vantages import CONTAINERS
from topology.fault import Fault

__all__ = ["CONTAINERS", "Site", "check"]


def check(site: Site) -> list[Fault]:
    """Return every fault of every check, in the order of the file's sections."""
    return [fault for one in _CHECKS for fault in one(site)]


_CHECKS: Final[tuple[Callable[[Site], Iterator[Fault]], ...]] = (
    hosts.hosts,
    hosts.proxies,
    docker_hosts.networks,
    docker_hosts.hosts,
    docker_hosts.containers,
    names.names,
    names.physical_names,
    zones.prefixes,
    zones.vlans,
    hosts.trunk,
    hosts.name_servers,
    hosts.closed,
    routers.routers,
    router_guest.router_guest,
    zones.roles,
    zones.isolated,
    zones.addresses,
    zones.members,
    legs.legs,
    services.virtual_machines,
    nodes.nodes,
    nodes.templates,
    nodes.guests,
    services.memberships,
    services.probe,
    services.exits,
    services.services,
    compose.variables,
    compose.own_and_given,
    compose.files,
    compose.secrets,
    compose.mounts,
    compose_limits.borrowed,
    compose_limits.depends,
    compose_limits.scratch,
    compose_limits.limits,
    compose_limits.privileges,
    compose_limits.names,
    compose_limits.volumes,
    hosts.existing_bridge,
    guests.existing_guests,
    guests.guest_apps,
    guests.admin_pages,
    guests.guest_authorities,
    system_containers.system_containers,
    services.ingress,
    flows.flows,
    flows.upstreams,
    flows.receivers,
    machine_pages.machine_pages,
    flows.streams,
    flows.routes,
    flows.audiences,
    headers.headers,
    logins.logins,
    certificates.served,
    certificates.acme,
    certificates.certificates,
    certificates.of_containers,
    certificates.unencrypted,
    hosts.lock_out,
    assertions.assertions,
    vantages.vantages,
)
