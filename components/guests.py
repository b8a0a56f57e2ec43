"""Every guest with its security group.

Note: guests are protected from deletion where the stack is, but never retained, because a guest that kept
running outside the stack would run without its firewall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from components.guest import GuestArgs
from components.security_group import SecurityGroup, SecurityGroupArgs
from components.system_container import SystemContainer
from components.virtual_machine import VirtualMachine
from topology.model import Machine, Topology, machine_of, table

MACHINES: Final[
    Mapping[Machine, Callable[[str, GuestArgs[Any], pulumi.ResourceOptions], pulumi.ComponentResource]]
] = table(
    "MACHINES",
    Machine,
    {Machine.VIRTUAL_MACHINE: VirtualMachine, Machine.SYSTEM_CONTAINER: SystemContainer},
)


@dataclass(frozen=True, kw_only=True)
class GuestsArgs:
    """`bridges` are by host; `aliases` and `internet` come from the datacenter's firewall."""

    topology: Topology
    bridges: Mapping[str, pulumi.Input[str]]
    aliases: Mapping[str, pulumi.Input[str]]
    internet: pulumi.Input[str] | None = None


class Guests(pulumi.ComponentResource):
    """The virtual machines and system containers of Proxmox-SRV."""

    def __init__(self, name: str, args: GuestsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:Guests", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        for guest in args.topology.guests:
            flat = args.topology.zones[guest.zones[0]].bridge
            bridge = flat or args.bridges[args.topology.node_of(guest).name]
            group = SecurityGroup(
                guest.name,
                SecurityGroupArgs(
                    topology=args.topology, guest=guest, aliases=args.aliases, internet=args.internet
                ),
                opts=child,
            )
            MACHINES[machine_of(guest)](
                guest.name,
                GuestArgs(topology=args.topology, guest=guest, bridge=bridge, security_group=group.name),
                child,
            )
        self.register_outputs({})
