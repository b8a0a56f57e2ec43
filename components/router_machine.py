"""A router that the stack makes: a virtual machine with a card on each of its networks.

Note: its cards are outside Proxmox's firewall, which would drop forwarded packets as forged; what passes is
decided by the rules that `rendered.router_guest` has it load before it forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.virtual_machine import CardArgs, MachineArgs, machine
from rendered import router_guest
from topology.model import MARK, Topology


@dataclass(frozen=True, kw_only=True)
class RouterMachineArgs:
    """The site, whose router is a guest, and the name of its node's bridge with the zones' networks."""

    topology: Topology
    bridge: pulumi.Input[str]


class RouterMachine(pulumi.ComponentResource):
    """A started router; `made` is its virtual machine."""

    def __init__(
        self, name: str, args: RouterMachineArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:RouterMachine", name, None, opts)
        topology = args.topology
        router, guest, host = router_guest.parts(topology)
        self.made = machine(
            self,
            name,
            MachineArgs(
                topology=topology,
                hardware=guest,
                template=host.template,
                name=topology.physical(router.name),
                description=f"{router.name}, a router\n{MARK}: {pulumi.get_stack()}",
                cards=[
                    CardArgs(
                        bridge=args.bridge if card.bridge == host.bridge else card.bridge,
                        vlan=card.vlan,
                        firewall=card.firewall,
                        mac=card.mac,
                        address=card.address,
                        gateway=card.gateway,
                    )
                    for card in router_guest.cards(topology)
                ],
                user_data=topology.router_user_data,
            ),
        )
        self.register_outputs({"name": self.made.name})
