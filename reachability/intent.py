"""Compares intent with reachability: undeclared connections, impossible flows, changes between stacks.

Note: a declared flow from the internet covers every source, but of a destination that is `public`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from reachability.engine import Reachability
from reachability.result import Connection, ConnectionSet, Denied, Diff, EdgeKind
from topology.model import INTERNET, Port, Topology


@dataclass(frozen=True, kw_only=True)
class Intent:
    """The declared `flows`, and what zones and roles permit in addition.

    `routable` services may be reached through a proxy that has a declared flow to them: by the `audience` of
    their port, of names `outside` the site, of which the internet is everyone, and by the site's own with a
    declared flow to the proxy. A source reaches the names in its `wires` on its network without one.
    The internet's flows to `public` destinations, which no ingress is before, are for the internet alone.
    `trusted` sources are not checked, nor what neighbours ask of each other within `observed` networks.
    """

    flows: frozenset[tuple[str, str, Port]]
    routable: frozenset[str] = frozenset()
    audience: Mapping[tuple[str, Port], frozenset[str]] = field(default_factory=dict)
    outside: frozenset[str] = frozenset({INTERNET})
    wires: Mapping[str, frozenset[str]] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    public: frozenset[str] = frozenset()
    observed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, topology: Topology) -> Self:
        """Return the intent of a site.

        A service is routable when the ingress may reach one of its zones, and a service that the ingress
        reaches may join all of them. Hosts are trusted: they control what runs on them.
        """
        zones = topology.zones
        return cls(
            flows=frozenset((flow.source, flow.destination, flow.port) for flow in topology.flows),
            routable=frozenset(
                service.name
                for service in topology.services.values()
                if any(zones[name].traits.routable for name in service.zones)
                and all(zones[name].traits.beside_routable for name in service.zones)
            ),
            audience={(route.service, route.port): route.audience for route in topology.routes}
            | {(each.service, each.port): topology.entries[each.entry] for each in topology.streams},
            outside=frozenset({INTERNET, *(zone.name for zone in topology.outsides)}),
            wires=topology.wires,
            trusted=frozenset(host.name for host in topology.hosts),
            public=frozenset(guest.name for guest in topology.guests),
            observed=frozenset(zone.name for zone in topology.observed),
        )

    @cached_property
    def sources(self) -> dict[tuple[str, Port | None], set[str]]:
        """Declared sources by destination and port."""
        found: defaultdict[tuple[str, Port | None], set[str]] = defaultdict(set)
        for source, destination, port in self.flows:
            found[destination, port].add(source)
        return dict(found)

    @cached_property
    def callers(self) -> Mapping[str, set[str]]:
        """Declared sources by destination."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for source, destination, _ in self.flows:
            found[destination].add(source)
        return found

    def undeclared(self, bundle: ConnectionSet) -> Iterator[str]:
        """Yield the sources of a bundle that no declaration permits."""
        declared = self.sources.get((bundle.destination, bundle.port), set())
        if INTERNET in declared and bundle.destination not in self.public:
            return
        if bundle.how is EdgeKind.NEIGHBOUR and bundle.trace.hops[0] in self.observed:
            return
        proxy = bundle.trace.hops[0] if bundle.how is EdgeKind.PROXIED else None
        audience = frozenset[str]()
        if bundle.port and proxy in declared and bundle.destination in self.routable:
            audience = self.audience.get((bundle.destination, bundle.port), audience)
            audience |= self.callers[proxy] - self.outside
        if INTERNET in audience:
            return
        for source in bundle.sources:
            if source == bundle.destination or source in self.trusted:
                continue
            if source in audience:
                continue
            if bundle.how is EdgeKind.VLAN and bundle.destination in self.wires.get(source, ()):
                continue
            if source not in declared or bundle.how is EdgeKind.PROXIED:
                yield source


def surplus(reachability: Reachability, intent: Intent) -> Iterator[Connection]:
    """Yield every connection that is possible but not declared, once, with the first way found."""
    seen: set[str] = set()
    last: tuple[str, Port | None] | None = None
    for bundle in reachability.connection_sets():
        if last != (bundle.destination, bundle.port):
            last, seen = (bundle.destination, bundle.port), set()
        for source in intent.undeclared(bundle):
            if source not in seen:
                seen.add(source)
                yield bundle.one(source)


def missing(reachability: Reachability, intent: Intent) -> Iterator[Denied]:
    """Yield every declared flow that is not possible; raises UnknownNameError for a name that no fact has."""
    left = {goal: set(sources) for goal, sources in intent.sources.items()}
    for bundle in reachability.connection_sets():
        if wanted := left.get((bundle.destination, bundle.port)):
            few, many = sorted((wanted, bundle.sources), key=len)
            wanted -= {name for name in few if name in many and name != bundle.destination}
    others = (flow for flow in intent.flows if flow[0] in left[flow[1:]])
    for source, destination, port in sorted(others, key=lambda flow: (*flow[:2], str(flow[2]))):
        verdict = reachability.evaluate(source, destination, port)
        if not verdict.allowed:
            yield Denied(source=source, destination=destination, port=port, reasons=verdict.reasons)


def diff(before: Iterable[Connection], after: Iterable[Connection]) -> Diff:
    """Return the connections that are possible only after, and those that were possible only before."""
    old = {flow.key: flow for flow in before}
    new = {flow.key: flow for flow in after}
    return Diff(
        opened=tuple(flow for key, flow in new.items() if key not in old),
        closed=tuple(flow for key, flow in old.items() if key not in new),
    )
