"""Reads this machine's addresses, listeners and rules, if the engine runs here.

Note: without root the rules stay unread, and a missing program is told as unread, too.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final

from survey.docker import RunningDocker
from topology.model import Port, Protocol

_SECONDS: Final = 20
_LISTENS: Final = {"tcp": "0A", "udp": "07"}
"""States of a listening socket in /proc/net."""


@dataclass(frozen=True, kw_only=True)
class RunningMachine:
    """The engine's host. `rules` is what `iptables-save` prints, None where root does not allow it."""

    addresses: Mapping[IPv4Interface, str]
    listeners: tuple[tuple[IPv4Address, Port], ...] = ()
    rules: str | None = None

    @property
    def forwards_by_default(self) -> bool | None:
        """Whether packets that no rule stops are forwarded; None if the rules are unread."""
        return None if self.rules is None else ":FORWARD ACCEPT" in _table(self.rules, "filter")

    @property
    def isolates(self) -> bool | None:
        """Whether the engine's own rules are there; None if the rules are unread."""
        return None if self.rules is None else ":DOCKER " in self.rules

    @property
    def foreign(self) -> Mapping[str, int]:
        """Number of rules that the engine did not make, by chain; they are not judged."""
        found: dict[str, int] = {}
        for line in _table(self.rules or "", "filter").splitlines():
            match = re.match(r"-A (\S+) (.*)", line)
            if match and (match[1] == "DOCKER-USER" or "DOCKER" not in line) and not _engines_own(line):
                found[match[1]] = found.get(match[1], 0) + 1
        return found


def read() -> RunningMachine | None:
    """Return this machine; None if its addresses can't be read."""
    said = _run("ip", "-json", "-4", "address")
    if said is None:
        return None
    addresses = {
        IPv4Interface(f"{info['local']}/{info['prefixlen']}"): str(link["ifname"])
        for link in json.loads(said)
        for info in link.get("addr_info", ())
        if info.get("scope") == "global"
    }
    files = {name: Path(f"/proc/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6")}
    texts = {name: file.read_text() for name, file in files.items() if file.exists()}
    return RunningMachine(
        addresses=addresses,
        listeners=tuple(
            dict.fromkeys(each for name, text in texts.items() for each in listeners(name, text))
        ),
        rules=_run("iptables-save"),
    )


def read_if_here(docker: RunningDocker) -> RunningMachine | None:
    """Return this machine if an engine's bridges are on it; a socket may also lead to a virtual machine."""
    found = read()
    gateways = {config.gateway for network in docker.networks for config in network.ipam_configs}
    bridged = any(network.driver == "bridge" for network in docker.networks)
    here = found is not None and any(str(address.ip) in gateways for address in found.addresses)
    return found if here or not bridged else None


def listeners(name: str, text: str) -> Iterator[tuple[IPv4Address, Port]]:
    """Yield the IPv4 listeners in a file such as /proc/net/tcp; an IPv6 socket for all counts, too."""
    protocol = name.removesuffix("6")
    for line in text.splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        where, _, number = local.partition(":")
        address = _address(where)
        if state == _LISTENS[protocol] and address and int(number, 16):
            yield address, Port(number=int(number, 16), protocol=Protocol(protocol))


def _address(text: str) -> IPv4Address | None:
    """Return an address of /proc/net, whose words are in the machine's byte order; None for IPv6 ones."""
    words = [struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8)]
    packed = b"".join(words)
    if len(packed) == 4:  # noqa: PLR2004  # bytes of an IPv4 address
        return IPv4Address(packed)
    if not any(packed):
        return IPv4Address(0)
    mapped = socket.inet_ntop(socket.AF_INET6, packed)
    return IPv4Address(mapped.removeprefix("::ffff:")) if mapped.startswith("::ffff:") else None


def links(
    machine: RunningMachine, ours: Iterable[str], gateways: Iterable[str]
) -> Mapping[str, list[IPv4Interface]]:
    """Return the machine's addresses by interface, without those of the engine's own bridges."""
    known, taken = set(ours) | {"docker0", "docker_gwbridge", "lo"}, set(gateways)
    found: dict[str, list[IPv4Interface]] = {}
    for address, name in machine.addresses.items():
        if name not in known and str(address.ip) not in taken:
            found.setdefault(name, []).append(address)
    return found


def _table(rules: str, name: str) -> str:
    return rules.partition(f"*{name}\n")[2].partition("COMMIT")[0]


def _engines_own(line: str) -> bool:
    """Whether a rule of a built-in chain has the form of Docker's own; older engines put them in FORWARD."""
    return bool(re.match(r"-A (FORWARD (-i \S+ ! )?-[io] (docker0|br-)|DOCKER-USER -j RETURN)", line))


def _run(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None
