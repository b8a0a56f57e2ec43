"""The lab's Proxmox side on real parts: API, switch, the namespaces of its machines, and clean removal."""

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab import paths, proxmox
from lab.daemon import Process
from lab.errors import LabError
from tests.live.sabotage import api
from tests.live.site import command, eventually, pids

PREFIXES = [IPv4Network(f"10.213.{vlan}.0/24") for vlan in (10, 20, 30)]
VLANS = (10, 20, 30)
NODE = "/nodes/pve1"
NODE_AT = "10.213.1.5"
FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=1).read().decode())"
ASK = "import asyncio, sys; from verify.agent import attempt; print(asyncio.run(attempt(eval(sys.argv[1]))))"
_ids = itertools.count(501)


Traces = tuple[list[str], ...]


def traces() -> Traces:
    """Return what this side of the lab could leave: namespaces, links, routes, processes with their ids."""
    ours = ("lab.proxmox", "ovs-vswitchd", "ovsdb-server", f"{paths.RUN}/guests", "standin page")
    running = command("ps", "-eo", "pid,args").stdout.splitlines()
    return (
        sorted(path.name for path in Path("/run/netns").glob("*")),
        sorted(link["ifname"] for link in json.loads(command("ip", "-json", "link").stdout)),
        command("ip", "route", "show", "table", "all").stdout.splitlines(),
        # Where the first process reaps no orphans, dead processes keep their names.
        sorted(line for line in running if any(word in line for word in ours) and "<defunct>" not in line),
    )


def up() -> None:
    """Bring the Proxmox side up, as `make up` does."""
    proxmox.up(print, prefixes=PREFIXES, vlans=VLANS, address=IPv4Interface(f"{NODE_AT}/24"))


@pytest.fixture(scope="module")
def before() -> Traces:
    """Return the machine's state before the lab."""
    return traces()


@pytest.fixture(scope="module", autouse=True)
def _lab(before: Traces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the Proxmox side with its own state, and a namespace `probe` with an interface on each VLAN."""
    assert before is not None
    if Process.recorded(paths.RUN / "proxmox.pid"):
        pytest.fail("the lab is up and would be taken away; run `make down` first")
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "STATE", state)
        patch.setenv("HOMELAB_STATE", str(state))
        try:
            up()
            command("ip", "netns", "add", "probe")
            for vlan in VLANS:
                kind = ["type", "macvlan", "mode", "bridge"]
                command(
                    "ip",
                    "link",
                    "add",
                    "link",
                    f"trunk.{vlan}",
                    "name",
                    f"leg{vlan}",
                    "netns",
                    "probe",
                    *kind,
                )
                command("ip", "-n", "probe", "address", "add", f"10.213.{vlan}.2/24", "dev", f"leg{vlan}")
                command("ip", "-n", "probe", "link", "set", f"leg{vlan}", "up")
            ask("POST", f"{NODE}/network", iface="vmbr1", type="bridge", bridge_vlan_aware=1)
            eventually("the node", lambda: len(pids("pve1")) == 2)
            yield
        finally:
            command("ip", "netns", "del", "probe")
            proxmox.down(print, vlans=VLANS)


def ask(method: str, path: str, **form: Any) -> Any:
    """Call the API; a refusal fails the test."""
    return api(method, path.removeprefix("/"), **form)


def fetch(url: str) -> str | None:
    """Return the probe namespace's response from a guest; None without one within a second."""
    done = command("ip", "netns", "exec", "probe", sys.executable, "-c", FETCH, url)
    return done.stdout if done.returncode == 0 else None


def pings(address: str, namespace: str = "probe") -> bool:
    """Whether the address answers an echo request from a namespace."""
    return asked(namespace, {"kind": "icmp", "address": address}) == "open"


def asked(namespace: str, ask: dict[str, Any]) -> str:
    """Return the result of the probe's agent in a namespace: open, refused, silent or unreachable."""
    return command("ip", "netns", "exec", namespace, sys.executable, "-c", ASK, repr(ask)).stdout.strip()


def namespaces() -> set[str]:
    """Return the network namespaces of machines."""
    return {path.name for path in Path("/run/netns").glob("vm-*")}


def configure(vmid: int, name: str, vlan: int, **config: Any) -> None:
    """Make a stopped machine on a VLAN with address 10.213.<vlan>.<id - 400> and port 80."""
    ask("POST", f"{NODE}/qemu/9000/clone", newid=vmid, name=name, full=1)
    ask(
        "PUT",
        f"{NODE}/qemu/{vmid}/config",
        net0=f"virtio,bridge=vmbr1,firewall=1,tag={vlan}",
        ipconfig0=f"ip=10.213.{vlan}.{vmid - 400}/24",
        description="ports: 80/tcp",
        **config,
    )


@contextlib.contextmanager
def machine(name: str, vlan: int) -> Iterator[tuple[int, str]]:
    """Yield the id and address of a started machine; deletes it afterwards."""
    vmid = next(_ids)
    configure(vmid, name, vlan)
    ask("POST", f"{NODE}/qemu/{vmid}/status/start")
    try:
        yield vmid, f"10.213.{vlan}.{vmid - 400}"
    finally:
        ask("POST", f"{NODE}/qemu/{vmid}/status/stop")
        ask("DELETE", f"{NODE}/qemu/{vmid}/")
        eventually(f"vm-{vmid} gone", lambda: f"vm-{vmid}" not in namespaces())


def answering(address: str) -> str:
    """Return the page at the address, once the guest answers; fails after five seconds."""
    return str(eventually(f"{address} answers", lambda: fetch(f"http://{address}/")))


def test_up_again_changes_nothing() -> None:
    """A second `up` changes nothing: same processes, same links, same routes."""
    first = traces()
    up()
    assert traces() == first


def test_ranges_are_unreachable_first() -> None:
    """Before any of their networks exists, the test ranges are unreachable on this machine."""
    said = command("ip", "route", "get", "10.213.30.77")
    assert said.returncode != 0
    assert "unreachable" in said.stdout.lower() or "no route" in said.stdout.lower(), said.stdout


def test_legs_have_no_address() -> None:
    """Each VLAN's parent for Docker is up, and neither it nor the switch puts this machine on a VLAN."""
    links = {link["ifname"]: link for link in json.loads(command("ip", "-json", "address").stdout)}
    for vlan in VLANS:
        assert "UP" in links[f"trunk.{vlan}"]["flags"]
        assert links[f"trunk.{vlan}"]["addr_info"] == links[f"trunkp{vlan}"]["addr_info"] == []
    assert "UP" not in links["vmbr1"]["flags"]


def test_site_is_nginx_on_its_vlan_only() -> None:
    """A started site is nginx on its VLAN, unprivileged; a guest of another VLAN can't reach it."""
    with machine("site-1", 10) as (vmid, address), machine("jellyfin", 20) as (other, elsewhere):
        assert "Site-1 (nginx in the lab's VM namespace)" in answering(address)
        assert "stand-in for jellyfin, not jellyfin" in answering(elsewhere)
        assert pings(address)
        users = {Path(f"/proc/{pid}").stat().st_uid for pid in [*pids(f"vm-{vmid}"), *pids(f"vm-{other}")]}
        assert users == {65534}
        # With an address of VLAN 10's range, the other machine is still on VLAN 20.
        command("ip", "-n", f"vm-{other}", "address", "add", "10.213.10.250/24", "dev", "eth0")
        assert not pings(address, f"vm-{other}")
        assert pings("10.213.20.2", f"vm-{other}")


def test_retag_moves_the_machine() -> None:
    """A running machine whose tag is changed answers on its new VLAN and no longer on its old one."""
    with machine("site-1", 10) as (vmid, address):
        answering(address)
        net0 = ask("GET", f"{NODE}/qemu/{vmid}/config")["net0"].replace("tag=10", "tag=30")
        ask("PUT", f"{NODE}/qemu/{vmid}/config", net0=net0)
        eventually("off VLAN 10", lambda: not pings(address))
        command("ip", "-n", "probe", "address", "del", "10.213.10.2/24", "dev", "leg10")
        command("ip", "-n", "probe", "address", "add", "10.213.10.2/24", "dev", "leg30")
        try:
            assert "Site-1" in answering(address)
        finally:
            command("ip", "-n", "probe", "address", "del", "10.213.10.2/24", "dev", "leg30")
            command("ip", "-n", "probe", "address", "add", "10.213.10.2/24", "dev", "leg10")


def test_stopped_machine_is_gone_and_comes_back() -> None:
    """A stopped machine leaves no namespace and no process; started again, it answers."""
    with machine("site-2", 10) as (vmid, address):
        answering(address)
        running = pids(f"vm-{vmid}")
        assert running
        ask("POST", f"{NODE}/qemu/{vmid}/status/stop")
        eventually("namespace gone", lambda: f"vm-{vmid}" not in namespaces())
        assert [pid for pid in running if Process.of(pid)] == []
        ask("POST", f"{NODE}/qemu/{vmid}/status/start")
        answering(address)


def switch_on(vmid: int, **own: Any) -> None:
    """Enable the firewall at datacenter and guest; the card of `configure` has it on."""
    ask("PUT", "/cluster/firewall/options", enable=1)
    ask("PUT", f"{NODE}/qemu/{vmid}/firewall/options", enable=1, **own)


def test_the_firewall_acts_and_is_followed() -> None:
    """Switches, rules, policies and filters act on packets, and every change of them takes effect."""
    with machine("site-1", 10) as (vmid, address):
        answering(address)
        web, out = {"kind": "tcp", "address": address, "port": 80}, {"kind": "icmp", "address": "10.213.10.2"}
        guest = f"vm-{vmid}"
        own = f"{NODE}/qemu/{vmid}/firewall"
        switch_on(vmid, policy_out="DROP")
        eventually("in and out dropped", lambda: asked("probe", web) == "silent" and not pings(address))
        assert asked(guest, out) == "silent"
        ask(
            "POST",
            f"{own}/rules",
            type="in",
            action="ACCEPT",
            source="10.213.10.2",
            proto="tcp",
            dport="80",
            enable=1,
        )
        eventually("port 80 open", lambda: asked("probe", web) == "open")
        assert not pings(address)
        ask("PUT", f"{own}/rules/0", source="10.213.10.3")
        eventually("open to another alone", lambda: asked("probe", web) == "silent")
        for path, on, off in (
            ("/cluster/firewall/options", {"enable": 1}, {"enable": 0}),
            (f"{own}/options", {"enable": 1}, {"enable": 0}),
        ):
            ask("PUT", path, **off)
            eventually(f"open with {path} off", lambda: asked("probe", web) == "open")
            ask("PUT", path, **on)
            eventually(f"shut with {path} on", lambda: asked("probe", web) == "silent")
        net0 = ask("GET", f"{NODE}/qemu/{vmid}/config")["net0"]
        ask("PUT", f"{NODE}/qemu/{vmid}/config", net0=net0.replace("firewall=1", "firewall=0"))
        eventually("open with the card's switch off", lambda: asked("probe", web) == "open")


def test_a_guest_cannot_pass_for_another() -> None:
    """With MAC and IP filter on, a guest's frames from another address are dropped, ARP included."""
    with machine("jellyfin", 20) as (vmid, address):
        answering(address)
        guest, other = f"vm-{vmid}", "10.213.20.250"
        own = f"{NODE}/qemu/{vmid}/firewall"
        ask("POST", f"{own}/ipset", name="ipfilter-net0")
        ask("POST", f"{own}/ipset/ipfilter-net0", cidr=address)
        command("ip", "-n", guest, "address", "add", f"{other}/24", "dev", "eth0")
        assert pings(other)
        switch_on(vmid, policy_in="ACCEPT", ipfilter=1, macfilter=1)

        def forgotten() -> bool:
            """Try as a host that has no ARP entry for the guest: answers to a known neighbour pass."""
            command("ip", "-n", "probe", "neigh", "flush", "all")
            return not pings(other)

        eventually("the other address gone", forgotten)
        assert pings(address)
        command("ip", "-n", guest, "link", "set", "eth0", "address", "02:00:00:00:00:01")
        eventually("the other hardware address gone", lambda: not pings(address))


def test_dead_server_comes_back() -> None:
    """A guest whose server died is rebuilt without a request."""
    with machine("vaultwarden", 30) as (vmid, address):
        answering(address)
        (pid,) = pids(f"vm-{vmid}")
        os.kill(pid, signal.SIGKILL)
        eventually("another server", lambda: pids(f"vm-{vmid}") not in ([], [pid]))
        assert "stand-in for vaultwarden" in answering(address)


def kill(*files: str) -> None:
    """SIGKILL the processes in these pid files, and wait until they are gone."""
    for file in files:
        handle = os.pidfd_open(int((paths.RUN / file).read_text().split()[0]))
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert select.select([handle], [], [], 10)[0]
        os.close(handle)


def test_goes_on_after_a_kill_of_everything() -> None:
    """After API and switch are killed and restarted, a guest's same processes answer on the same VLAN."""
    with machine("site-1", 10) as (vmid, address):
        answering(address)
        running = pids(f"vm-{vmid}")
        kill("proxmox.pid", "ovs/ovs-vswitchd.pid", "ovs/ovsdb-server.pid")
        up()
        answering(address)
        assert pids(f"vm-{vmid}") == running


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_goes_on_after_a_kill_at_any_moment(wait: float) -> None:
    """Killed while it builds a guest, the lab builds it completely after a restart."""
    vmid = next(_ids)
    configure(vmid, "site-1", 10)
    ask("POST", f"{NODE}/qemu/{vmid}/status/start")
    time.sleep(wait)  # the moment of the kill is what varies
    kill("proxmox.pid")
    up()
    try:
        assert "Site-1" in answering(f"10.213.10.{vmid - 400}")
    finally:
        ask("POST", f"{NODE}/qemu/{vmid}/status/stop")
        ask("DELETE", f"{NODE}/qemu/{vmid}/")
        eventually("gone", lambda: f"vm-{vmid}" not in namespaces())


@pytest.fixture
def neighbours() -> Iterator[None]:
    """Make two namespaces beside this machine: `desk` in the node's own network, `stranger` in another."""
    proxmox.let_through()
    try:
        for name, link in (("desk", "10.213.1.8/30"), ("stranger", "203.0.113.0/30")):
            _, near, far, _ = map(str, IPv4Network(link))
            port = f"to-{name}"
            command("ip", "netns", "add", name)
            command("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            command("ip", "address", "add", f"{near}/30", "dev", port)
            command("ip", "link", "set", port, "up")
            command("ip", "-n", name, "address", "add", f"{far}/30", "dev", "eth0")
            command("ip", "-n", name, "link", "set", "eth0", "up")
            command("ip", "-n", name, "route", "add", NODE_AT, "via", near)
        yield
    finally:
        for name in ("desk", "stranger"):
            command("ip", "netns", "del", name)
            command("ip", "link", "del", f"to-{name}")


@pytest.mark.usefixtures("neighbours")
def test_the_nodes_own_firewall_acts_and_is_followed() -> None:
    """The node's ports answer behind the datacenter's switch, rules and policy, and behind its own switch."""

    def who(port: int = 8006) -> tuple[str, str]:
        question = {"kind": "tcp", "address": NODE_AT, "port": port}
        return asked("desk", question), asked("stranger", question)

    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    was = forwarding.read_text()
    forwarding.write_text("1")
    try:
        ask("PUT", "/cluster/firewall/options", enable=0)
        eventually("open to both", lambda: who() == ("open", "open"))
        ask("PUT", "/cluster/firewall/options", enable=1)
        eventually("its own network alone", lambda: who() == ("open", "silent"))
        ask("POST", "/cluster/firewall/rules", type="in", action="ACCEPT", proto="tcp", dport="22", enable=1)
        eventually("a rule for everybody", lambda: who(22) == ("open", "open"))
        assert who() == ("open", "silent")
        ask("POST", f"{NODE}/firewall/rules", type="in", action="DROP", proto="tcp", dport="22", enable=1)
        eventually("the node's rule before it", lambda: who(22) == ("silent", "silent"))
        ask("PUT", f"{NODE}/firewall/options", enable=0)
        eventually("the node's own switch", lambda: who() == who(22) == ("open", "open"))
    finally:
        forwarding.write_text(was)


def test_a_node_whose_server_died_is_made_again() -> None:
    """A dead server of the node's ports is replaced, as a guest's is."""
    first = pids("pve1")
    os.kill(int(first[0]), signal.SIGKILL)
    eventually("both again", lambda: len(now := pids("pve1")) == 2 and not {*now} & {*first})


def test_down_leaves_nothing(before: Traces) -> None:
    """With a machine running, and even with API and switch killed, `down` leaves the machine as it was.

    Another program on the API's port is an error that names it, and leaves nothing running.
    """
    configure(599, "site-1", 10)
    ask("POST", f"{NODE}/qemu/599/status/start")
    answering("10.213.10.199")
    kill("proxmox.pid", "ovs/ovs-vswitchd.pid", "ovs/ovsdb-server.pid")
    command("ip", "netns", "del", "probe")
    proxmox.down(print, vlans=VLANS)
    assert traces() == before
    assert (
        not list(paths.RUN.glob("proxmox*"))
        + list(paths.RUN.glob("guests/*"))
        + list(paths.RUN.glob("ovs/*"))
    )
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", proxmox.PORT))
        other.listen()
        with pytest.raises(LabError, match=r"127.0.0.1:8006: in use by another program"):
            up()
    proxmox.down(print, vlans=VLANS)
    assert traces() == before
