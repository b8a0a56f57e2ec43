"""The rules of legs in force: what a VLAN reaches of the ingress by its leg, and what the ingress reaches."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rendered import leg_rules
from rendered.container import container
from tests.live.site import eventually
from tests.parts.test_egress import inside, running
from tests.parts.test_within import ASK, booted
from tests.site import changed, loaded
from tests.unit.test_leg_rules import FLAT
from topology.config import load
from topology.model import Flow, Topology
from topology.project import PROJECT

EDGE, FRONTEND, LEG = "172.30.0.2", "172.30.1.5", "10.10.10.2"
GUEST, CALLER, NEWCOMER = "10.10.10.11", "10.10.10.12", "10.10.10.250"
ASKED, HEARD, OTHER = 443, 8443, 444
FLOWS = (f"site-2 -> traefik:{HEARD}/tcp", f"site-2 -> traefik:{HEARD}/udp", "traefik -> site-1:53/udp")
SITE = loaded()
SITE = SITE.model_copy(update={"flows": (*SITE.flows, *map(Flow.parse, FLOWS))})
TRUNK, PARENT = "trunk", "trunk.10"
_LISTEN = f"""
import socket, threading
def answer(udp):
    while True:
        data, sender = udp.recvfrom(65535)
        udp.sendto(data, sender)
for port in {(53, ASKED, HEARD, OTHER)}:
    socket.create_server(("", port), backlog=512).detach()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    threading.Thread(target=answer, args=(udp,)).start()
print("ready", flush=True)
"""
_FROM_PORT = """
import socket, sys
with socket.socket() as own:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.settimeout(1)
    own.bind(("", int(sys.argv[3])))
    print(own.connect_ex((sys.argv[1], int(sys.argv[2]))) == 0)
"""
_SEND_ICMP = """
import socket, struct, sys
kind = int(sys.argv[2])
body = b"\\x45" + bytes(27)
sent = struct.pack("!BBHI", kind, 0, 0, 0) + body
total = sum(struct.unpack(f"!{len(sent) // 2}H", sent))
check = ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.sendto(struct.pack("!BBHI", kind, 0, check, 0) + body, (sys.argv[1], 0))
"""
Machines = dict[str, subprocess.Popen[str]]


@pytest.fixture
def machines() -> Iterator[Machines]:
    """Run Docker-SRV with the ingress, and a switch with two guests and a newcomer on VLAN 10.

    The ingress has its leg, its address on edge and, behind it, a neighbour on frontend. A program in it
    listens on every address.
    """
    waits = ("sh", "-c", "echo ready; exec sleep 300")
    with ExitStack() as undo:
        found = {name: undo.enter_context(running(*waits)) for name in ("host", "switch", "site-2")}
        for name in ("ingress", "grafana", "site-1", "newcomer"):
            found[name] = undo.enter_context(running(sys.executable, "-c", _LISTEN))
        inside(found["switch"], "ip", "link", "add", "vlan10", "type", "bridge", "mcast_snooping", "0")
        inside(found["switch"], "ip", "link", "set", "vlan10", "up")
        for name, address in (("site-1", GUEST), ("site-2", CALLER), ("newcomer", NEWCOMER)):
            far = ("peer", "name", "eth0", "netns", str(found[name].pid))
            inside(found["switch"], "ip", "link", "add", name, "type", "veth", *far)
            inside(found["switch"], "ip", "link", "set", name, "master", "vlan10", "up")
            _up(found[name], "eth0", address)
        for network in ("172.30.0.0/16", "10.10.20.0/24"):
            inside(found["newcomer"], "ip", "route", "add", network, "via", LEG)
        for name in ("ingress", "grafana"):
            inside(found[name], "sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit")
        inside(found["ingress"], "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        inside(found["ingress"], "ip", "address", "add", f"{EDGE}/32", "dev", "lo")
        far = ("peer", "name", "eth1", "netns", str(found["ingress"].pid))
        inside(found["grafana"], "ip", "link", "add", "eth0", "type", "veth", *far)
        _up(found["grafana"], "eth0", FRONTEND)
        _up(found["ingress"], "eth1", "172.30.1.2")
        inside(found["grafana"], "ip", "route", "add", "default", "via", "172.30.1.2")
        _plug(found)
        yield found


def _plug(machines: Machines) -> None:
    """Give Docker-SRV its interface on the VLAN, and the ingress the leg on it."""
    far = ("peer", "name", "up10", "netns", str(machines["switch"].pid))
    inside(machines["host"], "ip", "link", "add", PARENT, "type", "veth", *far)
    inside(machines["host"], "ip", "link", "set", PARENT, "up")
    inside(machines["switch"], "ip", "link", "set", "up10", "master", "vlan10", "up")
    words = ("netns", str(machines["ingress"].pid), "type", "macvlan", "mode", "private")
    inside(machines["host"], "ip", "link", "add", "link", PARENT, "name", "eth0", *words)
    _up(machines["ingress"], "eth0", LEG)


def _up(machine: subprocess.Popen[str], card: str, address: str) -> None:
    inside(machine, "ip", "address", "add", f"{address}/24", "dev", card)
    inside(machine, "ip", "link", "set", card, "up")


def install(machines: Machines, site: Topology = SITE) -> None:
    """Install the tables of the interface on VLAN 10; the others are not there."""
    text = leg_rules.tables(site)[PARENT]
    inside(machines["host"], "sh", "-c", leg_rules.install(site), given=text)


def opened(machine: subprocess.Popen[str], *asks: tuple[str, str, int]) -> set[tuple[str, str, int]]:
    """Return which questions, each a protocol, an address and a port, are answered."""
    found = json.loads(inside(machine, sys.executable, "-c", ASK, given=json.dumps(asks)))
    return {(what, address, port) for what, address, port in found}


def to(*addresses: str) -> tuple[tuple[str, str, int], ...]:
    """Return the questions about every port of addresses; datagrams come in fragments."""
    ports = (ASKED, HEARD, OTHER)
    return tuple((what, at, port) for what in ("tcp", "udp") for at in addresses for port in ports)


def test_a_newcomer_reaches_nothing_by_a_leg(machines: Machines) -> None:
    """Without rules it reaches every address of the ingress, and what is behind it; with them, none."""
    asks = to(EDGE, LEG, FRONTEND)
    assert opened(machines["newcomer"], *asks, ("icmp", LEG, 0)) == {*asks, ("icmp", LEG, 0)}
    install(machines)
    assert opened(machines["newcomer"], *asks, ("icmp", LEG, 0)) == set()
    assert LEG in inside(machines["newcomer"], "ip", "neigh"), "a leg answers ARP"


def test_a_leg_is_no_router(machines: Machines) -> None:
    """With the kernel's settings of its container, and without rules, a leg passes nothing on."""
    assert SITE.ingress
    for name, value in container(SITE, SITE.ingress, "test").properties["sysctls"].items():
        file = f"/proc/sys/{name.replace('.', '/')}"
        inside(machines["ingress"], "sh", "-c", f"echo {value} >{file}")
    assert opened(machines["newcomer"], *to(EDGE, LEG, FRONTEND)) == {*to(EDGE, LEG)}


def test_what_takes_a_guests_address_has_its_flows_alone(machines: Machines) -> None:
    """A newcomer that forges a guest's address on the VLAN is on the wire that guest, and no more."""
    install(machines)
    inside(machines["site-2"], "ip", "link", "set", "eth0", "down")
    inside(machines["newcomer"], "ip", "address", "replace", f"{CALLER}/32", "dev", "eth0")
    for network in ("10.10.10.0/24", "172.30.0.0/16"):
        way = ("dev", "eth0") if network.startswith("10.") else ("via", LEG, "dev", "eth0")
        inside(machines["newcomer"], "ip", "route", "replace", network, *way, "src", CALLER)
    asks = to(EDGE, LEG, FRONTEND)
    assert opened(machines["newcomer"], *asks) == {("tcp", LEG, HEARD), ("udp", LEG, HEARD)}


_SEND_FRAMES = """
import socket, struct, sys
packet = struct.pack("!BBHHHBBH4s4s", 69, 0, 20, 0, 0, 64, 17, 0, bytes(4), socket.inet_aton(sys.argv[2]))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind((sys.argv[1], 0))
    for tag in (struct.pack("!HH", 0x8100, 10), b""):
        wire.send(b"\\xff" * 6 + b"\\x02" + bytes(5) + tag + b"\\x08\\x00" + packet)
"""
"""Sends a packet in a frame that 802.1Q tags for VLAN 10, and then in one without a tag."""


def test_tagged_frames_are_left_to_the_rules_of_their_vlan(machines: Machines) -> None:
    """A trunk's own rules drop an untagged frame to a leg on a VLAN, and no frame with the VLAN's tag."""
    far = ("peer", "name", "wire", "netns", str(machines["newcomer"].pid))
    inside(machines["host"], "ip", "link", "add", TRUNK, "type", "veth", *far)
    inside(machines["host"], "ip", "link", "set", TRUNK, "up")
    inside(machines["newcomer"], "ip", "link", "set", "wire", "up")
    site = load(changed({**FLAT, "zones.lan": {**FLAT["zones.lan"], "parent": TRUNK}}))
    inside(machines["host"], "nft", "--file", "-", given=leg_rules.tables(site)[TRUNK])

    def dropped() -> int:
        listed = inside(
            machines["host"], "nft", "list", "chain", "netdev", f"homelab-network-{TRUNK}", "ingress"
        )
        (packets,) = re.findall(r"counter packets (\d+) .* drop", listed)
        return int(packets)

    assert dropped() == 0
    inside(machines["newcomer"], sys.executable, "-c", _SEND_FRAMES, "wire", LEG)
    eventually("the untagged frame", dropped, 10)
    assert dropped() == 1


def test_a_guest_reaches_what_its_flows_name(machines: Machines) -> None:
    """A guest reaches the leg on declared ports, fragments and all, and the address on edge on none."""
    inside(machines["site-2"], "ip", "route", "add", f"{EDGE}/32", "dev", "eth0")
    install(machines)
    assert opened(machines["site-2"], *to(EDGE, LEG)) == {("tcp", LEG, HEARD), ("udp", LEG, HEARD)}
    assert opened(machines["site-1"], *to(LEG)) == set()


def test_the_ingress_gets_answers_of_declared_flows_alone(machines: Machines) -> None:
    """It reaches a guest's declared ports; no answer of another port, or of a newcomer, comes back."""
    asks = (*to(GUEST, NEWCOMER), ("udp", GUEST, 53), ("udp", NEWCOMER, 53))
    assert opened(machines["ingress"], *asks) == {*asks}
    install(machines)
    assert opened(machines["ingress"], *asks) == {("tcp", GUEST, ASKED), ("udp", GUEST, 53)}


def test_an_answers_port_opens_no_connection(machines: Machines) -> None:
    """From the port on which it answers, a guest opens no connection to the leg."""
    install(machines)
    words = (sys.executable, "-c", _FROM_PORT, LEG)
    assert inside(machines["site-2"], *words, str(OTHER), str(ASKED)) == "False\n"
    assert inside(machines["site-2"], *words, str(HEARD), str(ASKED)) == "True\n"


def test_errors_reach_a_leg_and_pings_do_not(machines: Machines) -> None:
    """ICMP errors pass, which paths with a smaller packet size need."""

    def arrived() -> int:
        names, values = (
            line.split()
            for line in inside(machines["ingress"], "cat", "/proc/net/snmp").splitlines()
            if line.startswith("Icmp:")
        )
        return int(values[names.index("InMsgs")])

    install(machines)
    for kind, more in ((8, 0), (3, 1), (11, 1), (12, 1), (5, 0), (13, 0)):
        before = arrived()
        inside(machines["site-2"], sys.executable, "-c", _SEND_ICMP, LEG, str(kind))
        # Behind what was sent, so what was sent first is there, or is not.
        assert opened(machines["site-2"], ("tcp", LEG, HEARD))
        assert arrived() - before == more, kind


def test_rules_in_force_are_told_from_others(machines: Machines) -> None:
    """As installed they are in force; with an element more, after their removal or without a table not."""
    host, name = machines["host"], f"netdev homelab-network-{PARENT}"
    program = (
        "from verify.host import leg_rules_in_force; from rendered import leg_rules;"
        "from tests.parts.test_legs import PARENT, SITE; tables = leg_rules.tables(SITE);"
        "leg_rules.tables = lambda _: {PARENT: tables[PARENT]}; print(leg_rules_in_force(SITE))"
    )
    asking = ("env", f"PYTHONPATH={PROJECT}", sys.executable, "-c", program)
    assert inside(host, *asking) == "False\n"
    install(machines)
    assert inside(host, *asking) == "True\n"
    inside(host, "nft", f"add element {name} declared {{ {NEWCOMER} . {LEG} . tcp . {OTHER} }}")
    assert inside(host, *asking) == "False\n"
    inside(host, "nft", "add table netdev homelab-network-former; add table netdev other")
    install(machines)
    assert inside(host, *asking) == "True\n"
    assert inside(host, "nft", "list", "tables").split("\n")[:-1] == ["table netdev other", f"table {name}"]
    for _ in range(2):
        inside(host, "sh", "-c", leg_rules.remove(SITE))
    assert inside(host, "nft", "list", "tables") == "table netdev other\n"
    assert inside(host, *asking) == "False\n"


def test_an_interface_that_comes_back_gets_its_rules_again(machines: Machines, tmp_path: Path) -> None:
    """The command line of its unit puts the rules on an interface that was gone."""
    install(machines)
    inside(machines["host"], "ip", "link", "delete", PARENT)
    # A newer kernel, such as 6.18, keeps the chain for its interface; an older one removes it.
    inside(machines["host"], "nft", "flush ruleset")
    _plug(machines)
    eventually("the leg", lambda: opened(machines["newcomer"], ("tcp", LEG, OTHER)), 10)
    booted(machines["host"], SITE, f"-leg-{PARENT}", tmp_path)
    assert opened(machines["newcomer"], *to(EDGE, LEG)) == set()
    assert opened(machines["site-2"], ("tcp", LEG, HEARD))
