"""A closed Docker-SRV's own rules in force: what machines outside, and the host itself, still reach."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rendered import host_rules
from tests.parts.test_egress import inside, running
from tests.site import changed
from tests.unit.test_verify import AGENT
from topology.config import load

OPEN = load(changed({}))
CLOSED = load(
    changed(
        {
            "hosts.docker-srv.closed": True,
            "hosts.docker-srv.ports": [22],
            "flows[+]": "management -> docker-srv:22/tcp",
        }
    )
)
NEAR = {"office": "10.10.1", "internet": "198.51.100"}
"""Machine outside -> the prefix of its link, on which the host has the first address and it the second."""
_LISTEN = """
import socket, threading
def echo(held):
    while data := held.recv(9):
        held.sendall(data)
def serve(listener):
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],)).start()
def answer(udp):
    while True:
        data, sender = udp.recvfrom(9)
        udp.sendto(data, sender)
for port in (22, 23, 9999):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(listener,)).start()
for port in (68, 161):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    threading.Thread(target=answer, args=(udp,)).start()
print("ready", flush=True)
"""
_ASK = """
import json, socket, sys
def opens(what, host, port, own):
    try:
        if what == "tcp":
            socket.create_connection((host, port), 1).close()
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("", own))
                udp.settimeout(1)
                udp.sendto(b"x", (host, port))
                udp.recv(9)
    except OSError:
        return False
    return True
print(json.dumps([ask for ask in json.load(sys.stdin) if opens(*ask)]))
"""
_HOLD = """
import socket, sys
held = socket.create_connection((sys.argv[1], 9999), 5)
print("open", flush=True)
for line in sys.stdin:
    held.settimeout(5)
    held.sendall(b"x")
    print(held.recv(9).decode(), flush=True)
"""
Machines = dict[str, subprocess.Popen[str]]


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Run a host that listens on IPv4 and IPv6, a machine of management and one on the internet."""
    with ExitStack() as undo:
        found = {name: undo.enter_context(running(sys.executable, "-c", _LISTEN)) for name in ("host", *NEAR)}
        for number, (name, prefix) in enumerate(NEAR.items(), 1):
            far = ("peer", "name", "eth0", "netns", str(found[name].pid))
            inside(found["host"], "ip", "link", "add", f"lan{number}", "type", "veth", *far)
            for end, card, last in (("host", f"lan{number}", 1), (name, "eth0", 2)):
                inside(found[end], "ip", "address", "add", f"{prefix}.{last}/24", "dev", card)
                inside(found[end], "ip", "address", "add", f"fd00:{number}::{last}/64", "dev", card, "nodad")
                inside(found[end], "ip", "link", "set", card, "up")
        yield found


def reached(machines: Machines, name: str, number: int) -> set[str]:
    """Return what a machine outside reaches of the host, also from port 67, as a DHCP server does."""
    four, six = f"{NEAR[name]}.1", f"fd00:{number}::1"
    asks = [("tcp", host, port, 0) for host in (four, six) for port in (22, 23, 9999)]
    asks += [("udp", four, 161, 0), ("udp", four, 68, 0), ("udp", four, 68, 67)]
    said = json.loads(inside(machines[name], sys.executable, "-c", _ASK, given=json.dumps(asks)))
    six_too = {True: " by IPv6", False: ""}
    dhcp = {True: " from 67", False: ""}
    return {f"{port}/{what}{six_too[':' in host]}{dhcp[bool(own)]}" for what, host, port, own in said}


def scanned(machines: Machines, name: str) -> set[int]:
    """Return the ports that the probe's own scan finds open from a machine outside, all of them asked."""
    ask = {"id": "scan", "kind": "scan", "address": f"{NEAR[name]}.1", "port": 1, "within": 0}
    said = json.dumps({"ask": [ask], "authorities": ""})
    out = inside(machines[name], sys.executable, "-I", str(AGENT), given=f"{{}}\n{said}\n")
    numbers, last = json.loads(out.splitlines()[1])["answers"]["scan"]
    assert last == 65535
    return {*numbers}


def install(machines: Machines, rules: str) -> None:
    """Install the host's own rules."""
    inside(machines["host"], *host_rules.INSTALL.split(), given=rules)


def test_a_closed_host_answers_declared_flows_alone(machines: Machines) -> None:
    """An open host answers everyone; a closed one management on its port, and DHCP servers."""
    install(machines, host_rules.rules(OPEN))
    everything = {f"{port}/tcp{six}" for port in (22, 23, 9999) for six in ("", " by IPv6")}
    everything |= {"161/udp", "68/udp", "68/udp from 67"}
    for number, name in enumerate(NEAR, 1):
        assert reached(machines, name, number) == everything
    install(machines, host_rules.rules(CLOSED))
    assert reached(machines, "office", 1) == {"22/tcp", "68/udp from 67"}
    assert reached(machines, "internet", 2) == {"68/udp from 67"}


def test_a_scan_ends_in_time(machines: Machines) -> None:
    """The probe asks all ports of a host that answers each, and of one that answers none."""
    install(machines, host_rules.rules(OPEN))
    assert scanned(machines, "internet") == {22, 23, 9999}
    install(machines, host_rules.rules(CLOSED))
    assert scanned(machines, "office") == {22}
    assert scanned(machines, "internet") == set()


def test_a_closed_host_reaches_others_and_itself(machines: Machines) -> None:
    """Its own connections are answered, by IPv6 too, whose neighbours it finds; loopback is open."""
    install(machines, host_rules.rules(CLOSED))
    inside(machines["host"], "ip", "neigh", "flush", "all")
    inside(machines["office"], "ip", "neigh", "flush", "all")
    asks = [("tcp", host, 22, 0) for host in ("10.10.1.2", "fd00:1::2", "127.0.0.1", "10.10.1.1", "::1")]
    said = inside(machines["host"], sys.executable, "-c", _ASK, given=json.dumps(asks))
    assert json.loads(said) == [[*ask] for ask in asks]


def test_closing_breaks_no_connection(machines: Machines) -> None:
    """A connection that the internet had opened lives on, as does the session that closes the host."""
    install(machines, host_rules.rules(OPEN))
    way = ("nsenter", f"--net=/proc/{machines['internet'].pid}/ns/net")
    words = (*way, sys.executable, "-c", _HOLD, f"{NEAR['internet']}.1")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdin
        assert held.stdout
        assert held.stdout.readline() == "open\n"
        install(machines, host_rules.rules(CLOSED))
        assert "9999/tcp" not in reached(machines, "internet", 2)
        held.stdin.write("more\n")
        held.stdin.flush()
        assert held.stdout.readline() == "x\n"
        held.stdin.close()
