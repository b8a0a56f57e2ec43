"""Docker-SRV's own firewall rules, in place before any container starts.

Owns where the rules are installed: on this machine, or over SSH on a host whose key is pinned. Their text is
`topology.host_rules`'. What a reader would get wrong: the old rules are replaced in one step, so an update
never opens a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_command as command

from topology import host_rules
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class HostFirewallArgs:
    """The site; its Docker zones' bridges are what the rules name."""

    topology: Topology


class HostFirewall(pulumi.ComponentResource):
    """The rules, removed when the stack is destroyed."""

    def __init__(self, name: str, args: HostFirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:HostFirewall", name, None, opts)
        # A new one in its place must not be taken away again by the end of the old one.
        child = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        rules, ssh = host_rules.rules(args.topology), args.topology.docker.ssh
        if ssh:
            command.remote.Command(
                "host-rules",
                connection=command.remote.ConnectionArgs(
                    host=ssh.address,
                    user=ssh.user,
                    host_key=ssh.host_key,
                    private_key=pulumi.Config("ssh").require_secret("privateKey"),
                ),
                create=host_rules.INSTALL,
                delete=host_rules.remove(args.topology),
                stdin=rules,
                opts=child,
            )
        else:
            command.local.Command(
                "host-rules",
                create=host_rules.INSTALL,
                delete=host_rules.remove(args.topology),
                stdin=rules,
                opts=child,
            )
        self.register_outputs({})
