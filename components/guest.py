"""What guests have in common: their arguments, notes, and a firewall of their own.

Note: a guest's firewall needs three switches. Two are the guest's (its options here, and its network card);
`components.datacenter_firewall` sets the third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

import pulumi
import pulumi_proxmoxve as proxmox

from topology.model import MARK, Guest, Topology

T = TypeVar("T", bound=Guest)


@dataclass(frozen=True, kw_only=True)
class GuestArgs(Generic[T]):
    """`bridge` and `security_group` are names."""

    topology: Topology
    guest: T
    bridge: pulumi.Input[str]
    security_group: pulumi.Input[str]


class Owner(TypedDict, total=False):
    """The guest that a firewall resource belongs to: one of the two ids."""

    vm_id: pulumi.Input[int]
    container_id: pulumi.Input[int]


def notes(guest: Guest) -> str:
    """Return the guest's notes, which identify its stack; Proxmox sets them when it makes the guest."""
    return f"{guest.name}\nports: {', '.join(map(str, guest.ports))}\n{MARK}: {pulumi.get_stack()}"


def guest_firewall(
    parent: pulumi.Resource,
    guest: Guest,
    node: str,
    owner: Owner,
    security_group: pulumi.Input[str],
    *,
    made_anew_with: pulumi.Resource | None = None,
) -> None:
    """Register the guest's firewall below `parent`: everything is dropped that the group does not accept.

    While the guest is observed, that is logged and accepted by rules behind the group: Proxmox does not log
    what a policy accepts. It deletes a guest's firewall with the guest; where `made_anew_with` is replaced,
    so is all of this.
    """
    anew = [made_anew_with] if made_anew_with else None
    own = proxmox.firewall.IpsetLegacy(
        guest.name,
        node_name=node,
        **owner,
        name="ipfilter-net0",
        comment="The only address that the card may use",
        cidrs=[proxmox.firewall.IpsetLegacyCidrArgs(name=str(guest.address))],
        opts=pulumi.ResourceOptions(parent=parent, replace_with=anew),
    )
    options = proxmox.firewall.OptionsLegacy(
        guest.name,
        node_name=node,
        **owner,
        enabled=True,
        input_policy="DROP",
        output_policy="DROP",
        macfilter=True,
        ipfilter=True,
        dhcp=False,
        ndp=False,
        radv=False,
        log_level_in="nolog",
        log_level_out="nolog",
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[own], replace_with=anew),
    )
    proxmox.firewall.RulesLegacy(
        guest.name,
        node_name=node,
        **owner,
        rules=[
            proxmox.firewall.RulesLegacyRuleArgs(
                security_group=security_group, iface="net0", comment=guest.name
            ),
            *(_observing(direction) for direction in ("in", "out") if guest.observed_until),
        ],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[options], replace_with=anew),
    )


def _observing(direction: str) -> proxmox.firewall.RulesLegacyRuleArgs:
    return proxmox.firewall.RulesLegacyRuleArgs(
        type=direction, action="ACCEPT", log="info", comment="Observed, not enforced yet"
    )
