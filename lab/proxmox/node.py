"""The node itself as a namespace: its address in management, its ports behind its own firewall.

A labelled stand-in answers on the node's ports; the API itself is on loopback, where the provider connects.
Docker's policy drops in FORWARD, so rules there let packets to the node through. Note: this machine has no
address on the link, because it would otherwise be in management itself. Each end has a static neighbour entry
for the other instead.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab import images, paths
from lab.daemon import write
from lab.engine import kernel
from lab.errors import LabError
from lab.process import run
from lab.proxmox import plane, switch
from lab.proxmox.servers import Server

PORTS = (8006, 22)
_LINK = "pve-node"
_NEAR, _FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"
_THROUGH = (("-o", _LINK), ("-i", _LINK, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"))
"""Both directions, in the form of iptables-save."""
_FILTER = "ip filter"
_log = logging.getLogger("node")


def follow(name: str, address: IPv4Address, rules: str) -> None:
    """Make the node exist with these rules in force; a fault is logged, and the next look retries."""
    held = _held()
    try:
        if held.get("node") != [name, str(address)] or not _alive(held):
            _remove(held)
            _build(name, address, rules)
            _log.info("%s: on, %s", name, address)
        elif held["rules"] != rules:
            plane.put_in_force(name, rules)
            write(_record(), json.dumps(held | {"rules": rules}))
            _log.info("%s: other rules", name)
    except LabError as fault:
        _log.error("%s: %s", name, fault)


def taken(name: str) -> Iterator[str]:
    """Yield a fault for a namespace and an interface of the node that the lab did not make."""
    if _record().exists():
        return
    if Path("/run/netns", name).exists():
        yield f"namespace {name}: there already, and not made by the lab; remove it"
    if switch.has_link(_LINK):
        yield f"interface {_LINK}: there already, and not made by the lab; remove it"


def let_through() -> None:
    """Let packets to the node through this machine, so that only its own firewall drops them; idempotent.

    Call after the engine has started, so that the engine's snapshot of the machine excludes these rules.
    """
    if _FILTER not in kernel.tables():
        write(_table_record(), "")
    for words in _missing():
        run(["iptables", "--wait", "-I", "FORWARD", *words, "-j", "ACCEPT"], "way to the node")


def clear() -> None:
    """Remove everything that was made for the node, however far the build went."""
    missing = _missing() if shutil.which("iptables-save") else _THROUGH
    for words in _THROUGH:
        if words not in missing:
            run(["iptables", "--wait", "-D", "FORWARD", *words, "-j", "ACCEPT"], "way to the node")
    if _table_record().exists():
        # iptables made it for the rules above, where an engine with the nftables backend has none.
        if _FILTER in kernel.tables() and kernel.is_bare(_FILTER):
            run(["nft", "delete", "table", *_FILTER.split()], "way to the node")
        _table_record().unlink()
    _remove(_held())


def _missing() -> Sequence[tuple[str, ...]]:
    """Return the FORWARD rules that are missing; reading them makes no table where there is none."""
    there = run(["iptables-save", "-t", "filter"], "way to the node").splitlines()
    return [words for words in _THROUGH if f"-A FORWARD {' '.join(words)} -j ACCEPT" not in there]


def _remove(held: Mapping[str, Any]) -> None:
    if not held:
        return
    name = held["node"][0]
    plane.end_all(name)
    if Path("/run/netns", name).exists():
        run(["ip", "netns", "del", name], f"namespace {name}")
    # The kernel removes a namespace's links with a delay.
    switch.delete_link(_LINK)
    (paths.RUN / "node.log").unlink(missing_ok=True)
    _record().unlink()


def _build(name: str, address: IPv4Address, rules: str) -> None:
    for fault in taken(name):
        raise LabError(fault)
    write(_record(), json.dumps({"node": [name, str(address)]}))
    run(["ip", "netns", "add", name], f"namespace {name}")
    plane.put_in_force(name, rules)
    inside = ["ip", "-n", name]
    far = ["peer", "name", "eth0", "address", _FAR, "netns", name]
    run(["ip", "link", "add", _LINK, "address", _NEAR, "type", "veth", *far], f"link of {name}")
    run(["ip", "link", "set", _LINK, "addrgenmode", "none", "up"], f"link of {name}")
    run([*inside, "link", "set", "lo", "up"], f"loopback of {name}")
    run([*inside, "link", "set", "eth0", "addrgenmode", "none", "up"], f"link of {name}")
    run([*inside, "address", "add", f"{address}/32", "dev", "eth0"], f"address of {name}")
    run(["ip", "route", "replace", f"{address}/32", "dev", _LINK], f"route to {name}")
    run(["ip", "neigh", "replace", str(address), "lladdr", _FAR, "dev", _LINK], f"neighbour {name}")
    gateway = "169.254.0.1"
    run([*inside, "neigh", "replace", gateway, "lladdr", _NEAR, "dev", "eth0"], f"gateway of {name}")
    run([*inside, "route", "add", "default", "via", gateway, "dev", "eth0", "onlink"], f"gateway of {name}")
    processes = [plane.start(name, _stand_in(name, port), paths.RUN / "node.log") for port in PORTS]
    write(_record(), json.dumps({"node": [name, str(address)], "rules": rules, "processes": processes}))


def _stand_in(name: str, port: int) -> Server:
    label = ("page", "--name", f"{name}:{port}", "--listen", f"0.0.0.0:{port}")
    return Server(program=images.standin_binary(), arguments=label)


def _alive(held: dict[str, Any]) -> bool:
    return len(held.get("processes", [])) == len(PORTS) and plane.serving(held)


def _held() -> dict[str, Any]:
    try:
        return dict(json.loads(_record().read_text()))
    except FileNotFoundError:
        return {}


def _record() -> Path:
    return paths.RUN / "node.json"


def _table_record() -> Path:
    """Return the file that says that `let_through` made iptables' table."""
    return paths.RUN / "filter-table-made-by-the-lab"
