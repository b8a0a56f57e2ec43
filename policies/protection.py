"""Rules for what must outlive a mistake: data, guests, and the firewall before them.

What a reader would get wrong: the engine refuses a protected deletion only when it comes to it, and what
hangs on the resource goes first. So a guest's rules are protected like the guest, or a refused removal would
leave it running without them. The engine tells a pack of protection; of `retain_on_delete` it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.rule import policy
from resources.docker import Volume
from resources.proxmox import (
    DatacenterFirewall,
    FirewallOptions,
    FirewallRules,
    Ipset,
    SecurityGroup,
    SystemContainer,
    VirtualMachine,
)
from resources.view import View
from topology.declared import Declared


@policy(
    Volume,
    VirtualMachine,
    SystemContainer,
    SecurityGroup,
    Ipset,
    FirewallOptions,
    FirewallRules,
    DatacenterFirewall,
    obligation="Volumes, guests and their firewall must be protected from deletion where the stack says so.",
    remedy="Set the option protect, or protect: false in the stack file where its data may go.",
)
def data_is_protected(view: View[Any], topology: Declared) -> Iterator[str]:
    """A resource that is renamed or left out by mistake is deleted by the next update, with its data."""
    if topology.protect and not view.resource.protect:
        yield "can be deleted by any update"
