"""The timer of the live probe on Docker-SRV, installed where the stack file sets `verify-every`.

`rendered.verify_timer` provides the units' texts. Without `verify-every` nothing is registered, and a timer
that an earlier stack file asked for is removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.host_command import host_command
from rendered import verify_timer
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class VerifyTimerArgs:
    """The site, and the name of its stack, whose file the probe reads."""

    topology: Topology
    stack: str


class VerifyTimer(pulumi.ComponentResource):
    """The service and timer units, removed when the stack is destroyed."""

    def __init__(self, name: str, args: VerifyTimerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:VerifyTimer", name, None, opts)
        if args.topology.docker.verify_every:
            host_command(
                "verify-timer",
                args.topology.docker.ssh,
                create=verify_timer.INSTALL,
                delete=verify_timer.remove(args.topology),
                stdin=verify_timer.script(args.topology, args.stack),
                parent=self,
            )
        self.register_outputs({})
