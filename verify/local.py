"""The driver for a site on this machine: containers and guests are namespaces here.

Owns the survey and the agents. It takes two conventions for granted: the engine's processes are this
machine's, and guest <id> is the network namespace `vm-<id>`. What a reader would get wrong: an agent enters
the network namespace and nothing else, so it needs no file, user or memory of the container.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from topology.model import INTERNET, Port, Protocol, Topology, Zone
from verify import host, namespaces
from verify.driver import Answers, Ask, ProbeError
from verify.expect import Address, Kind, Place, declared_zones, guest
from verify.probe import fence

_AGENT = Path(__file__).with_name("agent.py")
_LONGEST = 45.0
"""Seconds after which every agent is ended, whatever it does."""
_LOCK_SECONDS = 90


@contextmanager
def vantages(topology: Topology, stack: str, proxmox: str, jobs: int) -> Iterator[Local]:
    """Survey the site, make the namespaces that are missing, start an agent everywhere; undo it at the end.

    `proxmox` is the host of the Proxmox API's address. Where that is loopback, guests are namespaces here.
    """
    with ExitStack() as stack_of:
        stack_of.enter_context(_alone())
        containers = host.containers()
        declared = {f"/{topology.physical(service.name)}" for service in topology.containers}
        if not any(one["State"]["Running"] for one in containers if one["Name"] in declared):
            raise ProbeError(f"stack {stack}: down, none of its containers runs; run `make up`")
        survey = _Survey(topology, containers, guests_here=_loopback(proxmox))
        namespaces.remove_all()
        stack_of.callback(namespaces.remove_all)
        taken = [zone.prefix for zone in topology.zones.values()]
        hosts = [interface.network for interface in namespaces.host_addresses()]
        outside = namespaces.documentation([*taken, *hosts])
        stack_of.enter_context(namespaces.unreachable([*taken, outside.supernet(new_prefix=24)]))
        survey.make(outside, _address(proxmox))
        local = Local(topology=topology, survey=survey, jobs=jobs)
        stack_of.callback(local.close)
        local.start()
        yield local


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time on this machine; the others wait."""
    folder = os.open(_AGENT.parent, os.O_RDONLY)
    limit = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > limit:
                    raise ProbeError("verify: another run does not end; look for its process") from None
                time.sleep(0.5)
        yield
    finally:
        os.close(folder)


def _address(host: str) -> IPv4Address | None:
    """The address that a host name is, None for any other."""
    try:
        return IPv4Address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class _Survey:
    """The places there are, and the way into each one's namespace."""

    def __init__(
        self, topology: Topology, containers: Iterable[Mapping[str, Any]], *, guests_here: bool = True
    ) -> None:
        self.topology = topology
        self.left_out: list[str] = []
        self.ways: dict[str, str] = {}
        self.made = namespaces.Made()
        self.outside: list[Place] = []
        self.members: list[Place] = []
        self.hosts: list[Place] = []
        self.networks = {
            topology.physical(zone.network): zone.name
            for zone in topology.zones.values()
            if zone.is_docker or zone.vlan
        }
        self.published = tuple(
            flow.port for flow in topology.flows_to(topology.ingress.name) if flow.source == INTERNET
        )
        by_name = {str(one["Name"]).lstrip("/"): one for one in containers}
        self.extra = self._published_besides(by_name)
        self.containers = [
            self._declared(name, by_name.pop(topology.physical(name), {}))
            for name in (service.name for service in topology.containers)
        ]
        self.containers += [self._strange(name, one) for name, one in by_name.items() if self._addresses(one)]
        self.guests = []
        for service in topology.guests:
            way = Path(f"/run/netns/vm-{service.vm}")
            there = guests_here and way.exists()
            listening = namespaces.listeners(way) if there else ()
            self.guests.append(
                guest(topology, service, there=there, listening=listening, elsewhere=not guests_here)
            )
            if not guests_here:
                self.left_out.append(f"{service.name} as a source: it is a guest of another machine")
            if there:
                self.ways[service.name] = str(way)

    @property
    def places(self) -> list[Place]:
        """Sources and destinations, outside first."""
        return [*self.outside, *self.containers, *self.guests, *self.members, *self.hosts]

    def _declared(self, name: str, one: Mapping[str, Any]) -> Place:
        zones, found = declared_zones(self.topology, name), self._addresses(one)
        self._enter(name, one)
        return Place(
            name=name,
            kind=Kind.CONTAINER,
            addresses=tuple(
                Address(network=network, ip=found.get(network)) for network in sorted({*zones, *found})
            ),
            zones=zones,
            ports=self.topology.services[name].ports,
            runs=name in self.ways,
        )

    def _strange(self, name: str, one: Mapping[str, Any]) -> Place:
        """A container on the site's networks that nobody declared."""
        self._enter(name, one)
        exposed = {*(one["Config"].get("ExposedPorts") or {}), *(one["NetworkSettings"]["Ports"] or {})}
        return Place(
            name=name,
            kind=Kind.CONTAINER,
            addresses=tuple(Address(network=n, ip=ip) for n, ip in self._addresses(one).items()),
            ports=tuple(Port.parse(port) for port in sorted(exposed) if port.endswith(("/tcp", "/udp"))),
        )

    def _enter(self, name: str, one: Mapping[str, Any]) -> None:
        if one and one["State"]["Running"]:
            self.ways[name] = f"/proc/{one['State']['Pid']}/ns/net"

    def _addresses(self, one: Mapping[str, Any]) -> dict[str, IPv4Address]:
        """Addresses of a running container on the site's networks, and of a declared one on any."""
        if not one or not one["State"]["Running"]:
            return {}
        joined = one["NetworkSettings"]["Networks"].items()
        return {
            self.networks[name]: IPv4Address(network["IPAddress"])
            for name, network in joined
            if network["IPAddress"] and name in self.networks
        }

    def _published_besides(self, containers: Mapping[str, Mapping[str, Any]]) -> tuple[Port, ...]:
        """Ports that containers publish and no flow of the internet names."""
        ingress = self.topology.physical(self.topology.ingress.name)
        found = {
            Port.parse(f"{binding['HostPort']}/{inside.partition('/')[2]}")
            for name, one in containers.items()
            for inside, bindings in (one["NetworkSettings"]["Ports"] or {}).items()
            for binding in bindings or []
            if not binding["HostIp"].startswith("127.") and inside.endswith("/tcp")
            if name != ingress or int(binding["HostPort"]) not in {p.number for p in self.published}
        }
        return tuple(sorted(found, key=str))

    def make(self, outside: IPv4Network, proxmox: IPv4Address | None) -> None:
        """Make the namespaces of nobody's: the internet, management, a newcomer on each network."""
        topology = self.topology
        before = namespaces.host_addresses()
        everywhere = [
            *(zone.prefix for zone in topology.zones.values()),
            *(IPv4Network(interface.ip) for interface in before),
        ]
        links = {INTERNET: outside}
        for zone in topology.management:
            if any(interface.ip in zone.prefix for interface in before):
                self.left_out.append(f"{zone.name} as a source: this machine is on {zone.prefix} itself")
            else:
                links[zone.name] = [*zone.prefix.subnets(new_prefix=30)][-1]
        for name, link in links.items():
            front = self.made.beside(name, link, everywhere)
            self._outside(name, link, front if topology.docker.address.is_unspecified else None)
        for zone in topology.zones.values():
            if zone.is_docker or zone.vlan:
                self._newcomer(zone, [*everywhere, outside])
        addresses = tuple(
            Address(network=name, ip=interface.ip) for interface, name in namespaces.host_addresses().items()
        )
        self.hosts.append(
            Place(
                name=topology.docker.name, kind=Kind.HOST, addresses=addresses, ports=self.published,
                extra=self.extra,
            )
        )  # fmt: skip
        self.ways[topology.docker.name] = "/proc/self/ns/net"
        name = topology.proxmox.name
        if proxmox is None or not any(proxmox in zone.prefix for zone in topology.zones.values()):
            self.left_out.append(f"{name}: its API has no address inside the site's zones")
        else:
            where = (Address(network="proxmox", ip=proxmox),)
            self.hosts.append(Place(name=name, kind=Kind.NODE, addresses=where, ports=topology.proxmox.ports))

    def _outside(self, name: str, link: IPv4Network, front: IPv4Address | None) -> None:
        leaving = {flow.port for flow in self.topology.flows_to(INTERNET)} if name == INTERNET else set()
        self.left_out += [
            f"egress to {port}: only TCP is answered here" for port in leaving if not _tcp(port)
        ]
        self.outside.append(
            Place(
                name=name, kind=Kind.OUTSIDE, addresses=(Address(network=name, ip=link[2]),),
                ports=tuple(sorted(filter(_tcp, leaving), key=str)),
                front=front or self.topology.docker.address,
            )
        )  # fmt: skip
        self.ways[name] = f"/run/netns/{namespaces.PREFIX}-{name}"

    def _newcomer(self, zone: Zone, everywhere: Sequence[IPv4Network]) -> None:
        """Put somebody new on a zone's network, at its highest free address."""
        name = f"stranger@{zone.name}"
        link = f"{self.topology.docker.trunk}.{zone.vlan}" if zone.vlan else self.topology.bridge(zone)
        if not Path("/sys/class/net", link).exists():
            self.left_out.append(f"{name}: this machine has no {link}")
            return
        taken = {address.ip for place in (*self.containers, *self.guests) for address in place.addresses}
        last = int(zone.prefix.broadcast_address)
        free = next(ip for ip in map(IPv4Address, range(last - 1, last - 99, -1)) if ip not in taken)
        own = IPv4Interface(f"{free}/{zone.prefix.prefixlen}")
        (self.made.on_leg if zone.vlan else self.made.on_bridge)(zone.name, link, own, everywhere)
        self.members.append(
            Place(
                name=name, kind=Kind.MEMBER, addresses=(Address(network=zone.name, ip=free),),
                zones=frozenset({zone.name}),
            )
        )  # fmt: skip
        self.ways[name] = f"/run/netns/{namespaces.PREFIX}-{zone.name}"


def _tcp(port: Port) -> bool:
    return port.protocol is Protocol.TCP


class _Agent:
    """A process in a namespace; killed, its last answer is the end of its output."""

    def __init__(self, way: str) -> None:
        self.process = subprocess.Popen(
            ["nsenter", f"--net={way}", sys.executable, "-I", str(_AGENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line; a process that has ended says so by its silence."""
        assert self.process.stdin  # noqa: S101  # it was started with a pipe
        with suppress(BrokenPipeError):
            print(json.dumps(message), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Read a line; empty where the process has ended."""
        assert self.process.stdout  # noqa: S101  # it was started with a pipe
        return dict(json.loads(self.process.stdout.readline() or "{}"))

    def close(self) -> None:
        """End it, by its id."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe  # noqa: S101  # it was started with both
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass(kw_only=True)
class Local:
    """Agents in every place of this machine."""

    topology: Topology
    survey: _Survey
    jobs: int
    _agents: dict[str, _Agent] = field(default_factory=dict)
    _other: int = 0

    @property
    def places(self) -> Sequence[Place]:
        """Every place with the addresses that it has now."""
        return self.survey.places

    @property
    def left_out(self) -> Sequence[str]:
        """Places that could not be made, each with its reason."""
        return self.survey.left_out

    @property
    def host_rules(self) -> bool:
        """Whether the project's table on Docker-SRV is as written."""
        return host.rules_in_force(self.topology)

    def start(self) -> None:
        """Start every agent and have it listen on the port that no flow names."""
        named = {port.number for place in self.places for port in (*place.ports, *place.extra)}
        self._other = next(port for port in _free_ports() if port not in named)
        egress = {p.number for place in self.places if place.name == INTERNET for p in place.ports}
        for name, way in self.survey.ways.items():
            self._agents[name] = _Agent(way)
        for name, agent in self._agents.items():
            agent.tell({"listen": [self._other, *(egress if name == INTERNET else ())]})
        with self._deadline():
            for agent in self._agents.values():
                agent.hear()

    def ask(self, questions: Mapping[str, Iterable[Ask]]) -> Mapping[str, Answers]:
        """Ask each place by name, `jobs` of them at a time."""
        wanted = {name: list(asks) for name, asks in questions.items() if name in self._agents}
        own = {address.ip for place in self.places if place.kind is not Kind.CONTAINER
               for address in place.addresses if address.ip and place.kind is not Kind.NODE}  # fmt: skip
        for asks in wanted.values():
            fence(self.topology, own, asks)
        with self._deadline(), ThreadPoolExecutor(self.jobs) as pool:
            try:
                found = dict(zip(wanted, pool.map(self._one, wanted, wanted.values()), strict=True))
            except BaseException:
                self._kill()
                raise
        return {name: answers for name, answers in found.items() if answers}

    def _one(self, name: str, asks: list[Ask]) -> Answers | None:
        agent = self._agents[name]
        agent.tell(
            {"ask": [asdict(a) | {"address": str(a.address), "port": a.port or self._other} for a in asks]}
        )
        said = agent.hear()
        return Answers(by_id=said["answers"], heard=said["heard"]) if said else None

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        timer = threading.Timer(_LONGEST, self._kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        for agent in self._agents.values():
            agent.process.kill()

    def close(self) -> None:
        """End every agent."""
        for agent in self._agents.values():
            agent.close()


def _free_ports() -> Iterator[int]:
    """Ports that nobody uses on this machine now."""
    for _ in range(99):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            yield int(sock.getsockname()[1])
