"""What the parts of a declared site mean to each other, and every way in which that can be wrong.

Owns the semantic checks of the configuration: small functions over what could be read. It deliberately
checks no shape (`topology.config`) and proves nothing (`reachability.engine`): it refuses flows that can
never work and leaves the others to the proof. What a reader would get wrong: `Site.unreadable` holds what was
declared but faulty; nothing here may call that missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from topology.checks import (
    assertions,
    certificates,
    flows,
    guests,
    hosts,
    names,
    services,
    vantages,
    zones,
)
from topology.checks.site import Site
from topology.checks.vantages import CONTAINERS
from topology.fault import Fault

__all__ = ["CONTAINERS", "Site", "check"]


def check(site: Site) -> list[Fault]:
    """Every fault of every check, in the order of the file's sections."""
    return [fault for one in _CHECKS for fault in one(site)]


_CHECKS: Final[tuple[Callable[[Site], Iterator[Fault]], ...]] = (
    hosts.hosts,
    hosts.proxies,
    names.names,
    names.physical_names,
    zones.prefixes,
    zones.vlans,
    hosts.trunk,
    zones.roles,
    zones.isolated,
    zones.addresses,
    services.virtual_machines,
    services.memberships,
    services.probe,
    services.services,
    hosts.existing_bridge,
    guests.guest_apps,
    guests.admin_pages,
    guests.guest_authorities,
    services.ingress,
    flows.flows,
    flows.upstreams,
    flows.routes,
    certificates.acme,
    certificates.certificates,
    certificates.plain,
    hosts.lock_out,
    assertions.assertions,
    vantages.vantages,
)
