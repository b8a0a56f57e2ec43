"""A Linux router's rules, installed over SSH where the site names its SSH server, and restored at each boot.

`rendered.router_rules` provides their text. The old table is replaced atomically, so an update leaves no gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.host_command import host_command
from rendered import router_rules
from topology.model import Ssh, Topology


@dataclass(frozen=True, kw_only=True)
class RouterFirewallArgs:
    """The site, whose flows that cross its router make the rules, and the router's SSH server."""

    topology: Topology
    ssh: Ssh
    machine: pulumi.Resource | None = None
    """The router's machine, where this stack makes it; another one gets its rules again."""


class RouterFirewall(pulumi.ComponentResource):
    """The router's rules, removed when the stack is destroyed."""

    def __init__(
        self, name: str, args: RouterFirewallArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:RouterFirewall", name, None, opts)
        topology = args.topology
        host_command(
            "router-rules",
            args.ssh,
            create=router_rules.INSTALL,
            delete=router_rules.remove(topology),
            stdin=router_rules.nftables(topology),
            parent=self,
            on=args.machine,
        )
        host_command(
            "router-boot-rules",
            args.ssh,
            create=router_rules.KEEP,
            delete=router_rules.forget(topology),
            stdin=router_rules.keep(topology),
            parent=self,
            on=args.machine,
        )
        self.register_outputs({})


def router(site: Topology, machine: pulumi.Resource | None) -> None:
    """Register what the stack installs on the site's router; nothing without one."""
    if site.router and site.router.ssh:
        args = RouterFirewallArgs(topology=site, ssh=site.router.ssh, machine=machine)
        RouterFirewall(site.router.name, args)
