"""The data plane: a namespace for each started machine on its VLANs, with its service's ports answering.

`follow` is given the wanted machines and builds them: the namespaces `vm-<id>`, the filter namespaces
`fw-<id>` before them, their switch ports and the servers inside, recorded below `RUN/guests`.

Note: a guest's record is written empty before the build and filled after it. A half-built guest is thus known
after a kill, and is removed and rebuilt. As on Proxmox, the rules are outside the guest: each card's frames
cross a bridge of the filter namespace, whose IP rules apply (`bridge-nf-call-iptables`, as in pve-firewall).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import paths
from lab.daemon import Process, write
from lab.errors import LabError
from lab.process import run
from lab.proxmox import servers, switch
from lab.proxmox.guests import LabGuest, Nic, changes

_NOBODY = 65534
_log = logging.getLogger("plane")


def follow(bridge: str, wanted: Mapping[LabGuest, str]) -> None:
    """Build the wanted guests with their rules; one guest's fault is logged and leaves the others alone."""
    present = {vmid: _built(vmid) for vmid in _recorded()}
    stale, build = changes(wanted, present)
    for vmid in stale:
        _remove(vmid)
        _log.info("vm-%d: off", vmid)
    for guest, rules in wanted.items():
        try:
            if guest in build:
                _build(bridge, guest, rules)
                _log.info("%s: on, %s", guest.namespace, guest)
            elif rules != _held(guest.vmid).get("rules"):
                put_in_force(guest.filter, rules)
                write(_record(guest.vmid), json.dumps(_held(guest.vmid) | {"rules": rules}))
                _log.info("%s: other rules", guest.namespace)
        except LabError as fault:
            _log.error("%s: %s", guest.namespace, fault)


def taken(vmids: Iterable[int]) -> Iterator[str]:
    """Yield a fault for each namespace and interface that has a guest's name and is not the lab's."""
    for vmid in sorted(set(vmids) - set(_recorded())):
        remedy = "not made by the lab; remove it, or give the guest another id"
        for name in (f"vm-{vmid}", f"fw-{vmid}"):
            if Path("/run/netns", name).exists():
                yield f"namespace {name}: there already, and {remedy}"
        for link in sorted(Path("/sys/class/net").glob(f"tap{vmid}i*")):
            yield f"interface {link.name}: there already, and {remedy}"


def clear() -> None:
    """Remove every guest that has a record."""
    for vmid in _recorded():
        _remove(vmid)


def status() -> dict[int, str | None]:
    """Return the guest built for each machine; None for one that is not built or lost a server."""
    return {vmid: _built(vmid) for vmid in _recorded()}


def _build(bridge: str, guest: LabGuest, rules: str) -> None:
    ns, record = guest.namespace, _record(guest.vmid)
    for fault in taken([guest.vmid]):
        raise LabError(fault)
    write(record, "{}")
    for name in (ns, guest.filter):
        run(["ip", "netns", "add", name], f"namespace {name}")
    run(["ip", "-n", ns, "link", "set", "lo", "up"], f"loopback of {ns}")
    calls = [f"net.bridge.bridge-nf-call-{tables}=1" for tables in ("iptables", "ip6tables")]
    run(["ip", "netns", "exec", guest.filter, "sysctl", "-q", *calls], f"filters of {guest.filter}")
    # Before the first card is plugged in; otherwise frames would pass unfiltered.
    put_in_force(guest.filter, rules)
    for nic in guest.nics:
        _plug(bridge, guest, nic)
    folder = record.with_suffix("")
    folder.mkdir(exist_ok=True)
    started = servers.of(guest, folder)
    for path in (folder, *folder.iterdir()):
        os.chown(path, _NOBODY, _NOBODY)
    processes = [start(ns, server, folder / "log") for server in started]
    write(record, json.dumps({"guest": str(guest), "rules": rules, "processes": processes}))


def put_in_force(namespace: str, rules: str) -> None:
    """Apply the rules in one transaction."""
    run(["ip", "netns", "exec", namespace, "nft", "--file", "-"], f"rules of {namespace}", stdin=rules)


def _plug(bridge: str, guest: LabGuest, nic: Nic) -> None:
    """Join switch, filter and guest: tap<id>i<n> - net<n>, bridged to card<n> - eth<n>."""
    ns, tap, card = guest.namespace, guest.tap(nic), f"eth{nic.index}"
    inside = ["ip", "-n", guest.filter, "link"]
    between, net, inner = f"fwbr{nic.index}", f"net{nic.index}", f"card{nic.index}"
    run([*inside, "add", between, "type", "bridge", "mcast_snooping", "0"], f"bridge of {tap}")
    run(["ip", "link", "add", tap, "type", "veth", "peer", "name", net, "netns", guest.filter], f"card {tap}")
    pair = ["type", "veth", "peer", "name", card, "address", nic.mac, "netns", ns]
    run([*inside, "add", inner, *pair], f"card {tap}")
    for port in (net, inner):
        run([*inside, "set", port, "master", between], f"card {tap}")
    for link in (between, net, inner):
        run([*inside, "set", link, "addrgenmode", "none", "up"], f"card {tap}")
    switch.untouched_checksums(tap)
    switch.untouched_checksums(card, namespace=ns)
    if nic.address:
        run(["ip", "-n", ns, "address", "add", str(nic.address), "dev", card], f"address of {tap}")
    if nic.up:
        switch.plug(bridge, tap, nic.switch_options)
        run(["ip", "-n", ns, "link", "set", card, "up"], f"card {tap}")
        if nic.gateway:
            run(["ip", "-n", ns, "route", "add", "default", "via", str(nic.gateway)], f"gateway of {tap}")


def start(namespace: str, server: servers.Server, log: Path) -> tuple[int, int]:
    """Start a server as user nobody in the namespace, low ports allowed; return its id and start time."""
    low = "net.ipv4.ip_unprivileged_port_start=0"
    run(["ip", "netns", "exec", namespace, "sysctl", "-q", low], f"ports of {namespace}")
    descriptor = os.open(server.program, os.O_RDONLY)
    into = ["nsenter", f"--net=/run/netns/{namespace}", f"--setgid={_NOBODY}", f"--setuid={_NOBODY}"]
    # `ps` shows the program's path instead of the descriptor.
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


def end_all(namespace: str) -> None:
    """End every process in the namespace if it exists, recorded or not: a kill may precede the record."""
    if Path("/run/netns", namespace).exists():
        for pid in run(["ip", "netns", "pids", namespace], f"processes of {namespace}").split():
            if process := Process.of(int(pid)):
                process.end()


def serving(held: Mapping[str, Any]) -> bool:
    """Whether every server of a record still runs."""
    return all(Process(pid=pid, started=started).alive() for pid, started in held.get("processes", []))


def _remove(vmid: int) -> None:
    """End the guest's processes and remove everything that was made for it, however far the build went."""
    ns = f"vm-{vmid}"
    end_all(ns)
    for tap in Path("/sys/class/net").glob(f"tap{vmid}i*"):
        switch.unplug(tap.name)
    for name in (ns, f"fw-{vmid}"):
        if Path("/run/netns", name).exists():
            run(["ip", "netns", "del", name], f"namespace {name}")
    shutil.rmtree(_record(vmid).with_suffix(""), ignore_errors=True)
    _record(vmid).unlink()


def _built(vmid: int) -> str | None:
    """Return the guest as built; None when the build never finished or one of its servers is gone."""
    held = _held(vmid)
    return held.get("guest") if serving(held) else None


def _held(vmid: int) -> dict[str, Any]:
    return dict(json.loads(_record(vmid).read_text()))


def _record(vmid: int) -> Path:
    return paths.RUN / "guests" / f"vm-{vmid}.json"


def _recorded() -> list[int]:
    return sorted(int(path.stem[3:]) for path in (paths.RUN / "guests").glob("vm-*.json"))
