"""Ports of a destination that are evaluated together, and the host's ports that lead to them."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import NamedTuple, Self

from reachability.address_sets import ALL, IPSet, prefix, union_all
from reachability.facts import ContainerFact, Host, Pass, Published
from reachability.rules import EVERY_PORT
from reachability.words import Range
from topology.model import Port, Protocol

LAST_PORT = 65535


class PortGroup(NamedTuple):
    """Ports of a destination that are evaluated as one: a declared port, or all others (`port` None)."""

    name: str
    port: Port | None
    ranges: tuple[Range, ...]

    @classmethod
    def of(cls, name: str, port: Port) -> Self:
        """Return the group of one port."""
        return cls(name, port, (Range(port.protocol, port.number, port.number),))

    def holds(self, port: Port) -> bool:
        """Whether a port is in the group."""
        return any(p is port.protocol and low <= port.number <= high for p, low, high in self.ranges)


class PublishedPort(NamedTuple):
    """A published port: the host's `ranges` that lead to the ports in question."""

    published: Published
    ranges: tuple[Range, ...]
    origin: str

    @property
    def admitted(self) -> IPSet:
        """Addresses from which the host lets packets through."""
        prefixes = self.published.admitted
        return ALL if prefixes is None else union_all(map(prefix, prefixes))

    def hop(self, host: str) -> str:
        """Return the port's name in a trace."""
        return f"{host}:{self.published.external or 'any'}/{self.published.protocol}"


def entered(host: Host, group: PortGroup) -> Iterator[tuple[PortGroup, IPSet | None]]:
    """Yield the parts of a group that a host's own rules let in, and from which addresses; None: from all."""
    if host.entries is None:
        yield group, None
    for entry in host.entries or ():
        if group.holds(entry.port):
            port = Range(entry.port.protocol, entry.port.number, entry.port.number)
            yield group._replace(ranges=(port,)), prefix(entry.source)


def passed(passes: Iterable[Pass] | None, group: PortGroup) -> Iterator[tuple[PortGroup, IPSet | None]]:
    """Yield the parts of a group that a host lets pass to a leg, and from which address; None: from all."""
    if passes is None:
        yield group, None
    for each in passes or ():
        if group.holds(each.port):
            port = Range(each.port.protocol, each.port.number, each.port.number)
            yield group._replace(ranges=(port,)), prefix(IPv4Network(each.source))


def published_ports(container: ContainerFact) -> Iterator[Published]:
    """Yield a container's published ports; `publish_all` publishes every port."""
    yield from container.published
    if container.publish_all:
        for protocol in Protocol:
            yield Published(internal=1, external=None, length=LAST_PORT, protocol=protocol)


def external(published: Published, ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield the host's ports that lead to some of a container's; all ports when the engine picks them."""
    for protocol, low, high in ranges:
        first = max(low, published.internal)
        last = min(high, published.internal + published.length - 1)
        if protocol is not published.protocol or first > last:
            continue
        if published.external is None:
            yield next(ports for ports in EVERY_PORT if ports.protocol is protocol)
        else:
            shift = published.external - published.internal
            yield Range(protocol, first + shift, last + shift)
