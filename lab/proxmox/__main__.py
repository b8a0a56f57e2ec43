"""Runs the Proxmox side by hand: `python -m lab.proxmox up|down|status`; `up` starts `serve`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from ipaddress import IPv4Interface, IPv4Network

from lab import paths, proxmox, tls
from lab.errors import LabError
from lab.proxmox.serve import serve


def main() -> None:
    """Run the verb; a LabError is printed as one message, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m lab.proxmox", description=__doc__)
    parser.add_argument("verb", choices=("up", "down", "status", "serve"))
    parser.add_argument("--bridge", default="vmbr1")
    parser.add_argument("--trunk", default="trunk")
    parser.add_argument("--vlans", type=int, nargs="*", default=(10, 20, 30))
    parser.add_argument("--prefixes", type=IPv4Network, nargs="*", default=(), help="made unreachable first")
    parser.add_argument("--address", type=IPv4Interface, help="the node's own, like 10.10.1.5/24")
    parser.add_argument("--ready", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        match given.verb:
            case "up":
                names = {"bridge": given.bridge, "trunk": given.trunk, "vlans": given.vlans}
                proxmox.up(print, prefixes=given.prefixes, address=given.address, **names)
            case "down":
                proxmox.down(print, bridge=given.bridge, trunk=given.trunk, vlans=given.vlans)
            case "status":
                print(*proxmox.status(), sep="\n")
            case "serve":
                logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
                logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
                asyncio.run(
                    serve(
                        token=proxmox.token(),
                        state=paths.STATE / "proxmox.json",
                        certificate=tls.leaf("proxmox", proxmox.NAMES),
                        bridge=given.bridge,
                        port=proxmox.PORT,
                        ready=given.ready,
                        address=given.address,
                    )
                )
    except LabError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
