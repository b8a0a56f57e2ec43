"""The privileges of the lab's API token: exactly those that docs/real-hosts.md has an administrator grant.

The lab's API refuses everything else, so each `make up` shows that the list suffices. Note: for virtual
machines the lab's API does not check `SDN.Use`, which Proxmox VE has demanded since 8.
"""

from __future__ import annotations

from collections.abc import Mapping

TOKEN = "homelab@pve!pulumi"  # noqa: S105  # its name
GRANTS: Mapping[str, frozenset[str]] = {
    "/": frozenset({"Sys.Audit", "Sys.Modify"}),
    "/vms": frozenset(
        {
            "VM.Allocate",
            "VM.Audit",
            "VM.Clone",
            "VM.Config.CDROM",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.PowerMgmt",
        }
    ),
    "/storage/local-lvm": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "/storage/local": frozenset({"Datastore.Audit"}),
    "/sdn/zones/localnetwork": frozenset({"SDN.Use"}),
}
"""Path -> privileges, which apply below it as well."""
LOGS: Mapping[str, frozenset[str]] = {"/nodes/pve1": GRANTS["/"] | {"Sys.Syslog"}}
"""Likewise, for `make suggest` about observed guests (docs/suggest.md).

Proxmox VE takes the privileges of the nearest path alone; the lab's API adds those of the paths above.
"""
