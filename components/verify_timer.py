"""The timer of the live probe on Docker-SRV, where the stack file asks for one.

Owns whether it is installed. Its texts are `rendered.verify_timer`'s. What a reader would get wrong: without
`verify-every` nothing is registered, and what an earlier stack file asked for is removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.host_command import host_command
from rendered import verify_timer
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class VerifyTimerArgs:
    """The site and the name of its stack, which the probe reads by."""

    topology: Topology
    stack: str


class VerifyTimer(pulumi.ComponentResource):
    """Service and timer, removed when the stack is destroyed."""

    def __init__(self, name: str, args: VerifyTimerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VerifyTimer", name, None, opts)
        if args.topology.docker.verify_every:
            host_command(
                "verify-timer",
                args.topology,
                create=verify_timer.INSTALL,
                delete=verify_timer.remove(args.topology),
                stdin=verify_timer.script(args.topology, args.stack),
                parent=self,
            )
        self.register_outputs({})
