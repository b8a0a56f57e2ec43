"""The agent that runs at each endpoint: it listens, asks its questions and reports the answers.

The agent exchanges JSON lines with the probe on standard input and output, and exits when its input ends. It
imports only the standard library and writes no files, because it is sent to machines that have only Python.

First line in: `{"listen": [tcp ports]}`; out: `{"addresses": [own], "listeners": [ports], "pings": bool}`.
Second line in: `{"ask": [{"id", "kind", "address", "port", "within"}, ...], "authorities": PEM}`; out:
`{"answers": {id: answer}, "heard": [addresses whose hardware answered]}`.
Third line in, once all agents have answered: `{}`; out: `{"arrived": [ids of questions over UDP]}`, null
where this process may not look.
"""

import asyncio
import ctypes
import errno
import html
import http.client
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

TIMEOUT = 2.0
"""Seconds for one attempt; enough to retransmit a lost packet once."""
_LIFE = 90
"""Seconds after which the agent exits, whether or not the probe still runs."""
_PAUSE = 0.3
_AT_ONCE = 128
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM}
_ECHO, _ECHO_REPLY = 8, 0
_RECURSE, _SERVER_FAILURE = 0x0100, 2
_IPV4, _MARK = 0x0800, b"\0homelab-network "
_ATTACH_FILTER, _RECEIVE_BUFFER_FORCE, _SOL_PACKET, _STATISTICS = 26, 33, 263, 6
_ONLY_MARKED = (
    *((0x30, 0, 0, 9), (0x15, 0, 4, socket.IPPROTO_UDP)),
    *((0xB1, 0, 0, 0), (0x40, 0, 0, 8), (0x15, 0, 1, int.from_bytes(_MARK[:4], "big"))),
    *((0x06, 0, 0, 256), (0x06, 0, 0, 0)),
)
"""Classic BPF: keep 256 bytes of a packet whose protocol, byte 9 of its IPv4 header, is UDP, and whose data,
behind both headers, begins as the mark does. All others of a busy host would fill the socket."""
_RECEIVED = 2**24
"""Bytes that the socket may hold until it is read at the end; some 20,000 datagrams."""
_LISTENING, _UNCONNECTED = "0A", "07"
_LAST_PORT = 65535
_SCANNED_AT_ONCE, _SPARE_FILES = 8192, 192
_LOOPBACK = re.compile(r"(0{16}FFFF0000)?[0-9A-F]{6}7F|0{24}01000000")
"""127.0.0.0/8, its IPv4-mapped IPv6 form and ::1, as a little-endian kernel writes them."""


async def tcp(ask: dict[str, Any]) -> str:
    """Open a TCP connection and close it; return `open`."""
    _, writer = await asyncio.open_connection(ask["address"], ask["port"])
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return "open"


async def udp(ask: dict[str, Any]) -> str:
    """Send a datagram and wait for an answer or a refusal; silence proves nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((ask["address"], ask["port"]))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, _MARK + ask["id"].encode())
        await loop.sock_recv(sock, 1)
    return "open"


def watching() -> socket.socket | None:
    """Return a socket that keeps each datagram that arrives here, whether or not a program answers it.

    It has them from the interfaces, past every rule on the way. None: this process may not look, or the
    kernel has no such sockets.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
    except OSError:
        return None
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _ONLY_MARKED))
    pointer = struct.pack("HP", len(_ONLY_MARKED), ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointer)
    with suppress(OSError):  # by CAP_NET_ADMIN alone
        sock.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _RECEIVED)
    sock.setblocking(False)
    return sock


def arrived(sock: socket.socket | None) -> list[str] | None:
    """Return the ids of the probe's datagrams that a socket kept; None if there is none or it lost some."""
    found = set()
    with suppress(BlockingIOError):
        while sock:
            _, mark, number = sock.recv(256).partition(_MARK)
            found |= {number.decode(errors="replace")} if mark else set()
    _, lost = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _STATISTICS, 8)) if sock else (0, 1)
    return None if lost else sorted(found)


async def icmp(ask: dict[str, Any]) -> str:
    """Send an echo request and wait for its reply."""
    with echo_socket() as sock:
        sock.setblocking(False)
        sock.connect((ask["address"], 0))
        mark = os.urandom(8)
        rest = bytes(4) + mark
        total = _ECHO * 256 + sum(struct.unpack("!6H", rest))
        total = (total & 0xFFFF) + (total >> 16)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, struct.pack("!BBH", _ECHO, 0, ~(total + (total >> 16)) & 0xFFFF) + rest)
        while True:
            packet = await loop.sock_recv(sock, 256)
            reply = packet[(packet[0] & 15) * 4 :] if sock.type == socket.SOCK_RAW else packet
            if reply[0] == _ECHO_REPLY and reply[8:16] == mark:
                return "open"


def echo_socket() -> socket.socket:
    """Return a raw socket or, without root, the kernel's ICMP socket, which not every user may open."""
    with suppress(PermissionError):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


def pings() -> bool:
    """Whether this process may send echo requests."""
    try:
        echo_socket().close()
    except PermissionError:
        return False
    return True


async def page(ask: dict[str, Any]) -> dict[str, Any]:
    """Fetch a path of a host name; with `sni`, use TLS and verify the certificate against that name."""
    return await asyncio.to_thread(_page, ask)


def _page(ask: dict[str, Any]) -> dict[str, Any]:
    raw = socket.create_connection((ask["address"], ask["port"]), timeout=TIMEOUT)
    with raw:
        raw.settimeout(2 * TIMEOUT)
        context = ssl.create_default_context(cadata=ask["authorities"] or None) if ask["sni"] else None
        connection = http.client.HTTPConnection(ask["host"])
        connection.sock = context.wrap_socket(raw, server_hostname=ask["sni"]) if context else raw
        try:
            connection.request("GET", ask["path"], headers={"Host": ask["host"]})
            answer = connection.getresponse()
            found = re.search(r"<title>(.*?)</title>", answer.read(65536).decode(errors="replace"), re.DOTALL)
        finally:
            connection.close()
    return {
        "status": answer.status,
        "title": html.unescape(found[1]).strip() if found else "",
        "location": answer.headers.get("Location", ""),
    }


async def name(ask: dict[str, Any]) -> str:
    """Ask a name server for a name's IPv4 address; return `open` if it, or one that it asks, knows about it.

    That there is no such name is knowledge as well. A server failure (RFC 1035) is what an engine answers
    that asks no other server.
    """
    labels = b"".join(bytes((len(label),)) + label.encode() for label in ask["host"].split("."))
    mark = os.urandom(2)
    query = mark + struct.pack("!5H", _RECURSE, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((ask["address"], ask["port"]))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, query)
        while (answer := await loop.sock_recv(sock, 512))[:2] != mark:
            pass
    return "open" if answer[3] & 15 != _SERVER_FAILURE else "server failure"


async def scan(ask: dict[str, Any]) -> list[Any]:
    """Return which of all TCP ports accept a connection, and how many were asked in time."""
    return await asyncio.to_thread(_scan, ask["address"])


def _scan(address: str) -> list[Any]:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _SCANNED_AT_ONCE if files == resource.RLIM_INFINITY else min(files, _SCANNED_AT_ONCE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    found, first, limit = [], 1, time.monotonic() + _LIMITS["scan"] - 2
    while first <= _LAST_PORT and time.monotonic() < limit:
        last = min(first + files - _SPARE_FILES, _LAST_PORT + 1)
        found += _accepting(address, range(first, last))
        first = last
    return [found, first - 1]


def _accepting(address: str, ports: range) -> list[int]:
    """Return the ports that accept a connection within a second."""
    found = []
    with ExitStack() as undo:
        poll, asked = undo.enter_context(select.epoll()), {}
        for port in ports:
            sock = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.setblocking(False)
            if sock.connect_ex((address, port)) in {0, errno.EINPROGRESS}:
                asked[sock.fileno()] = port
                poll.register(sock, select.EPOLLOUT | select.EPOLLONESHOT)
        limit = time.monotonic() + 1
        while asked and (left := limit - time.monotonic()) > 0:
            for file, event in poll.poll(left):
                port = asked.pop(file)
                found += [] if event & (select.EPOLLERR | select.EPOLLHUP) else [port]
    return found


async def sockets(ask: dict[str, Any]) -> list[list[Any]]:
    """Return port, process, and the ends in the prefixes `host` to which a connection to the port leads on.

    The ports are those of this machine's sockets that are bound to other addresses than loopback.
    """
    return await asyncio.to_thread(_sockets, [*map(IPv4Network, ask["host"].split())])


def _sockets(prefixes: list[IPv4Network]) -> list[list[Any]]:
    bound = {
        (port, protocol): (address, inode)
        for protocol, listening in (("tcp", _LISTENING), ("udp", _UNCONNECTED))
        for (address, port), (_, other), state, inode in _rows(protocol)
        if state == listening and not other and not ip_address(address).is_loopback
    }
    processes = _processes()
    tcp_ports = {port: address for (port, protocol), (address, _) in bound.items() if protocol == "tcp"}
    leads = _leading(prefixes, tcp_ports)
    return [
        [f"{port}/{protocol}", processes.get(inode, ""), leads.get(port, []) if protocol == "tcp" else []]
        for (port, protocol), (_, inode) in sorted(bound.items())
    ]


def _leading(prefixes: list[IPv4Network], ports: dict[int, str]) -> dict[int, list[str]]:
    """Return where each port that leads on leads to; halves the ports until one is left."""
    found = _onward(prefixes, ports) if ports else []
    if not found or len(ports) == 1:
        return dict.fromkeys(ports, found) if found else {}
    items = [*ports.items()]
    half = len(items) // 2
    return _leading(prefixes, dict(items[:half])) | _leading(prefixes, dict(items[half:]))


def _onward(prefixes: list[IPv4Network], ports: dict[int, str]) -> list[str]:
    """Return where in the prefixes this machine connects to while its ports are being asked for a page."""
    own, before = set(addresses()), {row[:2] for row in _rows("tcp")}
    found: set[str] = set()
    with ExitStack() as undo:
        for port, address in ports.items():
            for host in ("127.0.0.1", "::1") if ip_address(address).is_unspecified else (address,):
                with suppress(OSError):
                    asked = undo.enter_context(socket.create_connection((host, port), 0.3))
                    asked.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    break
        limit = time.monotonic() + 0.7
        while time.monotonic() < limit and not found:
            for local, (address, port), _, _ in _rows("tcp"):
                if (local, (address, port)) in before or local[1] in ports or address in own:
                    continue
                if any(ip_address(address) in prefix for prefix in prefixes):
                    found.add(f"{address}:{port}")
            time.sleep(0.02)
    return sorted(found)


def _rows(protocol: str) -> Iterator[tuple[tuple[str, int], tuple[str, int], str, str]]:
    """Yield local and other end, state and inode of each socket of this network namespace."""
    for table in (protocol, f"{protocol}6"):
        with suppress(FileNotFoundError):
            for line in Path("/proc/self/net", table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, other, state, *rest = line.split()
                yield _end(local), _end(other), state, rest[5]


def _end(text: str) -> tuple[str, int]:
    """Return address and port of a socket's end, as the kernel writes its words in this machine's order."""
    words, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    ip = ip_address(raw)
    return str(getattr(ip, "ipv4_mapped", None) or ip), int(port, 16)


def _processes() -> dict[str, str]:
    """Return the name and id of each process that this user may inspect, by the inodes of its sockets."""
    found: dict[str, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            called = f"{(folder / 'comm').read_text(errors='replace').strip()} (pid {folder.name})"
            for file in (folder / "fd").iterdir():
                with suppress(OSError):
                    target = str(file.readlink())
                    if target.startswith("socket:["):
                        found.setdefault(target[8:-1], called)
    return found


_KINDS = {
    "tcp": tcp, "udp": udp, "icmp": icmp, "page": page, "name": name, "scan": scan, "sockets": sockets,
}  # fmt: skip
_LIMITS = {"page": 4 * TIMEOUT, "scan": 32, "sockets": 32}
"""Seconds for one attempt of these kinds."""


async def attempt(ask: dict[str, Any]) -> Any:
    """Return `open`, `refused`, `silent`, `unreachable`, a page, or the error's message."""
    try:
        return await asyncio.wait_for(_KINDS[ask["kind"]](ask), _LIMITS.get(ask["kind"], TIMEOUT))
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    except (OSError, http.client.HTTPException) as error:
        # An SSLError's errno is an OpenSSL code and not the system's.
        if not isinstance(error, ssl.SSLError) and getattr(error, "errno", 0) in _UNREACHABLE:
            return "unreachable"
        return str(error) or type(error).__name__


async def answered(ask: dict[str, Any], gate: asyncio.Semaphore) -> Any:
    """Return the answer of the last attempt; attempts repeat for `within` seconds or until one succeeds."""
    limit = time.monotonic() + ask["within"]
    while True:
        async with gate:
            answer = await attempt(ask)
        good = answer == "open" or (isinstance(answer, dict) and answer["status"] < http.client.BAD_GATEWAY)
        if good or time.monotonic() >= limit:
            return answer
        await asyncio.sleep(_PAUSE)


def arp_neighbours() -> list[str]:
    """Return neighbours whose hardware address is known, which proves that frames leave and come back."""
    rows = [line.split() for line in Path("/proc/self/net/arp").read_text(encoding="ascii").splitlines()[1:]]
    return [row[0] for row in rows if int(row[2], 16) & 2]


def addresses() -> list[str]:
    """Return the namespace's addresses except loopback."""
    table = Path("/proc/self/net/fib_trie").read_text(encoding="ascii")
    return sorted({ip for ip in re.findall(r"-- (\S+)\s+/32 host LOCAL", table) if not ip.startswith("127.")})


def listeners() -> list[int]:
    """Return the TCP ports that listen on addresses other than loopback."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path("/proc/self/net", table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                address, _, port = local.partition(":")
                if state == "0A" and not _LOOPBACK.fullmatch(address):
                    found.add(int(port, 16))
    return sorted(found)


async def main() -> None:
    """Serve one run of the probe."""
    # In a container the agent is process 1, which is ended only by signals that it handles.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(_LIFE)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    servers = []
    for port in json.loads(await lines.readline() or "{}").get("listen", []):
        with suppress(OSError):
            servers.append(await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", port))  # noqa: S104  # all of the namespace's own addresses
    kept = watching()
    print(json.dumps({"addresses": addresses(), "listeners": listeners(), "pings": pings()}), flush=True)
    if line := await lines.readline():
        said, gate = json.loads(line), asyncio.Semaphore(_AT_ONCE)
        asks = [{**ask, "authorities": ask.get("authorities") or said["authorities"]} for ask in said["ask"]]
        answers = await asyncio.gather(*(answered(ask, gate) for ask in asks))
        by_id = {ask["id"]: answer for ask, answer in zip(asks, answers, strict=True)}
        print(json.dumps({"answers": by_id, "heard": arp_neighbours()}), flush=True)
        if await lines.readline():
            print(json.dumps({"arrived": arrived(kept)}), flush=True)
            await lines.read()


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # other machines may have an older Python
        sys.exit("python3 is older than 3.11")
    asyncio.run(main())
