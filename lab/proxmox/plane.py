"""The data plane: for each started machine a namespace on its VLANs, with the service's ports answering.

Owns the namespaces `vm-<id>`, their switch ports and the servers inside, recorded below `RUN/guests`. It
deliberately takes no notice of how a machine came to be: `follow` is handed what should be and makes it so.
What a reader would get wrong: a guest's record is written empty before anything is made and filled after
everything is, so what a kill left half-made is known, removed and built again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab import paths
from lab.daemon import Process, write
from lab.errors import LabError
from lab.process import run
from lab.proxmox import servers, switch
from lab.proxmox.guests import Guest, Nic, changes

_NOBODY = 65534
_log = logging.getLogger("plane")


def follow(bridge: str, wanted: Iterable[Guest]) -> None:
    """Make the namespaces be what is wanted; one guest's fault is logged and leaves the others be."""
    present = {vmid: _built(vmid) for vmid in _recorded()}
    stale, build = changes(wanted, present)
    for vmid in stale:
        _remove(vmid)
        _log.info("vm-%d: off", vmid)
    for guest in build:
        try:
            _build(bridge, guest)
        except LabError as fault:
            _log.error("%s: %s", guest.namespace, fault)
        else:
            _log.info("%s: on, %s", guest.namespace, guest)


def clear() -> None:
    """Remove every guest that has a record."""
    for vmid in _recorded():
        _remove(vmid)


def status() -> dict[int, str | None]:
    """Return what stands for each machine, None for one that is not built or lost a server."""
    return {vmid: _built(vmid) for vmid in _recorded()}


def _build(bridge: str, guest: Guest) -> None:
    ns, record = guest.namespace, _record(guest.vmid)
    if Path("/run/netns", ns).exists():
        raise LabError(f"namespace {ns}: not made by this lab; remove it or give the machine another id")
    write(record, "{}")
    run(["ip", "netns", "add", ns], f"namespace {ns}")
    run(["ip", "-n", ns, "link", "set", "lo", "up"], f"loopback of {ns}")
    for nic in guest.nics:
        _plug(bridge, guest, nic)
    # Its servers are nobody's and still bind the low ports that the services have.
    run(
        ["ip", "netns", "exec", ns, "sysctl", "-q", "net.ipv4.ip_unprivileged_port_start=0"], f"ports of {ns}"
    )
    folder = record.with_suffix("")
    folder.mkdir(exist_ok=True)
    os.chown(folder, _NOBODY, _NOBODY)
    processes = [_start(ns, server, folder / "log") for server in servers.of(guest, folder)]
    write(record, json.dumps({"guest": str(guest), "processes": processes}))


def _plug(bridge: str, guest: Guest, nic: Nic) -> None:
    ns, tap, card = guest.namespace, guest.tap(nic), f"eth{nic.index}"
    pair = ["type", "veth", "peer", "name", card, "address", nic.mac, "netns", ns]
    run(["ip", "link", "add", tap, *pair], f"card {tap}")
    switch.untouched_checksums(tap)
    switch.untouched_checksums(card, namespace=ns)
    if nic.address:
        run(["ip", "-n", ns, "address", "add", str(nic.address), "dev", card], f"address of {tap}")
    if nic.up:
        switch.plug(bridge, tap, nic.switch_options)
        run(["ip", "-n", ns, "link", "set", card, "up"], f"card {tap}")
        if nic.gateway:
            run(["ip", "-n", ns, "route", "add", "default", "via", str(nic.gateway)], f"gateway of {tap}")


def _start(namespace: str, server: servers.Server, log: Path) -> tuple[int, int]:
    """Start a server as nobody inside the namespace; return its id and start time."""
    descriptor = os.open(server.program, os.O_RDONLY)
    into = ["nsenter", f"--net=/run/netns/{namespace}", f"--setgid={_NOBODY}", f"--setuid={_NOBODY}"]
    # `ps` shows the program's path, not the descriptor.
    named = ["bash", "-c", f'exec -a "$0" /proc/self/fd/{descriptor} "$@"', str(server.program)]
    try:
        with log.open("ab") as out:
            child = subprocess.Popen(
                [*into, "--", *named, *server.arguments],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
    finally:
        os.close(descriptor)
    process = Process.of(child.pid)
    if process is None:
        raise LabError(f"{server.program.name} in {namespace}: ended at once; see {log}")
    return process.pid, process.started


def _remove(vmid: int) -> None:
    """End what runs in the guest's namespace and remove all that was made for it, however far that went."""
    ns = f"vm-{vmid}"
    if Path("/run/netns", ns).exists():
        for pid in run(["ip", "netns", "pids", ns], f"processes of {ns}").split():
            if process := Process.of(int(pid)):
                process.end()
    for tap in Path("/sys/class/net").glob(f"tap{vmid}i*"):
        switch.unplug(tap.name)
    if Path("/run/netns", ns).exists():
        run(["ip", "netns", "del", ns], f"namespace {ns}")
    shutil.rmtree(_record(vmid).with_suffix(""), ignore_errors=True)
    _record(vmid).unlink()


def _built(vmid: int) -> str | None:
    """Return the guest as it was built, None when that never finished or one of its servers is gone."""
    held: dict[str, Any] = json.loads(_record(vmid).read_text())
    processes = [Process(pid=pid, started=started) for pid, started in held.get("processes", [])]
    return held.get("guest") if all(process.alive() for process in processes) else None


def _record(vmid: int) -> Path:
    return paths.RUN / "guests" / f"vm-{vmid}.json"


def _recorded() -> list[int]:
    return sorted(int(path.stem[3:]) for path in (paths.RUN / "guests").glob("vm-*.json"))
