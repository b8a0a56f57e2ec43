"""A site that a user made by hand on one engine, and the truth about it: which connections pass."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from tests.parts.users_docker import LAN, docker, page_image

Row = dict[str, Any]
HOST = IPv4Address("192.0.2.1")
CONNECT = """
import concurrent.futures, socket, sys

def answers(word):
    address, port = word.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), timeout=2).close()
        return word
    except OSError:
        return ""

with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(*filter(None, pool.map(answers, sys.argv[1:])))
"""


@dataclass(frozen=True)
class Box:
    """A container: the port that it serves, and the options that it is started with."""

    port: int
    options: tuple[str, ...]
    networks: tuple[str, ...] = ()
    """Further networks that it joins."""


NETWORKS: Mapping[str, tuple[str, ...]] = {
    "app": (),
    "proxy": (),
    "inner": ("--internal",),
    "apart": ("--opt=com.docker.network.bridge.enable_icc=false",),
    "bare": ("--opt=com.docker.network.bridge.enable_ip_masquerade=false",),
    "sealed": ("--internal", "--opt=com.docker.network.bridge.inhibit_ipv4=true"),
}
BOXES: Mapping[str, Box] = {
    "web": Box(80, ("--network=app", "--publish=8080:80"), ("proxy",)),
    "db": Box(5432, ("--network=app", "--publish=5432:5432", "--env=PASSWORD=canary-4711")),
    "cache": Box(6379, ("--network=app", "--expose=6379")),
    "inner-db": Box(3306, ("--network=inner", "--publish=13306:3306")),
    "client": Box(7000, ("--network=inner",)),
    "admin": Box(9000, ("--network=bridge", "--publish=127.0.0.1:9000:9000", "--volume=/run:/run")),
    "old": Box(8000, ("--network=bridge", f"--publish={HOST}:8081:8000")),
    "hosted": Box(9100, ("--network=host", "--expose=9100")),
    "sidecar": Box(9999, ("--network=container:web",)),
    "shy-1": Box(7001, ("--network=apart",)),
    "shy-2": Box(7002, ("--network=apart", "--publish=7002:7002")),
    "masked": Box(7003, ("--network=bare", "--publish=7003:7003")),
    "sealed-1": Box(7004, ("--network=sealed", "--publish=7004:7004")),
    "alone": Box(7005, ("--network=none",)),
}


def boxes() -> dict[str, Box]:
    """Return the containers of this engine, which may have no default bridge."""
    networks = docker("network", "ls", "--format", "{{.Name}}").split()
    return {
        name: box
        for name, box in BOXES.items()
        if "bridge" in networks or "--network=bridge" not in box.options
    }


def make() -> None:
    """Make the networks and start the containers."""
    page_image()
    for name, options in NETWORKS.items():
        docker("network", "create", *options, name)
    for name, box in boxes().items():
        page = ("/page", "page", "--name", name, "--listen", f":{box.port}")
        words = ("--detach", f"--name={name}", "--stop-signal=KILL", *box.options, "my/page:1")
        docker("run", *words, *page)
        for network in box.networks:
            docker("network", "connect", network, name)


def passes() -> set[tuple[str, str, int]]:
    """Return every (source, destination, port) that connects, from each container and from the LAN."""
    there = boxes()
    rows = {row["Name"].lstrip("/"): row for row in json.loads(docker("inspect", *there))}
    networks = json.loads(docker("network", "inspect", *docker("network", "ls", "--quiet").split()))
    gateways = {c["Gateway"] for row in networks for c in row["IPAM"]["Config"] or () if "Gateway" in c}
    doors = {name: dict(_doors(name, rows, {str(HOST), *gateways})) for name in there}
    asked = {address for found in doors.values() for address in found}
    found = set()
    for source in (*there, LAN):
        answers = _connect(source, rows, asked)
        for name, box in there.items():
            found |= {(source, name, port) for address, port in doors[name].items() if address in answers}
            if source in there and _owner(source) == _owner(name):
                own = _connect(source, rows, [f"127.0.0.1:{box.port}"])
                found |= {(source, name, box.port) for _ in own}
    return {each for each in found if each[0] != each[1]}


def _owner(name: str) -> str:
    """Return the name of the container whose network stack this one uses, or `host`."""
    mode = BOXES[name].options[0].removeprefix("--network=")
    return "host" if mode == "host" else mode.removeprefix("container:") if ":" in mode else name


def _doors(name: str, rows: Mapping[str, Row], hosts: set[str]) -> Iterator[tuple[str, int]]:
    """Yield each address and port where a container may answer, with the container's own port."""
    owner = _owner(name)
    legs = [] if owner == "host" else rows[owner]["NetworkSettings"]["Networks"].values()
    port = BOXES[name].port
    for address in hosts if owner == "host" else [leg["IPAddress"] for leg in legs if leg["IPAddress"]]:
        yield f"{address}:{port}", port
    for option in BOXES[name].options:
        if option.startswith("--publish="):
            *_, external, _ = option.removeprefix("--publish=").split(":")
            yield from ((f"{address}:{external}", port) for address in hosts)


def _connect(source: str, rows: Mapping[str, Row], addresses: Iterable[str]) -> set[str]:
    """Return the addresses that a source connects to."""
    inside = ["nsenter", f"--net=/proc/{rows[source]['State']['Pid']}/ns/net"] if source in rows else []
    words = [*(inside or ["ip", "netns", "exec", source]), sys.executable, "-c", CONNECT, *sorted(addresses)]
    return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
