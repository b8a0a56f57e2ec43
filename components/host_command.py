"""A command on Docker-SRV: on this machine, or over SSH on a host whose key is pinned.

Owns the way there alone; the texts are those of `topology`, where the policy pack knows them word for word.
What a reader would get wrong: a changed command is a new one. The old one's `delete` runs first, so that
nothing is left which only the old text knew how to remove; changed standard input runs `create` again.
"""

from __future__ import annotations

import pulumi
import pulumi_command as command

from topology.model import Topology


def host_command(
    name: str,
    topology: Topology,
    *,
    create: str,
    delete: str,
    parent: pulumi.Resource,
    stdin: str | None = None,
) -> None:
    """Register the command; both of its texts are idempotent."""
    ssh = topology.docker.ssh
    opts = pulumi.ResourceOptions(
        parent=parent, replace_on_changes=["create", "delete"], delete_before_replace=True
    )
    if not ssh:
        command.local.Command(name, create=create, delete=delete, stdin=stdin, opts=opts)
        return
    command.remote.Command(
        name,
        connection=command.remote.ConnectionArgs(
            host=ssh.address,
            user=ssh.user,
            host_key=ssh.host_key,
            private_key=pulumi.Config("ssh").require_secret("privateKey"),
        ),
        create=create,
        delete=delete,
        stdin=stdin,
        opts=opts,
    )
