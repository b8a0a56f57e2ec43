"""Ways through routers with rules: which source addresses a chain of them lets through to a destination."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network

from reachability.address_sets import (
    ALL,
    NONE,
    IPSet,
    contains,
    difference,
    intersection,
    prefix,
    union,
    union_all,
)
from reachability.facts import Gateway, Masquerade, Permit, Segment
from reachability.rules import EVERY_PORT, Chain, Match
from reachability.words import Range


@dataclass(frozen=True, kw_only=True, eq=False)
class Hop:
    """One passage of a router, by two of its interfaces."""

    gateway: Gateway
    inbound: str
    outbound: str

    @cached_property
    def chain(self) -> Chain:
        """The router's rules for packets between the two interfaces."""
        matches = (m for p in self.gateway.permits or () if self._is_about(p) for m in self._matches(p))
        return Chain(matches=tuple(matches), accept=False, policy=f"the rules of {self.gateway.name}")

    def before(self, accepted: IPSet) -> IPSet:
        """Return the source addresses that become `accepted` ones by the router's own translation."""
        before, told = NONE, NONE
        for each in self.gateway.masquerades:
            if each.outbound == self.outbound:
                own = ALL if each.sources is None else union_all(map(prefix, each.sources))
                before = union(before, difference(own, told)) if _passes(each, accepted) else before
                told = union(told, own)
        return union(before, difference(accepted, told))

    def _is_about(self, permit: Permit) -> bool:
        return permit.inbound in (None, self.inbound) and permit.outbound in (None, self.outbound)

    def _matches(self, permit: Permit) -> Iterator[Match]:
        ports = EVERY_PORT
        if permit.port:
            ports = (Range(permit.port.protocol, permit.port.number, permit.port.number),)
        source = _addresses(permit.source, permit.source_without)
        dest = _addresses(permit.destination, permit.destination_without)
        if not permit.forwarded:
            yield Match(True, ports, source, dest, "")
        for each in self.gateway.forwards if permit.forwarded else ():
            there, number = prefix(IPv4Network(each.address)), each.number
            if each.inbound == self.inbound and any(r.holds(each.port.protocol, number) for r in ports):
                own = (Range(each.port.protocol, number, number),)
                yield Match(True, own, source, intersection(there, dest), "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A way from a segment through routers with rules, the first of them first."""

    start: Segment
    hops: tuple[Hop, ...]
    _found: dict[tuple[object, ...], IPSet] = field(default_factory=dict, repr=False)

    @property
    def gateway(self) -> str:
        """Name of the first router."""
        return self.hops[0].gateway.name

    @cached_property
    def routers(self) -> frozenset[str]:
        """Names of the routers."""
        return frozenset(hop.gateway.name for hop in self.hops)

    def regions(self, ports: Range) -> Iterator[Range]:
        """Split a range where a verdict of one of the routers can change."""
        parts = [ports]
        for hop in self.hops:
            parts = [part for each in parts for part in hop.chain.regions(each)]
        return iter(parts)

    def destinations(self, within: IPSet) -> tuple[int, ...]:
        """Return one address of each part of `within` that all routers treat alike."""
        return tuple(sorted({each for hop in self.hops for each in hop.chain.destinations(within)}))

    def sources(self, ports: Range, dest: int, accepted: IPSet) -> IPSet:
        """Return the addresses whose packets to `dest` arrive, with one that is `accepted` there."""
        key = (ports, dest, accepted)
        if key not in self._found:
            left = accepted
            for hop in reversed(self.hops):
                passed = hop.chain.walk(ports.protocol, ports.low, dest).accepted
                left = intersection(hop.before(left), passed)
            self._found[key] = left
        return self._found[key]


def ways(
    segment: Segment, gateways: Iterable[Gateway], joined: Mapping[Segment, Iterable[Segment]]
) -> Iterator[Way]:
    """Yield every way to a segment that passes each router once.

    `joined` are segments without rules between.
    """
    routers = [each for each in gateways if each.permits is not None]
    todo: list[tuple[Segment, tuple[Hop, ...], frozenset[str]]] = [(segment, (), frozenset())]
    while todo:
        here, passed, used = todo.pop()
        near = tuple(joined.get(here, (here,)))
        for router in (each for each in routers if each.name not in used):
            for last in (each for each in near if each in router.segments):
                for first in (each for each in router.segments if each not in near):
                    inner, outer = (_interface(router, each) for each in (first, last))
                    hop = Hop(gateway=router, inbound=inner, outbound=outer)
                    yield Way(start=first, hops=(hop, *passed))
                    todo.append((first, (hop, *passed), used | {router.name}))


def _interface(router: Gateway, segment: Segment) -> str:
    return router.interfaces.get(segment, str(segment))


def _addresses(prefixes: Iterable[IPv4Network] | None, without: Iterable[IPv4Network]) -> IPSet:
    found = ALL if prefixes is None else union_all(map(prefix, prefixes))
    return difference(found, union_all(map(prefix, without)))


def _passes(each: Masquerade, accepted: IPSet) -> bool:
    return accepted != NONE if each.address is None else contains(accepted, int(each.address))
