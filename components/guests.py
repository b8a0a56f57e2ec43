"""Every guest with its security group.

Note: guests are protected from deletion where the stack is, but never retained, because a guest that kept
running outside the stack would run without its firewall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.security_group import SecurityGroup, SecurityGroupArgs
from components.system_container import SystemContainer, SystemContainerArgs
from components.virtual_machine import VirtualMachine, VirtualMachineArgs
from topology.model import LxcGuest, Topology


@dataclass(frozen=True, kw_only=True)
class GuestsArgs:
    """`bridge` is the bridge's name; `aliases` and `internet` come from the datacenter's firewall."""

    topology: Topology
    bridge: pulumi.Input[str]
    aliases: Mapping[str, pulumi.Input[str]]
    internet: pulumi.Input[str] | None = None


class Guests(pulumi.ComponentResource):
    """The virtual machines and system containers of Proxmox-SRV."""

    def __init__(self, name: str, args: GuestsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:Guests", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        for guest in args.topology.guests:
            group = SecurityGroup(
                guest.name,
                SecurityGroupArgs(
                    topology=args.topology, guest=guest, aliases=args.aliases, internet=args.internet
                ),
                opts=child,
            )
            if isinstance(guest, LxcGuest):
                SystemContainer(
                    guest.name,
                    SystemContainerArgs(
                        topology=args.topology, guest=guest, bridge=args.bridge, security_group=group.name
                    ),
                    opts=child,
                )
            else:
                VirtualMachine(
                    guest.name,
                    VirtualMachineArgs(
                        topology=args.topology, guest=guest, bridge=args.bridge, security_group=group.name
                    ),
                    opts=child,
                )
        self.register_outputs({})
