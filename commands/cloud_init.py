"""Write the cloud-init files of guests with an app, and of a router that is a guest.

`python -m commands cloud-init Pulumi.home.yaml` writes cloud-init-home/<guest>.yaml for each of them. Exit
status: 0 written, 2 bad input and nothing written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from commands.written import write
from rendered import router_guest
from rendered.cloud_init import cloud_config
from topology.model import Topology


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one stack's files; returns the exit status."""
    description = (__doc__ or "").partition("\n")[0]
    missing = ("no guest sets itself up", "give one app: wordpress, or an app and an image")
    return write("cloud-init", description, arguments, _texts, missing)


def _texts(topology: Topology) -> Mapping[str, str]:
    found = {
        f"{topology.physical(guest.name)}.yaml": cloud_config(topology, guest)
        for guest in topology.guests
        if topology.user_data(guest)
    }
    if topology.router and topology.router_user_data:
        found[f"{topology.physical(topology.router.name)}.yaml"] = router_guest.cloud_config(topology)
    return found
