"""Computes which connections are possible, on which port and by which path, as a pure function of the facts.

Covers Docker networks, network stacks, published ports, the host behind its networks, egress behind the
host's address, VLANs and gateways (`reachability.links`), Proxmox's rules (`reachability.rules`) and
Traefik's routers (`reachability.proxy`). Model and limits: docs/reachability.md.

Note: a flow is one connection. Connections that a compromised service could open in turn are not part of
the flow; only proxies, which forward by design, are followed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Address
from itertools import chain

from reachability.address_sets import (
    ALL,
    IPSet,
    contains,
    difference,
    intersection,
    prefix,
    union_all,
)
from reachability.facts import (
    ANY_ADDRESS,
    ContainerFact,
    Exit,
    Facts,
    GuestFact,
    Host,
    Leg,
    Network,
    Outside,
    Published,
    Vlan,
)
from reachability.forwarding import Forwarding
from reachability.links import Interface, Links
from reachability.port_groups import (
    LAST_PORT,
    PortGroup,
    PublishedPort,
    entered,
    external,
    passed,
    published_ports,
)
from reachability.result import Connection, ConnectionSet, Decision, EdgeKind, Trace, UnknownNameError
from reachability.rules import STANDING
from reachability.stacks import Stacks, bridges, key_of
from reachability.words import Range
from topology.fault import nearest
from topology.model import Port, Protocol

_EVERY: IPSet = ((1, LAST_PORT),)


class Reachability:
    """Answers questions about one set of facts. Intermediate results are computed on first use and cached."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._stacks = Stacks(facts)
        self._forwarding = Forwarding(facts, self._stacks)
        self._entered: dict[tuple[str, Port], Mapping[str, None]] = {}

    # ---------------------------------------------------------------------------------------- questions

    def connection_sets(self) -> Iterator[ConnectionSet]:
        """Return every possible connection in bundles; their number is linear in the number of facts."""
        return iter(self._connection_sets)

    def flows(self) -> Iterator[Connection]:
        """Yield each possible connection of a source, destination and port once, with the first way found."""
        seen: set[str] = set()
        last: tuple[str, Port | None] | None = None
        for bundle in self.connection_sets():
            if last != (bundle.destination, bundle.port):
                last, seen = (bundle.destination, bundle.port), {bundle.destination}
            for source in bundle.sources:
                if source not in seen:
                    seen.add(source)
                    yield bundle.one(source)

    def evaluate(
        self, source: str, destination: str, port: Port | None, *, directly: bool = False
    ) -> Decision:
        """Evaluate one connection; `port` None asks for any port that the destination does not declare.

        With `directly` only packets of the source count, not requests that a proxy passes on. Raises
        UnknownNameError for a name that no fact has.
        """
        found = self._find(source, destination, port, directly=directly)
        if found is None:
            return Decision(allowed=False, trace=None, reasons=self._denials(source, destination, port))
        return Decision(allowed=True, trace=found.trace, reasons=(f"{found.how}: {found.origin}",))

    def explain(self, source: str, destination: str, port: Port | None) -> tuple[str, ...]:
        """Return lines that tell how a connection is possible, or what denies it; raises UnknownNameError."""
        flow = f"{source} -> {destination}:{port or '*'}"
        verdict = self.evaluate(source, destination, port)
        answer = f"ALLOWED via {verdict.trace}" if verdict.allowed else "DENIED"
        return (f"{flow}: {answer}", *(f"  {reason}" for reason in verdict.reasons))

    @cached_property
    def names(self) -> Mapping[str, ContainerFact | GuestFact | Host | Outside]:
        """All possible sources and destinations by name."""
        facts = self.facts
        things: Iterable[ContainerFact | GuestFact | Host | Outside] = chain(
            facts.containers, facts.guests, self._stacks.hosts.values(), facts.outsides
        )
        return {each.name: each for each in things}

    # --------------------------------------------------------------------------------- ways to one thing

    @cached_property
    def _connection_sets(self) -> tuple[ConnectionSet, ...]:
        return tuple(
            bundle for name in self.names for group in self._groups(name) for bundle in self._to(group)
        )

    def _to(self, group: PortGroup) -> Iterator[ConnectionSet]:
        """Yield every way to the group's ports: packets first, then proxies that reach them."""
        packets = list(self._packets(group))
        yield from packets
        for edge in self._forwarding.edges.get(group.name, ()):
            wanted = packets
            if edge.port is not None and edge.port != group.port:
                if not group.holds(edge.port):
                    continue
                wanted = list(self._packets(PortGroup.of(group.name, edge.port)))
            proxy = edge.proxy.container
            way = next((bundle.trace.hops[:-1] for bundle in wanted if proxy in bundle.sources), None)
            if proxy == group.name:
                way = ()
            if way is not None:
                entry = (proxy, edge.entrypoint)
                if entry not in self._entered:
                    self._entered[entry] = self._callers(*entry, frozenset())
                yield _connection_set(
                    self._entered[entry], group, EdgeKind.PROXIED, (proxy, *way), edge.origin
                )

    def _packets(self, group: PortGroup, at: frozenset[IPv4Address] | None = None) -> Iterator[ConnectionSet]:
        """Yield ways by packets; with `at` those to these addresses of a container alone."""
        thing = self.names[group.name]
        if isinstance(thing, ContainerFact):
            return self._to_container(thing, group, at)
        if isinstance(thing, Host):
            return self._to_host(thing.name, group)
        return self._to_interfaces(thing.name, group)

    def _to_container(
        self, container: ContainerFact, group: PortGroup, at: frozenset[IPv4Address] | None
    ) -> Iterator[ConnectionSet]:
        """Yield ways by shared stack, networks, host mode, VLAN legs and published ports, in this order."""
        stack = self._stacks.by_owner[self._stacks.owners[container.name]]
        if len(stack.names) > 1:
            yield _connection_set(stack.names, group, EdgeKind.SHARED, (stack.owner,), container.origin)
        owner = self.names[stack.owner]
        if not isinstance(owner, ContainerFact):
            yield from self._to_host(stack.owner, group)
            return
        networks = [network for network, _ in stack.legs if bridges(network)]
        joined = [(n, leg) for n, leg in stack.legs if bridges(n) and _is_among(leg.address, at)]
        for network, leg in joined:
            if network.icc and (members := self._passing(network, leg, group)):
                yield _connection_set(members, group, EdgeKind.NEIGHBOUR, (network.name,), network.origin)
        if any(network.gateway for network, _ in joined):
            yield from self._from_host_mode(owner.host, group)
        yield from self._to_interfaces(stack.owner, group, at)
        # Docker records a published port of a container with only internal networks, but does not open it.
        open_ = not all(network.internal for network in networks)
        for published in published_ports(owner) if open_ else ():
            yield from self._to_published(owner, published, group)

    def _passing(self, network: Network, leg: Leg, group: PortGroup) -> Mapping[str, None]:
        """Return the members of a network that the host's rules let connect to one member's ports."""
        key = key_of(network)
        if network.passes is None:
            return self._stacks.members[key]
        about = self._stacks.passes.get((id(network.passes), leg.address), ())
        passes = [each for each in about if group.holds(each.port)]
        sources = dict.fromkeys((*(each.source for each in passes), None)) if passes else ()
        return {name: None for address in sources for name in self._stacks.at.get((key, address), ())}

    def _from_host_mode(self, host: str, group: PortGroup) -> Iterator[ConnectionSet]:
        """Yield connections from containers in host mode, which reach every bridge, internal ones too."""
        if names := self._stacks.by_owner[host].names:
            yield _connection_set(names, group, EdgeKind.HOST, (host,), "host network mode")

    def _to_host(self, host: str, group: PortGroup) -> Iterator[ConnectionSet]:
        """Yield ways to the host's own stack: through its interfaces, a network's gateway, or host mode.

        For a host without rules among the facts, sources outside or behind a gateway are evaluated only for
        the ports that the host declares: no resource describes its other listeners or its own firewall.
        """
        known = self._stacks.hosts[host]
        judged = (
            group.name != host
            or group.port in known.ports
            or known.firewall is not None
            or known.entries is not None
        )
        for interface in self._links.interfaces.get(host, ()):
            for part, admitted in entered(known, group):
                yield from self._by_interface(interface, part, outsides=judged, admitted=admitted)
        for network, members in self._stacks.gateways.get(host, ()):
            yield _connection_set(members, group, EdgeKind.HOST, (network.name,), network.origin)
        yield from self._from_host_mode(host, group)

    def _to_interfaces(
        self, owner: str, group: PortGroup, at: frozenset[IPv4Address] | None = None
    ) -> Iterator[ConnectionSet]:
        for interface in self._links.interfaces.get(owner, ()):
            open_ = interface.parent is not None and interface.passes is None
            if open_ or _is_among(interface.address, at):
                for part, admitted in passed(interface.passes, group):
                    yield from self._by_interface(interface, part, admitted=admitted)

    def _to_published(
        self, owner: ContainerFact, published: Published, group: PortGroup
    ) -> Iterator[ConnectionSet]:
        """Yield ways by a published port, from the host's neighbours and from its own networks."""
        host_port = PublishedPort(published, tuple(external(published, group.ranges)), owner.origin)
        if not host_port.ranges or published.address.is_loopback:
            return
        for host in self._stacks.hosts if published.everywhere else (owner.host,):
            for interface in self._published_on(host, published):
                yield from self._by_interface(interface, group, host_port)
            for network, members in self._stacks.windows.get(host, ()):
                if not network.hairpin and owner.name in members:
                    continue
                yield _connection_set(
                    self._admitted(members, network, host_port),
                    group,
                    EdgeKind.PUBLISHED,
                    (network.name, host_port.hop(host)),
                    host_port.origin,
                )

    def _admitted(
        self, members: Mapping[str, None], network: Network, host_port: PublishedPort
    ) -> Mapping[str, None]:
        """Return the members of a network that the host lets through to a published port."""
        if host_port.published.admitted is None:
            return members
        return {
            name: None
            for (key, address), names in self._stacks.at.items()
            if key == key_of(network) and (address is None or contains(host_port.admitted, int(address)))
            for name in names
            if name in members
        }

    def _published_on(self, host: str, published: Published) -> tuple[Interface, ...]:
        """Return the host interfaces that a port is published on; all for an address that no fact has."""
        interfaces = self._links.interfaces.get(host, ())
        named = tuple(
            interface for interface in interfaces if interface.address in (int(published.address), None)
        )
        return interfaces if published.address == ANY_ADDRESS or not named else named

    def _by_interface(
        self,
        interface: Interface,
        group: PortGroup,
        host_port: PublishedPort | None = None,
        *,
        outsides: bool = True,
        admitted: IPSet | None = None,
    ) -> Iterator[ConnectionSet]:
        """Yield connections from neighbouring interfaces to an interface, or through a published port.

        `admitted` are the addresses from which the host's own rules let packets in; None: from everywhere.
        """
        ranges = host_port.ranges if host_port else group.ranges
        tail = (host_port.hop(interface.owner),) if host_port else ()
        origin = host_port.origin if host_port else str(interface.segment)
        forwarded = host_port.admitted if host_port else admitted
        for source, gateway in self._links.arrivals(interface, ranges, forwarded=forwarded):
            if (source.outside and interface.outside) or (not outsides and (source.outside or gateway)):
                continue
            way = (*((gateway,) if gateway else self._hops(source, group.name)), *tail)
            how = EdgeKind.PUBLISHED if host_port else EdgeKind.ROUTED if gateway else EdgeKind.VLAN
            stack = self._stacks.by_owner.get(source.owner)
            names = stack.names if stack else {}
            if source.owner not in names:
                names = {source.owner: None, **names}
            yield _connection_set(names, group, how, way, origin)
            for exits, behind in self._stacks.egress.get(source.owner, {}).items():
                if exits is None or self._lets_out(exits, source, interface, ranges, forwarded=forwarded):
                    how = EdgeKind.PUBLISHED if host_port else EdgeKind.EGRESS
                    yield _connection_set(behind, group, how, (source.owner, *way), origin)

    def _lets_out(
        self,
        exits: Iterable[Exit],
        source: Interface,
        interface: Interface,
        ranges: Iterable[Range],
        *,
        forwarded: IPSet | None,
    ) -> bool:
        """Whether the host lets packets out to an address of `interface`, on a port of both sets."""
        where = (
            interface.sources
            if interface.outside
            else ALL
            if interface.address is None
            else ((interface.address,) * 2,)
        )
        found: defaultdict[IPSet, list[Range]] = defaultdict(list)
        for each in exits:
            port, open_to = each.port, _open_to(each)
            if any(p is port.protocol and low <= port.number <= high for p, low, high in ranges):
                found[intersection(where, open_to)].append(Range(port.protocol, port.number, port.number))
        return any(
            source is start
            for open_to, ports in found.items()
            if open_to
            for start, _ in self._links.arrivals(interface, ports, forwarded=forwarded, towards=open_to)
        )

    def _hops(self, source: Interface, name: str) -> tuple[str, ...]:
        """Return the trace's hop for the segment of two neighbours, none if the segment is one of them."""
        if isinstance(source.segment, Vlan):
            return (self._stacks.segment_names.get(source.segment, str(source.segment)),)
        return () if source.outside or source.segment == name else (source.segment,)

    def _find(
        self, source: str, destination: str, port: Port | None, *, directly: bool = False
    ) -> Connection | None:
        for name in (source, destination):
            if name not in self.names:
                near = nearest(name, self.names)
                remedy = f"write {near}" if near else f"use one of {', '.join(self.names)}"
                raise UnknownNameError(
                    f"{name}: no container, guest, host or outside has this name; {remedy}."
                )
        if source == destination:
            return None
        group = self._group(destination, port)
        ways = self._packets(group) if directly else self._to(group)
        found = next((bundle.one(source) for bundle in ways if source in bundle.sources), None)
        return found and replace(found, trace=self._from_start(found))

    def _from_start(self, found: Connection) -> Trace:
        """Return a trace that begins with the way of a container or guest to the proxy in its first hop."""
        proxy = found.trace.hops[0]
        if found.how is not EdgeKind.PROXIED or isinstance(self.names[found.source], Outside | Host):
            return found.trace
        for edge in self._forwarding.edges.get(found.destination, ()):
            for bundle in (
                self._packets(PortGroup.of(proxy, edge.entrypoint)) if edge.proxy.container == proxy else ()
            ):
                if found.source in bundle.sources:
                    return Trace((*bundle.trace.hops, *found.trace.hops[1:]))
        return found.trace

    def _group(self, name: str, port: Port | None) -> PortGroup:
        return PortGroup.of(name, port) if port else next(g for g in self._groups(name) if g.port is None)

    def _groups(self, name: str) -> Iterator[PortGroup]:
        """Yield each declared port of a destination, then all other ports as one group.

        The other ports exclude those that Proxmox itself opens on every node: no rule of a stack opens them.
        """
        thing = self.names[name]
        yield from (PortGroup.of(name, port) for port in thing.ports)
        standing = isinstance(thing, Host) and thing.firewall is not None
        ranges = []
        for protocol in Protocol:
            declared = [((port.number, port.number),) for port in thing.ports if port.protocol is protocol]
            known = union_all((*declared, STANDING if standing and protocol is Protocol.TCP else ()))
            ranges += [Range(protocol, low, high) for low, high in difference(_EVERY, known)]
        yield PortGroup(name, None, tuple(ranges))

    def _denials(self, source: str, destination: str, port: Port | None) -> tuple[str, ...]:
        """Return what blocks otherwise connected interfaces; failing that, the segments of both names."""
        ranges = self._group(destination, port).ranges
        found: dict[str, None] = {}
        host = self.names[destination]
        if isinstance(host, Host) and not [*entered(host, self._group(destination, port))]:
            found[f"{destination}'s own rules let nothing of the kind in"] = None
        for network, _ in self._stacks.legs_of(source):
            if any(network is other for other, _ in self._stacks.legs_of(destination)):
                if not network.icc:
                    found[f"{network.origin}: network {network.name} keeps its members apart"] = None
                elif network.passes is not None:
                    found[f"{network.host}'s rules let nothing of the kind pass within {network.name}"] = None
            leads_out = network.masquerade and not network.internal
            if leads_out and network.egress is not None and isinstance(self.names[destination], Outside):
                found[f"{network.host}'s rules let nothing of the kind out of {network.name}"] = None
        starts = self._interfaces_of(source)
        if isinstance(thing := self.names[source], ContainerFact) and any(
            source in names for names in self._stacks.egress.get(thing.host, {}).values()
        ):
            starts += self._links.interfaces.get(thing.host, ())
        for start in starts:
            for interface in self._interfaces_of(destination):
                found |= dict.fromkeys(self._links.obstacles(start, interface, ranges[0]))
        where = "; ".join(
            f"{name} is on {', '.join(dict.fromkeys(self._segments_of(name))) or 'no network'}"
            for name in (source, destination)
        )
        return tuple(found) or (f"no way: {where}",)

    def _interfaces_of(self, name: str) -> tuple[Interface, ...]:
        return self._links.interfaces.get(self._stacks.owners.get(name, name), ())

    def _segments_of(self, name: str) -> Iterator[str]:
        yield from (network.name for network, _ in self._stacks.legs_of(name))
        yield from (
            self._stacks.segment_names.get(interface.segment, str(interface.segment))
            for interface in self._interfaces_of(name)
        )

    # ------------------------------------------------------------------------------------------- proxies

    def _callers(self, proxy: str, entrypoint: Port, seen: frozenset[tuple[str, Port]]) -> Mapping[str, None]:
        """Return the sources that reach a proxy's entrypoint, by packets or through an entrypoint."""
        found: dict[str, None] = {}
        if (proxy, entrypoint) in seen or proxy not in self.names:
            return found
        for bundle in self._packets(
            PortGroup.of(proxy, entrypoint), self._forwarding.ears.get((proxy, entrypoint))
        ):
            found |= dict.fromkeys(bundle.sources)
        direct = {**found, proxy: None}
        for edge in self._forwarding.edges.get(proxy, ()):
            if edge.port in (None, entrypoint) and edge.proxy.container in direct:
                found |= self._callers(edge.proxy.container, edge.entrypoint, seen | {(proxy, entrypoint)})
        found.pop(proxy, None)
        return found

    # ------------------------------------------------------------------------------------------- indexes

    @cached_property
    def _links(self) -> Links:
        legs = tuple(
            (stack.owner, network, leg)
            for stack in self._stacks.by_owner.values()
            for network, leg in stack.legs
            if not bridges(network)
        )
        return Links(facts=replace(self.facts, hosts=tuple(self._stacks.hosts.values())), legs=legs)


def _open_to(exit_: Exit) -> IPSet:
    """Return the addresses to which a host lets packets out."""
    to = ALL if exit_.to is None else prefix(exit_.to)
    return difference(to, union_all(map(prefix, exit_.without)))


def _connection_set(
    sources: Collection[str], group: PortGroup, how: EdgeKind, way: tuple[str, ...], origin: str
) -> ConnectionSet:
    return ConnectionSet(
        sources=sources,
        destination=group.name,
        port=group.port,
        how=how,
        trace=Trace((*way, group.name)),
        origin=origin,
    )


def _is_among(address: IPv4Address | int | None, at: frozenset[IPv4Address] | None) -> bool:
    """Whether an address is one of these; an unknown one may be any, and None stands for all."""
    return at is None or address is None or IPv4Address(address) in at
