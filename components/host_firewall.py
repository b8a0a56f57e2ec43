"""Docker-SRV's own firewall rules, in place before any container starts.

`rendered.host_rules` and `rendered.leg_rules` provide their text, `components.host_command` runs it on the
host. Old tables are replaced atomically, so an update leaves no gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.host_command import host_command
from rendered import host_rules, leg_rules
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class HostFirewallArgs:
    """The site; the rules refer to its Docker zones' bridges. `before` begins the commands' names."""

    topology: Topology
    before: str = ""


class HostFirewall(pulumi.ComponentResource):
    """The host's rules, removed when the stack is destroyed."""

    def __init__(self, name: str, args: HostFirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:HostFirewall", name, None, opts)
        topology = args.topology
        host_command(
            f"{args.before}bridge-switch",
            topology.docker.ssh,
            create=host_rules.SWITCH_ON,
            delete=host_rules.SWITCH_OFF,
            parent=self,
        )
        host_command(
            f"{args.before}host-rules",
            topology.docker.ssh,
            create=host_rules.INSTALL,
            delete=host_rules.remove(topology),
            stdin=host_rules.rules(topology),
            parent=self,
        )
        if topology.legs.every:
            host_command(
                f"{args.before}leg-rules",
                topology.docker.ssh,
                create=leg_rules.install(topology),
                delete=leg_rules.remove(topology),
                stdin=leg_rules.rules(topology),
                parent=self,
            )
        host_command(
            f"{args.before}boot-rules",
            topology.docker.ssh,
            create=host_rules.KEEP,
            delete=host_rules.forget(topology),
            stdin=host_rules.keep(topology),
            parent=self,
        )
        if topology.probes:
            host_command(
                f"{args.before}probe-rules",
                topology.docker.ssh,
                create=host_rules.open_probes(topology),
                delete=host_rules.close_probes(topology),
                parent=self,
            )
        self.register_outputs({})
