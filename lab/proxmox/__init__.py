"""The Proxmox side of the lab: `up`, `down` and `status` of its API, its switch and its machines.

Note: `down` keeps `STATE/proxmox.json`, because Pulumi's own state refers to what the API holds. The next
`up` continues from that file and starts its machines again within a second.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import requests

from lab import images, paths, routes, tls
from lab.daemon import Process, write
from lab.errors import LabError
from lab.process import tail
from lab.proxmox import firewall_log, node, packages, plane, switch
from lab.proxmox.api import NODE
from lab.proxmox.privileges import TOKEN

PORT = 8006
URL = f"https://127.0.0.1:{PORT}"
NAMES = ("localhost", "127.0.0.1")
_PORT_IN_USE = f"127.0.0.1:{PORT}: in use by another program, and the lab's Proxmox API listens there; end it"
_START_SECONDS = 30
_ANSWER_SECONDS = 10
_GUEST_SECONDS = 60

Report = Callable[[str], None]


def up(
    report: Report,
    *,
    prefixes: Sequence[IPv4Network],
    bridge: str = "vmbr1",
    trunk: str = "trunk",
    vlans: Sequence[int] = (10, 20, 30),
    address: IPv4Interface | None = None,
) -> None:
    """Bring up the routes, the switch with its interfaces `<trunk>.<vlan>`, and the API; idempotent.

    `prefixes` are made unreachable before anything else. With an `address` the node gets its own namespace.
    Raises LabError with the step and, where there is one, the end of the log.
    """
    if os.geteuid():
        raise LabError("the Proxmox lab: namespaces and routes need root; run it as root")
    packages.install(report)
    report("routes: test ranges unreachable")
    routes.add(prefixes)
    report(f"switch: {bridge} with {', '.join(f'{trunk}.{vlan}' for vlan in vlans)}")
    switch.start(bridge)
    switch.add_legs(bridge, trunk, vlans)
    # Had here, where a fault reaches the user, and not when the daemon starts a guest.
    images.standin_binary()
    report(f"API: {URL}")
    _start(bridge, address)
    _answers()


def wait_for(vmids: Collection[int], report: Report) -> None:
    """Wait until the machines are built, for a minute at most: the API starts them in the background.

    What is missing after that is told with the API's last words, such as a namespace that has a guest's name.
    """

    def missing() -> list[str]:
        built = plane.status()
        return [f"vm-{vmid}" for vmid in sorted(vmids) if not built.get(vmid)]

    limit, told = time.monotonic() + _GUEST_SECONDS, False
    while (names := missing()) and time.monotonic() < limit:
        if not told:
            report(f"guests: waiting for {', '.join(names)}")
        told = True
        time.sleep(0.2)
    if names:
        report(f"guests: {', '.join(names)} not built; {_log_file()} ends:\n{_last_words()}")


def taken(
    vmids: Collection[int], *, bridge: str, trunk: str, vlans: Sequence[int], address: IPv4Interface | None
) -> list[str]:
    """Return a fault for each name and port that `up` needs and that is not the lab's; changes nothing."""
    return [
        *switch.taken(bridge, trunk, vlans),
        *plane.taken(vmids),
        *(node.taken(NODE) if address else ()),
        *([] if Process.recorded(_pid_file()) or _port_is_free() else [_PORT_IN_USE]),
    ]


def down(
    report: Report, *, bridge: str = "vmbr1", trunk: str = "trunk", vlans: Sequence[int] = (10, 20, 30)
) -> None:
    """Remove everything that `up` made; does nothing where there is nothing."""
    if daemon := Process.recorded(_pid_file()):
        report("API: stop")
        daemon.end(_ANSWER_SECONDS)
    _pid_file().unlink(missing_ok=True)
    report("machines, switch, routes: remove")
    plane.clear()
    node.clear()
    switch.remove_legs(trunk, vlans)
    switch.stop(bridge)
    routes.remove()
    for path in (_log_file(), firewall_log.path(), paths.RUN / "guests"):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def let_through() -> None:
    """Let packets to the node through this machine; call after the engine has started; idempotent."""
    node.let_through()


def status() -> list[str]:
    """Return one line each for the API, the switch and every machine."""
    lines = [
        f"API {URL}: {'running' if Process.recorded(_pid_file()) else 'not running'}",
        f"switch: {'running' if switch.running() else 'not running'}",
    ]
    return lines + [f"vm-{vmid}: {built or 'not built'}" for vmid, built in plane.status().items()]


def environment() -> dict[str, str]:
    """Return the variables with which the provider finds and trusts the API; one of them is a secret."""
    return {
        "PROXMOX_VE_ENDPOINT": f"{URL}/",
        "PROXMOX_VE_API_TOKEN": token(),
        "SSL_CERT_FILE": str(tls.bundle()),
    }


def token() -> str:
    """Return the API token `homelab@pve!pulumi=<uuid>`, made on first use."""
    path = paths.STATE / "proxmox-token"
    if not path.exists() or not path.read_text().startswith(f"{TOKEN}="):
        write(path, f"{TOKEN}={uuid.UUID(bytes=secrets.token_bytes(16), version=4)}\n", 0o600)
    return path.read_text().strip()


def _start(bridge: str, address: IPv4Interface | None) -> None:
    if Process.recorded(_pid_file()):
        return
    if not _port_is_free():
        raise LabError(_PORT_IN_USE)
    tls.leaf("proxmox", NAMES)
    token()
    _log_file().parent.mkdir(parents=True, exist_ok=True)
    ready, told = os.pipe()
    with _log_file().open("ab") as log:
        # A daemon: it must outlive this command and its terminal.
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "lab.proxmox", "serve", "--bridge", bridge, "--ready", str(told)),
                *(("--address", str(address)) if address else ()),
            ],
            cwd=paths.PROJECT, pass_fds=[told], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    os.close(told)
    daemon = Process.of(child.pid)
    if daemon:
        daemon.record(_pid_file())
    # The pipe closes without data when the daemon ends.
    said = os.read(ready, 5) if select.select([ready], [], [], _START_SECONDS)[0] else b""
    os.close(ready)
    if not said:
        if daemon:
            daemon.end()
        raise LabError(f"Proxmox API: not up in {_START_SECONDS} s; {_log_file()} ends:\n{_last_words()}")


def _port_is_free() -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return False
    return True


def _answers() -> None:
    """Send the API a request over TLS with the token, as the provider does."""
    headers = {"Authorization": f"PVEAPIToken={token()}"}
    try:
        answer = requests.get(
            f"{URL}/api2/json/nodes", headers=headers, verify=str(tls.bundle()), timeout=_ANSWER_SECONDS
        )
        answer.raise_for_status()
    except requests.RequestException as fault:
        raise LabError(f"{URL}: {fault}; {_log_file()} ends:\n{_last_words()}") from fault


def _last_words() -> str:
    return tail(_log_file().read_text(errors="replace")) if _log_file().exists() else "  (there is none)"


def _pid_file() -> Path:
    return paths.RUN / "proxmox.pid"


def _log_file() -> Path:
    return paths.RUN / "proxmox.log"
