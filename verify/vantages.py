"""The driver of a run: it finds the endpoints, starts an agent at each and removes what it made.

Only one run takes place at a time. Root is needed only to enter namespaces of this machine; with vantages for
every endpoint, any user can run it on a workstation.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from topology.model import INTERNET, Topology
from verify import host, learned, namespaces, transports
from verify.agents import Agents
from verify.discovery import Discovery, address
from verify.driver import Answers, Ask, ProbeError
from verify.expect import Endpoint, EndpointKind
from verify.probe import fence

_LOCK_SECONDS = 90
_NOT_EPHEMERAL = range(61000, 65536)
"""Above Linux's ports for outgoing connections (ip-sysctl: ip_local_port_range).

An agent can't listen on a port that a connection of its endpoint has, or had within the last minute.
"""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@contextmanager
def vantages(topology: Topology, stack: str, proxmox: str, jobs: int) -> Iterator[Vantages]:
    """Discover the endpoints, make missing ones and start an agent in each; undo everything at the end.

    `proxmox` is the host in the Proxmox API's URL. If it is loopback, guests and node are namespaces here.
    """
    elsewhere, image = host.elsewhere() or topology.docker_host is None, topology.probe_image
    inside = not elsewhere and not os.geteuid()
    if topology.docker_host and not inside and not image:
        raise ProbeError(
            "DOCKER_HOST: Docker-SRV is another machine; declare vantages.containers, or run verify there"
            if elsewhere
            else f"verify: needs root, it enters network namespaces; run `sudo make verify STACK={stack}`"
        )
    with ExitStack() as undo:
        undo.enter_context(_alone())
        if image:
            host.need_image(image)
            transports.remove_containers()
            undo.callback(transports.remove_containers)
        containers = host.containers() if topology.docker_host else []
        declared = {f"/{topology.physical(service.name)}" for service in topology.containers}
        running = [one for one in containers if one["Name"] in declared and one["State"]["Running"]]
        if declared and not running:
            raise ProbeError(f"stack {stack}: down, none of its containers runs; run `make up STACK={stack}`")
        known_hosts = Path(undo.enter_context(tempfile.TemporaryDirectory()), "known_hosts")
        known_hosts.write_text(transports.known_hosts(topology.ssh_vantages.values()), encoding="utf-8")
        guests_here = not host.elsewhere() and not os.geteuid() and loopback(proxmox)
        discovery = Discovery(
            topology, known_hosts, inside=inside, elsewhere=elsewhere, guests_here=guests_here
        )
        discovery.discover(containers)
        if not inside and not discovery.transports:
            raise ProbeError("verify: no endpoint to ask from; declare vantages, or run it in management")
        if inside:
            undo.enter_context(learned.paused(topology))
            namespaces.remove_all()
            undo.callback(namespaces.remove_all)
            taken = [zone.prefix for zone in topology.zones.values()]
            hosts = [interface.network for interface in namespaces.host_addresses()]
            outside = namespaces.documentation([*taken, *hosts])
            undo.enter_context(namespaces.unreachable([*taken, outside.supernet(new_prefix=24)]))
            discovery.make(outside)
        if image:
            discovery.run(image, host.networks())
        agents = Agents(transports=discovery.transports, jobs=jobs)
        undo.callback(agents.close)
        other = next(port for port in _free_ports() if port not in discovery.named)
        leaving = [port.number for port in discovery.leaving]
        facts = agents.start(lambda name: [other, *(leaving if name == INTERNET else ())])
        endpoints = discovery.endpoints(facts, other, address(proxmox))
        agents.faults |= discovery.faults
        yield Vantages(
            topology=topology, discovery=discovery, agents=agents, discovered=endpoints, other=other
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Allow one run at a time on this machine; other runs wait."""
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
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


def loopback(name: str) -> bool:
    """Whether a host name is `localhost` or a loopback address."""
    ip = address(name)
    return name == "localhost" or (ip is not None and ip.is_loopback)


@dataclass(frozen=True, kw_only=True)
class Vantages:
    """Agents at every endpoint, each listening on port `other`."""

    topology: Topology
    discovery: Discovery
    agents: Agents
    discovered: Sequence[Endpoint]
    other: int

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Every endpoint with its current addresses, and its fault if it could not be asked."""
        return [
            replace(endpoint, fault=self.agents.faults.get(endpoint.name, "")) for endpoint in self.discovered
        ]

    @property
    def left_out(self) -> Sequence[str]:
        """What the run leaves out, each with its reason."""
        return self.discovery.left_out

    @property
    def changed_rules(self) -> Sequence[str] | None:
        """Which of Docker-SRV's own rules are missing or changed; None if they can't be read."""
        return [what for _, what in host.changed(self.topology)] if self.discovery.inside else None

    def ask(self, questions: Mapping[str, Iterable[Ask]]) -> Mapping[str, Answers]:
        """Return the answers of each endpoint, by name; several endpoints are asked at a time."""
        wanted = {name: list(asks) for name, asks in questions.items()}
        own = {
            address.ip
            for endpoint in self.discovered
            if endpoint.kind not in {EndpointKind.CONTAINER, EndpointKind.NODE}
            for address in endpoint.addresses
            if address.ip
        }
        own |= {endpoint.docker_host_address for endpoint in self.discovered if endpoint.docker_host_address}
        for asks in wanted.values():
            fence(self.topology, own, asks)
        trusted = _authorities()
        return self.agents.ask(
            {
                name: {
                    "ask": [
                        asdict(ask) | {"address": str(ask.address), "port": ask.port or self.other}
                        for ask in asks
                    ],
                    "authorities": trusted if any(ask.sni for ask in asks) else "",
                }
                for name, asks in wanted.items()
            }
        )


def _authorities() -> str:
    """Return the extra CA certificates (SSL_CERT_FILE) to send to agents, whose machines lack the file."""
    with suppress(KeyError, OSError):
        text = Path(os.environ["SSL_CERT_FILE"]).read_text(encoding="utf-8", errors="replace")
        return "".join(_CERTIFICATE.findall(text))
    return ""


def _free_ports() -> Iterator[int]:
    """Yield ports that are free on this machine now, and that no endpoint gives to its own connections."""
    for port in random.sample(_NOT_EPHEMERAL, 99):
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            yield port
