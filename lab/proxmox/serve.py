"""The lab's Proxmox daemon, started by `lab.proxmox.up`: the API, and a thread that updates the data plane.

The bridge and the certificate exist before it starts. Note: the thread also checks the plane every few
seconds without a change, which rebuilds a guest whose server died.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from ipaddress import IPv4Interface
from pathlib import Path

from lab.proxmox import node, plane
from lab.proxmox.api import NODE, Proxmox
from lab.proxmox.firewall_log import FirewallLog

_LOOK_SECONDS = 5
_log = logging.getLogger("serve")


async def serve(
    *,
    token: str,
    state: Path,
    certificate: tuple[Path, Path],
    bridge: str,
    port: int,
    ready: int,
    address: IPv4Interface | None,
) -> None:
    """Serve until SIGTERM; writes to the descriptor `ready` once the API listens."""
    loop, changed, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def end() -> None:
        ended.set()
        changed.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    log = FirewallLog()
    pve = Proxmox(token=token, state=state, changed=changed.set, port=port)
    await pve.start(*map(str, certificate))
    os.write(ready, b"ready")
    os.close(ready)
    while not ended.is_set():
        changed.clear()
        try:
            guests = pve.guests(bridge)
            await asyncio.to_thread(plane.follow, bridge, guests)
            if address:
                await asyncio.to_thread(node.follow, NODE, address.ip, pve.node_rules(address.network))
            built = plane.status()
            await asyncio.to_thread(log.follow, [each.filter for each in guests if built.get(each.vmid)])
        except Exception:  # noqa: BLE001 - see below
            # The API must survive a fault of the plane: Pulumi's state refers to it.
            _log.exception("data plane")
        try:
            await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
        except TimeoutError:
            continue
    await pve.stop()
