"""Makes and removes the run's network namespaces and routes.

Namespaces are named `verify-*` and links `verify<n>`; routes have a metric of their own. A run starts by
removing the leftovers of a killed run: routes of this metric, and what a file in `MARKS` names. Others'
namespaces and links of such names stay.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from verify.driver import ProbeError

METRIC = 4_278_255_361
"""Near the kernel's highest, so that every other route wins; only the run's routes have it."""
PREFIX = "verify"
MARKS = Path("/run/homelab-network-verify")
"""Has an empty file for each namespace and link of the run, written before it is made; gone after a boot."""
_NAMESPACES = Path("/run/netns")
_LINKS = Path("/sys/class/net")
_SECONDS = 20
_DOCUMENTATION = ("198.51.100.0/30", "203.0.113.0/30", "192.0.2.0/30")


def run(*words: str, given: str = "") -> str:
    """Return a program's output for the input `given`; raises ProbeError with the program's message."""
    try:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ProbeError(f"{words[0]}: no such program; install it") from None
    except subprocess.TimeoutExpired:
        raise ProbeError(f"{' '.join(words)}: no end after {_SECONDS} s; run it again") from None
    if done.returncode:
        raise ProbeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}; run it again")
    return done.stdout


def host_addresses() -> dict[IPv4Interface, str]:
    """Return this machine's addresses except loopback, each with its interface."""
    links = json.loads(run("ip", "-json", "-4", "address"))
    return {
        IPv4Interface(f"{info['local']}/{info['prefixlen']}"): str(link["ifname"])
        for link in links
        for info in link["addr_info"]
        if link["ifname"] != "lo"
    }


def ipv6_addresses() -> list[tuple[str, str]]:
    """Return this machine's IPv6 addresses beyond their links, each with its interface."""
    links = json.loads(run("ip", "-json", "-6", "address", "show", "scope", "global"))
    # iproute2 6.1 lists an interface without such addresses as `{}`, or with one `{}`.
    found = [(info, link) for link in links for info in link.get("addr_info", ()) if info]
    return [(info["local"], link["ifname"]) for info, link in found]


def documentation(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return a documentation prefix (RFC 5737) for the internet side that is not in use here."""
    used = list(taken)
    for prefix in map(IPv4Network, _DOCUMENTATION):
        if not any(prefix.overlaps(other) for other in used):
            return prefix
    raise ProbeError("internet side: all documentation prefixes are in use here; free one")


@contextmanager
def unreachable(prefixes: Iterable[IPv4Network]) -> Iterator[None]:
    """Reject packets to a missing network here, so that they do not leave by the default route."""
    wanted = [str(prefix) for prefix in prefixes]
    try:
        for prefix in wanted:
            run("ip", "route", "replace", "unreachable", prefix, "metric", str(METRIC))
        yield
    finally:
        remove_routes()


def remove_routes() -> None:
    """Remove every route with the run's metric."""
    for route in json.loads(run("ip", "-json", "route", "show", "type", "unreachable") or "[]"):
        if route.get("metric") == METRIC:
            run("ip", "route", "del", "unreachable", route["dst"], "metric", str(METRIC))


def remove_all() -> None:
    """Remove a run's namespaces, links and routes."""
    for mark in sorted(MARKS.glob("*")):
        if (_NAMESPACES / mark.name).exists():
            # A namespace outlives its name while a connection in it is closing, and its card still answers.
            _without_failing("ip", "-n", mark.name, "link", "del", "eth0")
            run("ip", "netns", "del", mark.name)
        if (_LINKS / mark.name).exists():
            _without_failing("ip", "link", "del", mark.name)
        mark.unlink()
    if MARKS.is_dir():
        MARKS.rmdir()
    remove_routes()


def _mark(name: str) -> None:
    """Record a namespace or a link as the run's own, before it is made."""
    MARKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    (MARKS / name).touch()


def _namespace(name: str) -> str:
    """Make a namespace and return its name; raises ProbeError where one of that name is there."""
    own = f"{PREFIX}-{name}"
    if (_NAMESPACES / own).exists():
        raise ProbeError(f"namespace {own}: there already, and not the probe's; remove it, or rename it")
    _mark(own)
    run("ip", "netns", "add", own)
    return own


def _without_failing(*words: str) -> None:
    """Run a command on what may be gone already."""
    subprocess.run(words, capture_output=True, timeout=_SECONDS, check=False)


class Made:
    """Makes namespaces; the caller removes them with `remove_all`."""

    def __init__(self) -> None:
        self._count = 0

    def beside(self, name: str, link: IPv4Network, to: Iterable[IPv4Network]) -> IPv4Address:
        """Make a neighbour of this machine on its own link; returns this machine's address there."""
        near, far = link[1], link[2]
        port = self._pair(name)
        run("ip", "address", "add", f"{near}/{link.prefixlen}", "dev", port)
        self._up(name, IPv4Interface(f"{far}/{link.prefixlen}"), near, to)
        return near

    def on_bridge(self, name: str, bridge: str, own: IPv4Interface, to: Iterable[IPv4Network]) -> None:
        """Make a new member of a bridge."""
        run("ip", "link", "set", self._pair(name), "master", bridge)
        self._up(name, own, own.network[1], to)

    def on_leg(self, name: str, leg: str, own: IPv4Interface, to: Iterable[IPv4Network]) -> None:
        """Make a new member of the VLAN behind an interface of this machine."""
        inside = ["name", "eth0", "netns", _namespace(name)]
        run("ip", "link", "add", "link", leg, *inside, "type", "macvlan", "mode", "bridge")
        self._up(name, own, own.network[1], to)

    def _pair(self, name: str) -> str:
        namespace, port = _namespace(name), self._port()
        _mark(port)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "link", "set", port, "addrgenmode", "none", "up")
        return port

    def _port(self) -> str:
        """Return a name that no link has."""
        while (_LINKS / f"{PREFIX}{self._count}").exists():
            self._count += 1
        return f"{PREFIX}{self._count}"

    def _up(
        self, name: str, own: IPv4Interface, gateway: IPv4Address, prefixes: Iterable[IPv4Network]
    ) -> None:
        inside = ("ip", "-n", f"{PREFIX}-{name}")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "set", "eth0", "addrgenmode", "none", "up")
        run(*inside, "address", "add", str(own), "dev", "eth0")
        for prefix in prefixes:
            if prefix != own.network:
                run(*inside, "route", "replace", str(prefix), "via", str(gateway))
