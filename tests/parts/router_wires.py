"""A Linux router in a network namespace of its own, and raw packets on the wires around it."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from topology.model import Port, Protocol

WIRES = ("wan", *(f"leg{number}" for number in range(6)))
"""The router's interfaces; in the other namespace each ends in one of the same name."""
_EVERY, _ARP, _IPV4, _IPV6 = 3, 0x0806, 0x0800, 0x86DD
_TCP, _UDP, _ICMP = 6, 17, 1
_NUMBERS = {Protocol.TCP: _TCP, Protocol.UDP: _UDP}
_SYN, _RST = 2, 4
_NEW_NETWORK = 0x40000000
_OUTGOING = 4
_RCVBUFFORCE = 33
_SETTINGS = (
    *("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv4/conf/all/rp_filter=0"),
    *("ipv4/conf/default/rp_filter=0", "ipv4/conf/all/accept_local=1", "ipv6/conf/default/accept_dad=0"),
    *("netfilter/nf_conntrack_tcp_timeout_syn_sent=5", "netfilter/nf_conntrack_udp_timeout=5"),
)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A first packet that arrives at the router on a wire."""

    wire: str
    source: IPv4Address
    destination: IPv4Address
    port: Port


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A packet as it left the router on a wire; on `lo` the router itself took it."""

    wire: str
    source: IPv4Address | None = None
    destination: IPv4Address | None = None
    number: int = 0


def mac(wire: str, *, outside: bool) -> bytes:
    """Return the hardware address of a wire's end."""
    return bytes((2, 0, 0, 0, int(outside), WIRES.index(wire) + 1))


@dataclass(kw_only=True)
class Router:
    """The router's namespace `inner`, and the one around it, `outer`, which has no addresses."""

    inner: int
    outer: int
    taps: Mapping[str, socket.socket]
    ear: socket.socket
    own: Mapping[Port, socket.socket]
    sent: dict[int, Probe] = field(default_factory=dict)
    last: int = 0

    def run(self, *words: str, given: str = "") -> str:
        """Run a program in the router's namespace; returns its output."""
        way = ("nsenter", f"--net=/proc/{self.inner}/ns/net")
        done = subprocess.run([*way, *words], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{given}"
        return done.stdout

    def set_up(
        self,
        addresses: Mapping[str, str],
        neighbours: Mapping[IPv4Address, str],
        gateway: IPv4Address | None,
    ) -> None:
        """Give the router its addresses by wire, its neighbours, and the gateway of its default route."""
        lines = [f"address flush dev {wire} scope global" for wire in WIRES]
        lines += [f"address add {address} dev {wire}" for wire, address in addresses.items()]
        lines += [f"address add fd00:{index}::1/64 dev {wire}" for index, wire in enumerate(WIRES)]
        if gateway:
            lines.append(f"route replace default via {gateway} dev wan onlink")
        for address, wire in neighbours.items():
            lines.append(
                f"neigh replace {address} lladdr {mac(wire, outside=True).hex(':')} dev {wire} nud permanent"
            )
        for index, wire in enumerate(WIRES):
            lines.append(_neighbour(f"fd00:{index}::9", wire))
        self.run("ip", "-batch", "-", given="\n".join(lines))

    def load(self, text: str) -> None:
        """Load the rules alone: what was there before is removed."""
        self.run("nft", "-f", "-", given=f"flush ruleset\n{text}")

    def ask(self, probes: Sequence[Probe], addresses: Mapping[str, str]) -> dict[Probe, list[Arrival]]:
        """Send packets, and return where each of them came out; `addresses` are the router's, by wire."""
        self.sent = {}
        for probe in probes:
            self.last += 1
            self.sent[self.last] = probe
            self._send(probe.wire, _IPV4, _packet(probe, self.last))
        found: dict[Probe, list[Arrival]] = {probe: [] for probe in probes}
        for number, arrival in self._arrivals(addresses):
            if number in self.sent:
                found[self.sent[number]].append(arrival)
        return found

    def ask_ipv6(self, addresses: Mapping[str, str]) -> set[tuple[str, str]]:
        """Send IPv6 from each wire to a machine on each other one; return the pairs that it passes."""
        for one, wire in enumerate(WIRES):
            for two, other in enumerate(WIRES):
                if wire != other:
                    ends = IPv6Address(f"fd00:{one}::9").packed + IPv6Address(f"fd00:{two}::9").packed
                    segment = struct.pack("!HHIIBBHHH", 4000, 443, one, 0, 5 << 4, _SYN, 1024, 0, 0)
                    header = struct.pack("!IHBB", 6 << 28, len(segment), _TCP, 64)
                    self._send(wire, _IPV6, header + ends + segment)
        seen = set()
        for kind, wire, data in self._heard(addresses):
            if kind == _IPV6 and data[6] == _TCP:
                seen.add((WIRES[struct.unpack("!I", data[44:48])[0]], wire))
        return seen

    def _send(self, wire: str, kind: int, data: bytes) -> None:
        header = mac(wire, outside=False) + mac(wire, outside=True) + struct.pack("!H", kind)
        self.taps[wire].send(header + data)

    def _arrivals(self, addresses: Mapping[str, str]) -> Iterator[tuple[int, Arrival]]:
        for kind, wire, data in self._heard(addresses):
            if kind == _IPV4 and (arrival := _read(data, wire)):
                yield arrival
        for one in self.own.values():
            while True:
                try:
                    yield int.from_bytes(one.recv(4), "big"), Arrival(wire="lo")
                except BlockingIOError:
                    break

    def _heard(self, addresses: Mapping[str, str]) -> Iterator[tuple[int, str, bytes]]:
        """Yield what left the router up to its answers to a last question on each wire.

        The process has one processor, so packets are handled in the order in which they were sent.
        """
        for wire, address in addresses.items():
            own = IPv4Address(address.partition("/")[0]).packed
            ends = mac(wire, outside=True) + bytes(4) + bytes(6) + own
            self._send(wire, _ARP, struct.pack("!HHBBH", 1, _IPV4, 6, 4, 1) + ends)
        waiting = {*addresses}
        while waiting:
            data, (wire, kind, way, *_) = self.ear.recvfrom(2048)
            if way == _OUTGOING or wire not in WIRES:
                continue
            if kind == _ARP and data[20:22] == b"\0\2":
                waiting.discard(wire)
            yield kind, wire, data[14:]


def _neighbour(address: object, wire: str) -> str:
    return f"neigh replace {address} lladdr {mac(wire, outside=True).hex(':')} dev {wire} nud permanent"


def _packet(probe: Probe, number: int) -> bytes:
    """Return an IPv4 packet that opens a connection, with its number in it."""
    source_port, protocol = 1024 + number % 60000, _NUMBERS[probe.port.protocol]
    if protocol == _TCP:
        segment = struct.pack(
            "!HHIIBBHHH", source_port, probe.port.number, number, 0, 5 << 4, _SYN, 1024, 0, 0
        )
    else:
        segment = struct.pack("!HHHHI", source_port, probe.port.number, 12, 0, number)
    ends = probe.source.packed + probe.destination.packed
    if protocol == _TCP:
        pseudo = ends + struct.pack("!BBH", 0, protocol, len(segment))
        segment = segment[:16] + struct.pack("!H", _sum(pseudo + segment)) + segment[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), number % 65536, 0, 64, protocol, 0)
    return header[:10] + struct.pack("!H", _sum(header + ends)) + ends + segment


def _sum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _read(data: bytes, wire: str) -> tuple[int, Arrival] | None:
    """Return a forwarded packet's number and ends; for the router's own refusal, that it took the packet."""
    protocol, source, destination = data[9], IPv4Address(data[12:16]), IPv4Address(data[16:20])
    start = (data[0] & 15) * 4
    if protocol == _TCP:
        number: int
        sequence: int
        _, number, sequence, answer, _, flags = struct.unpack("!HHIIBB", data[start : start + 14])
        if flags & _RST:
            return answer - 1, Arrival(wire="lo")
        return sequence, Arrival(wire=wire, source=source, destination=destination, number=number)
    if protocol == _UDP:
        number = struct.unpack("!H", data[start + 2 : start + 4])[0]
        sequence = int.from_bytes(data[start + 8 : start + 12], "big")
        return sequence, Arrival(wire=wire, source=source, destination=destination, number=number)
    return None


@contextmanager
def router(*own: Port) -> Iterator[Router]:
    """Run a router that listens on its `own` UDP ports; nothing reaches the machine's own network."""
    before = os.sched_getaffinity(0)
    with ExitStack() as undo:
        undo.callback(os.sched_setaffinity, 0, before)
        os.sched_setaffinity(0, {min(before)})
        inner, outer = (undo.enter_context(_namespace()) for _ in range(2))
        for wire in WIRES:
            ends = [mac(wire, outside=outside).hex(":") for outside in (False, True)]
            near = ("link", "add", wire, "address", ends[0], "type", "veth")
            far = ("peer", "name", wire, "address", ends[1], "netns", str(outer))
            for at, words in (
                (inner, (*near, *far)),
                *((p, ("link", "set", wire, "up")) for p in (inner, outer)),
            ):
                subprocess.run(["nsenter", f"--net=/proc/{at}/ns/net", "ip", *words], check=True, timeout=30)
        settings = "; ".join(
            f"echo {value} >/proc/sys/net/{key}" for key, _, value in (s.partition("=") for s in _SETTINGS)
        )
        quiet = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done"
        # /proc/sys/net shows the namespace of the reader.
        for at, script in ((inner, settings), (outer, quiet)):
            subprocess.run(
                ["nsenter", f"--net=/proc/{at}/ns/net", "sh", "-c", script], check=True, timeout=30
            )
        with _inside(outer):
            ear = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY)))
            ear.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 26)
            ear.settimeout(10)
            taps = {}
            for wire in WIRES:
                taps[wire] = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                taps[wire].bind((wire, 0))
        with _inside(inner):
            listening = {}
            for port in own:
                listening[port] = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                listening[port].bind(("", port.number))
                listening[port].setblocking(False)
        yield Router(inner=inner, outer=outer, taps=taps, ear=ear, own=listening)


@contextmanager
def _namespace() -> Iterator[int]:
    """Hold a network namespace; yields the id of the process in it."""
    words = ("unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


@contextmanager
def _inside(process: int) -> Iterator[None]:
    """Enter the network namespace of a process; sockets made there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as own, open(f"/proc/{process}/ns/net") as other:  # noqa: PTH123  # a descriptor
        try:
            assert libc.setns(other.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            assert libc.setns(own.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
