"""What Docker-SRV shows of itself beside its published ports: open ports, relays, addresses among guests.

From outside all of its TCP ports are asked, and the common UDP ones. On the host itself the probe learns
whose each port is, and asks each for a page, to see whether that makes the host connect into the site: what
a program passes on by hand meets no rule between containers. A relay that keeps its connections, or waits
for another protocol's first words, is not seen to do so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from topology.model import Port, Protocol, Role, Topology
from verify.driver import Answers, Ask
from verify.expect import Endpoint, EndpointKind, Expected
from verify.verdicts import NOT_THERE, OPEN, ProbeFinding, Verdict, undeclared

COMMON_UDP = (53, 69, 111, 123, 137, 161, 500, 514, 623, 1194, 1900, 4500, 5353, 5355, 51820)
"""Name servers, TFTP, RPC, clocks, NetBIOS, SNMP, IPsec, syslog, IPMI, VPNs, SSDP, mDNS, LLMNR, WireGuard."""
_EVERY = 65535


def asks(topology: Topology, endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, Ask]]:
    """Yield each question with the name of the endpoint that it goes to."""
    # Docker's proxy leads to edge, where ports are published.
    inner = (z for z in topology.zones.values() if z.has_guests or (z.is_docker and z.role is not Role.EDGE))
    prefixes = " ".join(str(zone.prefix) for zone in inner)
    for endpoint in endpoints:
        if at := _asked_at(endpoint):
            yield endpoint.name, Ask(id="scan", kind="scan", address=at)
            for number in COMMON_UDP:
                yield endpoint.name, Ask(id=f"scan:{number}", kind="udp", address=at, port=number)
        elif endpoint.kind is EndpointKind.HOST and (own := _own(endpoint)):
            yield endpoint.name, Ask(id="sockets", kind="sockets", address=own, host=prefixes)


def judge(
    topology: Topology, endpoints: Iterable[Endpoint], answers: Mapping[str, Answers], other: int
) -> list[ProbeFinding]:
    """Return a finding for each scan, relay and needless address; `other` is the probe's own port."""
    everyone = tuple(endpoints)
    found: list[ProbeFinding] = []
    for host, sockets, scans in _read(topology, everyone, answers, other):
        found += [*_relays(host, sockets, everyone), *_added(topology, host)]
        for source, scan in scans if topology.docker.closed else ():
            found += _from_outside(source, host, scan, sockets)
    return found


def notes(
    topology: Topology, endpoints: Iterable[Endpoint], answers: Mapping[str, Answers], other: int
) -> Iterator[str]:
    """Yield what an open host answers from each source outside on ports that nothing declares."""
    for host, sockets, scans in _read(topology, tuple(endpoints), answers, other):
        if host.name not in answers:
            yield f"{host.name}: no agent runs there, so whether it relays into the site was not asked"
        for source, scan in () if topology.docker.closed else scans:
            listed = ", ".join(f"{port} ({_called(port, sockets)})" for port in scan.ports)
            fault = f" ({scan.fault})" if scan.fault else ""
            yield f"{host.name} is open: {source.name} reaches {listed or 'no other port'}{fault}"


@dataclass(frozen=True, kw_only=True)
class _Socket:
    """A program of the host that listens, and the addresses in the site to which it leads on."""

    process: str
    leads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """The open ports that no cell asks about, and a fault where not all were asked."""

    ports: tuple[Port, ...]
    fault: str

    @classmethod
    def of(cls, answers: Answers | None, host: Endpoint, other: int) -> _Scan:
        """Read a source's answers."""
        given = answers.by_id if answers else {}
        answer = given.get("scan", NOT_THERE)
        if not isinstance(answer, list):
            return cls(ports=(), fault=f"its ports were not asked: {answer}")
        numbers, last = answer
        known = {*host.ports, *host.extra, Port(number=other)}
        tcp = (Port(number=int(number)) for number in numbers)
        udp = (
            Port(number=number, protocol=Protocol.UDP)
            for number in COMMON_UDP
            if given.get(f"scan:{number}") == OPEN
        )
        ports = tuple(port for port in (*tcp, *udp) if port not in known)
        return cls(ports=ports, fault="" if last == _EVERY else f"only ports to {last} were asked in time")


def _read(
    topology: Topology, everyone: Collection[Endpoint], answers: Mapping[str, Answers], other: int
) -> Iterator[tuple[Endpoint, dict[Port, _Socket], list[tuple[Endpoint, _Scan]]]]:
    """Yield each host with its sockets, and with what each source outside found open there."""
    for host in (each for each in everyone if each.kind is EndpointKind.HOST):
        outside = (each for each in everyone if _asked_at(each))
        scans = [(each, _Scan.of(answers.get(each.name), host, other)) for each in outside]
        yield host, _sockets(topology, answers.get(host.name), host, other), scans


def _from_outside(
    source: Endpoint, host: Endpoint, scan: _Scan, sockets: Mapping[Port, _Socket]
) -> Iterator[ProbeFinding]:
    """Yield a finding on the whole scan of a closed host, and one for each open port."""
    fault = source.fault or scan.fault
    yield _finding(
        source, host,
        what=" other ports",
        expected="none open",
        got=f"{len(scan.ports)} open",
        verdict=Verdict.DISAGREES if scan.ports else Verdict.INCONCLUSIVE if fault else Verdict.AGREES,
        cause="its own rules let in more than is declared" if scan.ports else fault,
    )  # fmt: skip
    for port in scan.ports:
        yield _finding(
            source, host,
            what=str(port),
            expected=Expected.DENIED,
            got=Expected.ALLOWED,
            verdict=Verdict.DISAGREES,
            cause=f"{_called(port, sockets)} answers there",
        )  # fmt: skip


def _called(port: Port, sockets: Mapping[Port, _Socket]) -> str:
    return (port in sockets and sockets[port].process) or "a program that can't be seen from here"


def _relays(
    host: Endpoint, sockets: Mapping[Port, _Socket], everyone: Iterable[Endpoint]
) -> Iterator[ProbeFinding]:
    names = {str(address.ip): each.name for each in everyone for address in each.addresses if address.ip}
    for port, socket in sockets.items():
        for end in socket.leads:
            ip, _, number = end.partition(":")
            what = f"passes {port} on to {names.get(ip, ip)}:{number}/tcp"
            cause = f"{socket.process or 'a program on the host'} relays past the rules between containers"
            yield undeclared(host, what, cause)


def _added(topology: Topology, host: Endpoint) -> Iterator[ProbeFinding]:
    """Yield addresses of the host on networks where it needs none: VLANs of guests, and internal bridges."""
    cards = [(zone, topology.parent(zone)) for zone in topology.vlans if zone not in topology.lans]
    inner = (zone for zone in topology.zones.values() if zone.is_docker and zone.internal)
    for zone, card in (*cards, *((each, topology.bridge(each)) for each in inner)):
        for address in host.addresses:
            if address.ip and (address.ip in zone.prefix or address.network == card):
                cause = f"it was added by hand; {card} has none"
                yield undeclared(host, f"has {address.ip} on {zone.name}", cause)


def _sockets(topology: Topology, answers: Answers | None, host: Endpoint, other: int) -> dict[Port, _Socket]:
    """Return the host's sockets by port, without published ports and the probe's own."""
    rows = answers.by_id.get("sockets") if answers else None
    published = {*topology.published, *host.extra, Port(number=other)}
    return {
        port: _Socket(process=str(process), leads=tuple(map(str, leads)))
        for text, process, leads in (rows if isinstance(rows, list) else ())
        if (port := Port.parse(text)) not in published
    }


def _asked_at(endpoint: Endpoint) -> IPv4Address | None:
    """Return the address at which an outside endpoint reaches Docker-SRV."""
    return endpoint.docker_host_address if endpoint.kind is EndpointKind.OUTSIDE else None


def _own(endpoint: Endpoint) -> IPv4Address | None:
    return next((address.ip for address in endpoint.addresses if address.ip), None)


def _finding(source: Endpoint, host: Endpoint, *, what: str, **more: Any) -> ProbeFinding:
    end = f"{source.name} -> {host.name}:{what}"
    return ProbeFinding(source=source.name, destination=host.name, what=end, where="", **more)
