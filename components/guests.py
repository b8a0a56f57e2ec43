"""Every guest with its security group.

What a reader would get wrong: guests are protected from deletion where the stack is, but never retained; one
that left the stack and ran on would do so without its firewall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.security_group import SecurityGroup, SecurityGroupArgs
from components.virtual_machine import VirtualMachine, VirtualMachineArgs
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class GuestsArgs:
    """`bridge` is a name; `aliases` and `internet` are those of the datacenter's firewall."""

    topology: Topology
    bridge: pulumi.Input[str]
    aliases: Mapping[str, pulumi.Input[str]]
    internet: pulumi.Input[str] | None = None


class Guests(pulumi.ComponentResource):
    """The virtual machines of Proxmox-SRV."""

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
            VirtualMachine(
                guest.name,
                VirtualMachineArgs(
                    topology=args.topology, guest=guest, bridge=args.bridge, security_group=group.name
                ),
                opts=child,
            )
        self.register_outputs({})
