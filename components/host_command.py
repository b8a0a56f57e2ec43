"""A command on a host: on this machine, or over SSH on one whose key is pinned.

`rendered` provides the commands' texts, which the policy pack compares word for word. Note: a changed command
is a replacement. The old command's `delete` runs first, so its effects are removed by the text that made
them; changed standard input runs `create` again.
"""

from __future__ import annotations

import pulumi
import pulumi_command as command

from topology.model import Ssh


def host_command(
    name: str,
    ssh: Ssh | None,
    *,
    create: str,
    delete: str,
    parent: pulumi.Resource,
    stdin: str | None = None,
    on: pulumi.Resource | None = None,
) -> None:
    """Register the command; `create` and `delete` must be idempotent.

    Where the stack makes its machine, `on`, the command runs after it, and again on another one.
    """
    made = [on] if on else None
    opts = pulumi.ResourceOptions(
        parent=parent,
        depends_on=made,
        replace_with=made,
        replace_on_changes=["create", "delete"],
        delete_before_replace=True,
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
