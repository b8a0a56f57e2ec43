"""The Open vSwitch bridge that stands for the node's VLAN-aware bridge, and the interfaces on its VLANs.

It runs the two Open vSwitch daemons (userspace datapath, everything below `RUN/ovs`) and makes the bridge's
ports and the veth pairs named `<trunk>.<vlan>`, the parents of Traefik's networks. Note: the lab's kernels
have no 802.1Q, so tags exist only inside the switch. `trunk.10` is an access port of VLAN 10, named like a
tagged sub-interface of Docker-SRV's trunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab import paths
from lab.daemon import Process
from lab.errors import LabError
from lab.process import run

_MARK = "made by the lab of homelab-network"
_OTHER_NAME = "give the stack file another name, or remove it"
_TAP = "ovs-netdev"
"""An interface that every switch with a userspace datapath makes."""
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# In start order; they are stopped in reverse.
_DAEMONS = ("ovsdb-server", "ovs-vswitchd")


def start(bridge: str) -> None:
    """Start the daemons and make the bridge where missing; idempotent, also after a kill at any moment."""
    folder = _folder()
    if not folder.exists():
        _refuse(taken(bridge))
    folder.mkdir(parents=True, exist_ok=True)
    if not _daemon("ovsdb-server"):
        if not (folder / "conf.db").exists():
            run(["ovsdb-tool", "create", folder / "conf.db", _SCHEMA], "Open vSwitch database")
        _launch("ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock")
        _vsctl("--no-wait", "init")
    if not _daemon("ovs-vswitchd"):
        _launch("ovs-vswitchd", f"unix:{folder}/db.sock")
    # The bridge's own interface stays down and without address: this machine is on no VLAN.
    _vsctl("--may-exist", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")


def taken(bridge: str, trunk: str = "", vlans: Sequence[int] = ()) -> Iterator[str]:
    """Yield a fault for each interface of a switch that the lab did not make: `stop` would delete it."""
    if not _folder().exists():
        yield from _there(bridge, _OTHER_NAME)
        yield from _there(_TAP, "end the other Open vSwitch")
    for name in (name for vlan in vlans for name in _leg(trunk, vlan)):
        if not is_ours(name):
            yield from _there(name, _OTHER_NAME)


def _there(name: str, remedy: str) -> Iterator[str]:
    if has_link(name):
        yield f"interface {name}: there already, and not made by the lab; {remedy}"


def _refuse(faults: Iterable[str]) -> None:
    for fault in faults:
        raise LabError(fault)


def stop(bridge: str) -> None:
    """Remove the bridge and end the daemons; does nothing where there is none."""
    if _daemon("ovsdb-server") and _daemon("ovs-vswitchd"):
        _vsctl("--if-exists", "del-br", bridge)
    for name in reversed(_DAEMONS):
        if daemon := _daemon(name):
            daemon.end()
    if _folder().is_dir():
        # Taps that the switch made remain when it is killed.
        for tap in (bridge, _TAP):
            delete_link(tap)
        for path in _folder().iterdir():
            path.unlink()
        _folder().rmdir()


def running() -> bool:
    """Whether both daemons run."""
    return all(_daemon(name) for name in _DAEMONS)


def plug(bridge: str, port: str, options: Sequence[str]) -> None:
    """Make the interface a port of the bridge with exactly these columns (`tag=10`, `trunks=10,20`)."""
    columns = ["--", "clear", "port", port, "tag", "trunks", "vlan_mode"]
    values = ["--", "set", "port", port, *options] if options else []
    _vsctl("--may-exist", "add-port", bridge, port, *columns, *values)
    # Without any address, not even a link-local one, this machine can't be reached on the VLAN.
    run(["ip", "link", "set", "dev", port, "addrgenmode", "none", "up"], f"port {port}")


def unplug(port: str) -> None:
    """Remove the port from its bridge and delete its interface, whichever of them exists."""
    if running():
        _vsctl("--if-exists", "del-port", port)
    delete_link(port)


def ports(bridge: str) -> dict[str, dict[str, object]]:
    """Return the bridge's ports with their tag and trunks, from the switch's database."""
    names = _vsctl("list-ports", bridge).split()
    table = json.loads(_vsctl("--format=json", "--columns=name,tag,trunks", "list", "port"))
    rows = [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]
    return {row["name"]: row for row in rows if row["name"] in names}


def add_legs(bridge: str, trunk: str, vlans: Sequence[int]) -> None:
    """Make `<trunk>.<vlan>` for each VLAN: up, no address, its peer an access port of that VLAN."""
    _refuse(taken(bridge, trunk, vlans))
    for vlan in vlans:
        leg, port = _leg(trunk, vlan)
        if not has_link(leg) or not has_link(port):
            unplug(port)
            delete_link(leg)
            run(["ip", "link", "add", leg, "type", "veth", "peer", "name", port], f"leg {leg}")
            for name in (leg, port):
                run(["ip", "link", "set", "dev", name, "alias", _MARK], f"leg {leg}")
        untouched_checksums(leg)
        untouched_checksums(port)
        plug(bridge, port, [f"tag={vlan}"])
        run(["ip", "link", "set", "dev", leg, "addrgenmode", "none", "up"], f"leg {leg}")


def remove_legs(trunk: str, vlans: Sequence[int]) -> None:
    """Remove the interfaces of these VLANs that exist and bear the lab's mark."""
    for vlan in vlans:
        if is_ours(port := _leg(trunk, vlan)[1]):
            unplug(port)


def untouched_checksums(link: str, *, namespace: str | None = None) -> None:
    """Have the kernel complete checksums: the userspace switch forwards partial ones unchanged."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    run([*inside, "ethtool", "-K", link, "tx", "off"], f"checksums of {link}")


def is_ours(name: str) -> bool:
    """Whether an interface exists and bears the lab's mark, its alias."""
    file = Path("/sys/class/net", name, "ifalias")
    return file.exists() and file.read_text().strip() == _MARK


def has_link(name: str) -> bool:
    """Whether the machine has this interface."""
    return Path("/sys/class/net", name).exists()


def delete_link(name: str) -> None:
    """Delete the interface and so its peer; does nothing where there is none."""
    try:
        if has_link(name):
            run(["ip", "link", "del", name], f"interface {name}")
    except LabError:
        # The kernel removes a deleted namespace's links with a delay, so the link may be gone by now.
        if has_link(name):
            raise


def _leg(trunk: str, vlan: int) -> tuple[str, str]:
    return f"{trunk}.{vlan}", f"{trunk}p{vlan}"


def _folder() -> Path:
    return paths.RUN / "ovs"


def _daemon(name: str) -> Process | None:
    try:
        process = Process.of(int((_folder() / f"{name}.pid").read_text()))
    except (FileNotFoundError, ValueError):
        return None
    # Open vSwitch's pid files have no start time; the program's name detects a reused id.
    return process if process and Path(f"/proc/{process.pid}/comm").read_text().strip() == name else None


def _launch(name: str, *arguments: str) -> None:
    folder = _folder()
    log = folder / f"{name}.log"
    common = [f"--pidfile={folder}/{name}.pid", f"--log-file={log}", f"--unixctl={folder}/{name}.ctl"]
    argv = [name, *arguments, *common, "--detach", "--no-chdir", "-vconsole:off"]
    # The control sockets belong to the lab, not in the system's run folder.
    run(argv, f"start of {name} (log: {log})", env={"OVS_RUNDIR": str(folder)})


def _vsctl(*arguments: str) -> str:
    argv = ["ovs-vsctl", f"--db=unix:{_folder()}/db.sock", "--timeout=10", *arguments]
    try:
        return run(argv, f"ovs-vsctl {' '.join(arguments)}")
    except LabError as fault:
        raise LabError(f"{fault}\n(logs: {_folder()}/*.log)") from fault
