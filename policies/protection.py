"""Rules for resources that must survive mistakes: data, guests and their firewall.

A guest's firewall rules are protected like the guest: the engine deletes dependent resources before it
refuses a protected deletion, which would leave the guest running without rules.

Note: the engine tells a pack about `protect`, but not about `retain_on_delete`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.rule import policy
from resources.docker import Volume
from resources.proxmox import DatacenterFirewall, FirewallOptions, FirewallRules, Ipset, SecurityGroup
from resources.proxmox_guests import GUESTS, RouterMachine
from resources.typed import TypedResource
from topology.index import TopologyIndex


@policy(
    Volume,
    *GUESTS.values(),
    RouterMachine,
    SecurityGroup,
    Ipset,
    FirewallOptions,
    FirewallRules,
    DatacenterFirewall,
    obligation="Volumes, guests and their firewall must be protected from deletion where the stack says so.",
    remedy="Set the option protect, or protect: false in the stack file where its data may go.",
)
def data_is_protected(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield unprotected resources: a rename or omission would delete them with their data."""
    if topology.protect and not view.resource.protect:
        yield "can be deleted by any update"
