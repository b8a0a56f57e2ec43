"""The cost of the rules within a bridge: throughput and latency of two neighbours, with and without them.

What the rules remember costs the first packet of a connection, and what is dropped; both are measured beside
rules that remember nothing. The machine of the measurement is a network namespace with a bridge, and so are
the neighbours: all of them, the rules and the kernel's switch included, end with their processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from statistics import median

from bench.sites import keys
from lab import apt
from lab.process import run
from rendered import host_rules
from topology.config import load
from topology.model import Topology

LIMIT = 1.05
PAIRS = (20, 1000)
ROUNDS = 31
_SOURCE, _DESTINATION, _PORT = "grafana", "e0", 9
_OWN = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
_HOST = "print(flush=True); import sys; sys.stdin.read()"
_SERVE = f"""
import contextlib, socket
server = socket.create_server(("", {_PORT}))
print(flush=True)
while True:
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with peer, contextlib.suppress(ConnectionResetError):
        echoes = peer.recv(1) == b"e"
        while data := peer.recv(1 << 20):
            if echoes:
                peer.sendall(data)
"""
"""Sends back what comes after a first byte `e`; swallows all else."""
_ASK = f"""
import json, socket, statistics, struct, sys, time
def connected(kind):
    peer = socket.create_connection((sys.argv[1], {_PORT}), 5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(kind)
    return peer
chunk, sent = bytes(1 << 18), 0
with connected(b"s") as peer:
    started = time.perf_counter()
    while time.perf_counter() < started + 0.4:
        sent += peer.send(chunk)
    seconds_a_byte = (time.perf_counter() - started) / sent
def usual(do, items):
    times = []
    for item in items:
        started = time.perf_counter()
        do(item)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
def asked(_):
    peer.sendall(b"x")
    peer.recv(1)
def opened(_):
    with connected(b"ex") as peer:
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
with connected(b"e") as peer:
    trip = usual(asked, range(2000))
connection = usual(opened, range(300))
with socket.socket(type=socket.SOCK_DGRAM) as udp:
    datagram = usual(lambda port: udp.sendto(b"x", (sys.argv[1], port)), [*range(10_000, 14_000)] * 2)
print(json.dumps([seconds_a_byte, trip, connection, datagram]))
"""
"""Prints seconds: a byte, sent for 0.4 s; a round trip of one byte; a connection, opened, asked for one byte
and closed; a datagram to an undeclared port, 4,000 of them, twice each. Medians, but for the first.
"""
Seconds = tuple[float, float, float, float]
"""What one run of `_ASK` prints."""
_FORGETFUL = ", nothing remembered"


def neighbours() -> Iterator[str]:
    """Yield the comparison of two neighbours with and without the rules."""
    apt.install("bench", {"nft": "nftables", "ip": "iproute2"}, print)
    sites = [_site(pairs) for pairs in PAIRS]
    texts = [(f"the rules, {_count(site):,} declared pairs", host_rules.rules(site)) for site in sites]
    without = [(what + _FORGETFUL, forgetful(text)) for what, text in texts]
    states = [("neither switch nor rules", None), ("the switch alone", ""), *texts, *without]
    found: dict[str, list[Seconds]] = {what: [] for what, _ in states}
    with _machines(sites[0]) as (host, asker, address):
        for number in range(ROUNDS):
            # Each state is measured in every round, and first in some.
            turn = number % len(states)
            for what, text in (*states[turn:], *states[:turn]):
                _put(host, sites[0], text)
                said = _inside(asker, sys.executable, "-c", _ASK, str(address))
                found[what].append(tuple(json.loads(said)))
    yield from _told({what: values for what, values in found.items() if _FORGETFUL not in what})
    yield from _learning(found)


def forgetful(rules: str) -> str:
    """Return the rules without those that remember flows."""
    return "".join(line for line in rules.splitlines(keepends=True) if " update @" not in line)


def _told(found: Mapping[str, Sequence[Seconds]]) -> Iterator[str]:
    base = found[next(iter(found))]
    yield "## Between two neighbours"
    yield ""
    yield (
        f"Two members of one bridge, one TCP connection: time to send a byte, and a round trip of one byte. "
        f"The median of {ROUNDS} rounds, each with every state in turn, of the ratio to the first state in "
        f"the same round. Target: {LIMIT}."
    )
    yield ""
    yield "| what is in force | time to send | round trip | |"
    yield "|---|---|---|---|"
    for what, values in found.items():
        yield f"| {what} | {_compared(values, base, (0, 1))} |"


def _learning(found: Mapping[str, Sequence[Seconds]]) -> Iterator[str]:
    yield ""
    yield (
        "What the rules remember for `make suggest`, in the same rounds: the ratio to the same rules that "
        f"remember nothing. A connection is opened, asked for one byte and closed; datagrams go to 4,000 "
        f"undeclared ports, twice each. Target: {LIMIT}."
    )
    yield ""
    yield "| what is in force | a connection of a declared flow | a dropped datagram | |"
    yield "|---|---|---|---|"
    for what, values in found.items():
        if base := found.get(what + _FORGETFUL):
            yield f"| {what} | {_compared(values, base, (2, 3))} |"


def _compared(values: Sequence[Seconds], base: Sequence[Seconds], columns: Sequence[int]) -> str:
    """Return cells: each column's median of the ratios within a round, and whether all meet the limit."""
    pairs = [*zip(values, base, strict=True)]
    ratios = [median(one[at] / first[at] for one, first in pairs) for at in columns]
    return " | ".join((*(f"{ratio:.3f}" for ratio in ratios), "met" if max(ratios) <= LIMIT else "missed"))


def _site(pairs: int) -> Topology:
    """Return a site with at least as many flows between containers."""
    few = _count(load(keys(2)))
    return load(keys(2 * max(1, pairs - few + 1)))


def _count(site: Topology) -> int:
    """Return the number of elements in the rules' set."""
    return host_rules.rules(site).partition("  set declared")[2].partition("  }\n")[0].count(" . ") // 3 - 1


@contextmanager
def _machines(
    site: Topology,
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str], IPv4Address]]:
    """Run a host with a bridge and two neighbours; yields host, source and the destination's address."""
    zone = site.zones["frontend"]
    bridge = site.bridge(zone)
    with ExitStack() as undo:
        host, asker, server = (undo.enter_context(_running(text)) for text in (_HOST, _HOST, _SERVE))
        _inside(host, "ip", "link", "add", bridge, "type", "bridge")
        _inside(host, "ip", "link", "set", bridge, "up")
        for port, name, member in (("port0", _SOURCE, asker), ("port1", _DESTINATION, server)):
            far = ("peer", "name", "eth0", "netns", str(member.pid))
            _inside(host, "ip", "link", "add", port, "type", "veth", *far)
            _inside(host, "ip", "link", "set", port, "master", bridge, "up")
            own = f"{site.address_on(name, zone)}/{zone.prefix.prefixlen}"
            _inside(member, "ip", "address", "add", own, "dev", "eth0")
            _inside(member, "ip", "link", "set", "eth0", "up")
        yield host, asker, site.address_on(_DESTINATION, zone)


@contextmanager
def _running(program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of Python in a network namespace of its own; ends it afterwards."""
    words = (*_OWN, sys.executable, "-c", program)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout and process.stdout.readline():
                yield process
        finally:
            process.kill()


def _inside(process: subprocess.Popen[str], *words: str, given: str | None = None) -> str:
    return run(["nsenter", f"--net=/proc/{process.pid}/ns/net", *words], words[0], stdin=given)


def _put(host: subprocess.Popen[str], site: Topology, text: str | None) -> None:
    """Put a state in force: no switch and no rules for None, else the switch and the rules."""
    _inside(host, "sh", "-c", host_rules.remove(site))
    _inside(host, "sh", "-c", host_rules.SWITCH_ON)
    if text is None:
        _inside(host, "sh", "-c", f"for one in {' '.join(host_rules.SWITCHES)}; do echo 0 >$one; done")
    elif text:
        _inside(host, *host_rules.INSTALL.split(), given=text)
