"""Write the rules of a site's router.

`python -m commands router Pulumi.home.yaml` writes router-home/router.nft for a Linux router, and
router-home/router.vyos for one with VyOS. Exit status: 0 written, 2 bad input and nothing written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from commands.written import write
from rendered.router_rules import FILES, rules
from topology.model import Topology


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one stack's file; returns the exit status."""
    description = (__doc__ or "").partition("\n")[0]
    missing = ("no host is of kind router", "declare one under hosts")
    return write("router", description, arguments, _texts, missing)


def _texts(topology: Topology) -> Mapping[str, str]:
    return {FILES[topology.router.system]: rules(topology)} if topology.router else {}
