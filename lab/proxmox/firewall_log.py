"""A stand-in for Proxmox's `pvefw-logger`: the log of what rules with a log level met, in the same form.

Such a rule hands packets to NFLOG group 0 of the namespace in which it acts. `FirewallLog` listens there, and
writes IPv4's TCP, UDP and ICMP as `src/pvefw-logger.c` of pve-firewall does, without interfaces and hardware
addresses; of other packets the ends alone.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from lab import paths
from lab.errors import LabError

_NETLINK_NETFILTER, _ULOG, _CONFIG, _PACKET = 12, 4, 1, 0
_TIMESTAMP, _PAYLOAD, _PREFIX = 3, 9, 10
_HEADERS, _ATTRIBUTE, _IPV4 = 20, 4, 4
_BIND = struct.pack("=HHB3x", 5, 1, 1)
_COPY = struct.pack("=HH", 10, 2) + struct.pack(">IBx", 0xFFFF, 2) + b"\0\0"
_AT_ONCE = struct.pack("=HH", 8, 5) + struct.pack(">I", 1)
"""Hand each packet on at once, not after a second or a hundred of them."""
_PREFIXED = re.compile(r":(\d+):([0-7]):([^: ]+): (.*)", re.DOTALL)
_FLAGS = (("URG", 32), ("ACK", 16), ("PSH", 8), ("RST", 4), ("SYN", 2), ("FIN", 1))


def path() -> Path:
    """Return the file that stands for a node's `/var/log/pve-firewall.log`."""
    return paths.RUN / "pve-firewall.log"


def lines(since: int = 0) -> list[str]:
    """Return the log's lines, the oldest first; none before `since`, in seconds of Unix time."""
    text = path().read_text() if path().exists() else ""
    return [line for line in text.splitlines() if _when(line) >= since]


def _when(line: str) -> float:
    return datetime.strptime(" ".join(line.split(" ")[3:5]), "%d/%b/%Y:%H:%M:%S %z").timestamp()


class FirewallLog:
    """The listeners of some namespaces, of which each is opened once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], socket.socket] = {}

    def follow(self, namespaces: Collection[str]) -> None:
        """Listen in exactly these namespaces, and write what was logged since the last call."""
        wanted = {(name, Path("/run/netns", name).stat().st_ino) for name in namespaces}
        for gone in self._open.keys() - wanted:
            self._open.pop(gone).close()
        for each in wanted - self._open.keys():
            self._open[each] = _listener(each[0])
        found = [line for listener in self._open.values() for line in _read(listener)]
        if found:
            with path().open("a") as file:
                file.writelines(f"{line}\n" for line in found)


def _listener(namespace: str) -> socket.socket:
    """Return a socket in the namespace, bound to group 0; raises LabError."""
    libc, own = ctypes.CDLL(None, use_errno=True), os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise LabError(f"log of {namespace}: {os.strerror(ctypes.get_errno())}")
        try:
            made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        finally:
            libc.setns(own, 0)
    finally:
        os.close(own)
        os.close(there)
    for attribute in (_BIND, _COPY, _AT_ONCE):
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0) + attribute
        made.send(struct.pack("=IHHII", 16 + len(body), _ULOG << 8 | _CONFIG, 1, 0, 0) + body)
    made.setblocking(False)
    return made


def _read(listener: socket.socket) -> Iterator[str]:
    with suppress(BlockingIOError):
        while message := listener.recv(1 << 17):
            while len(message) >= _HEADERS:
                length, kind = struct.unpack_from("=IH", message)
                if kind == _ULOG << 8 | _PACKET:
                    yield _line(dict(_attributes(message[_HEADERS:length])))
                message = message[length + 3 & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[_ATTRIBUTE:length]
        data = data[length + 3 & ~3 :]


def _line(packet: dict[int, bytes]) -> str:
    prefix = packet.get(_PREFIX, b"").rstrip(b"\0").decode()
    found = _PREFIXED.fullmatch(prefix)
    vmid, level, chain, told = found.groups() if found else ("0", "6", "-", prefix)
    seconds = struct.unpack_from(">Q", packet[_TIMESTAMP])[0] if _TIMESTAMP in packet else time.time()
    when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(seconds))
    return f"{vmid} {level} {chain} {when} {told}{described(packet.get(_PAYLOAD, b''))}"


def described(packet: bytes) -> str:
    """Return the words about an IP packet."""
    if packet[0] >> 4 != _IPV4:
        return f"SRC={ip_address(packet[8:24])} DST={ip_address(packet[24:40])} PROTO={packet[6]} "
    size, whole, number, tos, ttl = (
        (packet[0] & 15) * 4,
        *struct.unpack_from(">HH", packet, 2),
        packet[1],
        packet[8],
    )
    ends = f"SRC={ip_address(packet[12:16])} DST={ip_address(packet[16:20])} "
    about = f"LEN={whole} TOS=0x{tos & 0x1E:02X} PREC=0x{tos & 0xE0:02X} TTL={ttl} ID={number} "
    about += "DF " if packet[6] & 0x40 else ""
    inner, protocol = packet[size:], packet[9]
    if protocol == socket.IPPROTO_TCP:
        source, to, sequence, acknowledged, _, flags, window = struct.unpack_from(">HHIIBBH", inner)
        set_ = "".join(f"{name} " for name, bit in _FLAGS if flags & bit)
        told = f"PROTO=TCP SPT={source} DPT={to} SEQ={sequence} ACK={acknowledged} WINDOW={window} {set_}"
    elif protocol == socket.IPPROTO_UDP:
        told = "PROTO=UDP SPT={} DPT={} LEN={}".format(*struct.unpack_from(">HHH", inner))
    elif protocol == socket.IPPROTO_ICMP:
        told = f"PROTO=ICMP TYPE={inner[0]} CODE={inner[1]} "
    else:
        told = f"PROTO={protocol} "
    return f"{ends}{about}{told}"
