"""Computes which connections are possible, on which port and by which path, as a pure function of the facts.

Covers Docker networks, network stacks, published ports, the host behind its networks, egress behind the
host's address, VLANs and gateways (`reachability.links`), Proxmox's rules (`reachability.rules`) and
Traefik's routers (`reachability.proxy`). Model and limits: docs/reachability.md.

Note: a flow is one connection. Connections that a compromised service could open in turn are not part of
the flow; only proxies, which forward by design, are followed.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from itertools import chain
from typing import NamedTuple

from reachability.address_sets import (
    ALL,
    IPSet,
    contains,
    difference,
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
    HostLeg,
    Leg,
    Mode,
    Network,
    NetworkDriver,
    Outside,
    Pass,
    Proxy,
    Published,
    Segment,
    Vlan,
)
from reachability.links import Interface, Links
from reachability.proxy import Server, labelled, servers
from reachability.result import Connection, ConnectionSet, Decision, EdgeKind, Trace, UnknownNameError
from reachability.rules import EVERY_PORT, STANDING
from reachability.words import Range
from topology.model import Port, Protocol

_LAST_PORT = 65535
_EVERY: IPSet = ((1, _LAST_PORT),)


class _PortGroup(NamedTuple):
    """Ports of a destination that are evaluated as one: a declared port, or all others (`port` None)."""

    name: str
    port: Port | None
    ranges: tuple[Range, ...]


class _Edge(NamedTuple):
    """A proxy's entrypoint that leads to a port of a destination; `port` None is any port."""

    proxy: Proxy
    entrypoint: Port
    origin: str
    port: Port | None


class _PublishedPort(NamedTuple):
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


@dataclass(slots=True)
class _Stack:
    """A network stack: the containers that share it, and the interfaces of its owner."""

    owner: str
    names: dict[str, None] = field(default_factory=dict)
    legs: list[tuple[Network, Leg]] = field(default_factory=list)


class Reachability:
    """Answers questions about one set of facts. Intermediate results are computed on first use and cached."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
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

    def unresolved(self) -> Iterator[str]:
        """Yield a message for each router whose server is not among the facts."""
        for proxy in self.facts.proxies:
            for server in servers(proxy):
                if server.host is None or not self._resolve(proxy, server.host):
                    yield (
                        f"{server.origin}: {server.text} leads to nothing that is known; "
                        "name a service, container or address of the stack."
                    )

    @cached_property
    def names(self) -> Mapping[str, ContainerFact | GuestFact | Host | Outside]:
        """All possible sources and destinations by name."""
        facts = self.facts
        things: Iterable[ContainerFact | GuestFact | Host | Outside] = chain(
            facts.containers, facts.guests, self._hosts.values(), facts.outsides
        )
        return {each.name: each for each in things}

    # --------------------------------------------------------------------------------- ways to one thing

    @cached_property
    def _connection_sets(self) -> tuple[ConnectionSet, ...]:
        return tuple(
            bundle for name in self.names for group in self._groups(name) for bundle in self._to(group)
        )

    def _to(self, group: _PortGroup) -> Iterator[ConnectionSet]:
        """Yield every way to the group's ports: packets first, then proxies that reach them."""
        packets = list(self._packets(group))
        yield from packets
        for edge in self._edges.get(group.name, ()):
            wanted = packets
            if edge.port is not None and edge.port != group.port:
                if not _holds(group, edge.port):
                    continue
                wanted = list(self._packets(_one(group.name, edge.port)))
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

    def _packets(
        self, group: _PortGroup, at: frozenset[IPv4Address] | None = None
    ) -> Iterator[ConnectionSet]:
        """Yield ways by packets; with `at` those to these addresses of a container alone."""
        thing = self.names[group.name]
        if isinstance(thing, ContainerFact):
            return self._to_container(thing, group, at)
        if isinstance(thing, Host):
            return self._to_host(thing.name, group)
        return self._to_interfaces(thing.name, group)

    def _to_container(
        self, container: ContainerFact, group: _PortGroup, at: frozenset[IPv4Address] | None
    ) -> Iterator[ConnectionSet]:
        """Yield ways by shared stack, networks, host mode, VLAN legs and published ports, in this order."""
        stack = self._stacks[self._stack_of[container.name]]
        if len(stack.names) > 1:
            yield _connection_set(stack.names, group, EdgeKind.SHARED, (stack.owner,), container.origin)
        owner = self.names[stack.owner]
        if not isinstance(owner, ContainerFact):
            yield from self._to_host(stack.owner, group)
            return
        networks = [network for network, _ in stack.legs if _bridges(network)]
        joined = [(n, leg) for n, leg in stack.legs if _bridges(n) and _is_among(leg.address, at)]
        for network, leg in joined:
            if network.icc and (members := self._passing(network, leg, group)):
                yield _connection_set(members, group, EdgeKind.NEIGHBOUR, (network.name,), network.origin)
        if any(network.gateway for network, _ in joined):
            yield from self._from_host_mode(owner.host, group)
        yield from self._to_interfaces(stack.owner, group, at)
        # Docker records a published port of a container with only internal networks, but does not open it.
        open_ = not all(network.internal for network in networks)
        for published in _published(owner) if open_ else ():
            yield from self._to_published(owner, published, group)

    def _passing(self, network: Network, leg: Leg, group: _PortGroup) -> Mapping[str, None]:
        """Return the members of a network that the host's rules let connect to one member's ports."""
        key = _key(network)
        if network.passes is None:
            return self._members[key]
        about = self._passes.get((id(network.passes), leg.address), ())
        passes = [each for each in about if _holds(group, each.port)]
        sources = dict.fromkeys((*(each.source for each in passes), None)) if passes else ()
        return {name: None for address in sources for name in self._at.get((key, address), ())}

    def _from_host_mode(self, host: str, group: _PortGroup) -> Iterator[ConnectionSet]:
        """Yield connections from containers in host mode, which reach every bridge, internal ones too."""
        if names := self._stacks[host].names:
            yield _connection_set(names, group, EdgeKind.HOST, (host,), "host network mode")

    def _to_host(self, host: str, group: _PortGroup) -> Iterator[ConnectionSet]:
        """Yield ways to the host's own stack: through its interfaces, a network's gateway, or host mode.

        For a host without rules among the facts, sources outside or behind a gateway are evaluated only for
        the ports that the host declares: no resource describes its other listeners or its own firewall.
        """
        known = self._hosts[host]
        judged = (
            group.name != host
            or group.port in known.ports
            or known.firewall is not None
            or known.entries is not None
        )
        for interface in self._links.interfaces.get(host, ()):
            for part, admitted in _entered(known, group):
                yield from self._by_interface(interface, part, outsides=judged, admitted=admitted)
        for network, members in self._gateways.get(host, ()):
            yield _connection_set(members, group, EdgeKind.HOST, (network.name,), network.origin)
        yield from self._from_host_mode(host, group)

    def _to_interfaces(
        self, owner: str, group: _PortGroup, at: frozenset[IPv4Address] | None = None
    ) -> Iterator[ConnectionSet]:
        for interface in self._links.interfaces.get(owner, ()):
            if _is_among(interface.address, at):
                yield from self._by_interface(interface, group)

    def _to_published(
        self, owner: ContainerFact, published: Published, group: _PortGroup
    ) -> Iterator[ConnectionSet]:
        """Yield ways by a published port, from the host's neighbours and from its own networks."""
        host_port = _PublishedPort(published, tuple(_external(published, group.ranges)), owner.origin)
        if not host_port.ranges or published.address.is_loopback:
            return
        for host in self._hosts if published.everywhere else (owner.host,):
            for interface in self._published_on(host, published):
                yield from self._by_interface(interface, group, host_port)
            for network, members in self._windows.get(host, ()):
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
        self, members: Mapping[str, None], network: Network, host_port: _PublishedPort
    ) -> Mapping[str, None]:
        """Return the members of a network that the host lets through to a published port."""
        if host_port.published.admitted is None:
            return members
        return {
            name: None
            for (key, address), names in self._at.items()
            if key == _key(network) and (address is None or contains(host_port.admitted, int(address)))
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
        group: _PortGroup,
        host_port: _PublishedPort | None = None,
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
            stack = self._stacks.get(source.owner)
            names = stack.names if stack else {}
            if source.owner not in names:
                names = {source.owner: None, **names}
            yield _connection_set(names, group, how, way, origin)
            for exits, behind in self._egress.get(source.owner, {}).items():
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
        found = [
            Range(port.protocol, port.number, port.number)
            for port, without in ((each.port, each.without) for each in exits)
            if any(p is port.protocol and low <= port.number <= high for p, low, high in ranges)
            if difference(where, union_all(map(prefix, without)))
        ]
        arrivals = (start for start, _ in self._links.arrivals(interface, found, forwarded=forwarded))
        return bool(found) and source in arrivals

    def _hops(self, source: Interface, name: str) -> tuple[str, ...]:
        """Return the trace's hop for the segment of two neighbours, none if the segment is one of them."""
        if isinstance(source.segment, Vlan):
            return (self._segment_names.get(source.segment, str(source.segment)),)
        return () if source.outside or source.segment == name else (source.segment,)

    def _find(
        self, source: str, destination: str, port: Port | None, *, directly: bool = False
    ) -> Connection | None:
        for name in (source, destination):
            if name not in self.names:
                raise UnknownNameError(f"{name}: no container, guest, host or outside has this name.")
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
        for edge in self._edges.get(found.destination, ()):
            for bundle in (
                self._packets(_one(proxy, edge.entrypoint)) if edge.proxy.container == proxy else ()
            ):
                if found.source in bundle.sources:
                    return Trace((*bundle.trace.hops, *found.trace.hops[1:]))
        return found.trace

    def _group(self, name: str, port: Port | None) -> _PortGroup:
        return _one(name, port) if port else next(g for g in self._groups(name) if g.port is None)

    def _groups(self, name: str) -> Iterator[_PortGroup]:
        """Yield each declared port of a destination, then all other ports as one group.

        The other ports exclude those that Proxmox itself opens on every node: no rule of a stack opens them.
        """
        thing = self.names[name]
        yield from (_one(name, port) for port in thing.ports)
        standing = isinstance(thing, Host) and thing.firewall is not None
        ranges = []
        for protocol in Protocol:
            declared = [((port.number, port.number),) for port in thing.ports if port.protocol is protocol]
            known = union_all((*declared, STANDING if standing and protocol is Protocol.TCP else ()))
            ranges += [Range(protocol, low, high) for low, high in difference(_EVERY, known)]
        yield _PortGroup(name, None, tuple(ranges))

    def _denials(self, source: str, destination: str, port: Port | None) -> tuple[str, ...]:
        """Return what blocks otherwise connected interfaces; failing that, the segments of both names."""
        ranges = self._group(destination, port).ranges
        found: dict[str, None] = {}
        host = self.names[destination]
        if isinstance(host, Host) and not [*_entered(host, self._group(destination, port))]:
            found[f"{destination}'s own rules let nothing of the kind in"] = None
        for network, _ in self._networks_of(source):
            if any(network is other for other, _ in self._networks_of(destination)):
                if not network.icc:
                    found[f"{network.origin}: network {network.name} keeps its members apart"] = None
                elif network.passes is not None:
                    found[f"{network.host}'s rules let nothing of the kind pass within {network.name}"] = None
            leads_out = network.masquerade and not network.internal
            if leads_out and network.egress is not None and isinstance(self.names[destination], Outside):
                found[f"{network.host}'s rules let nothing of the kind out of {network.name}"] = None
        starts = self._interfaces_of(source)
        if isinstance(thing := self.names[source], ContainerFact) and any(
            source in names for names in self._egress.get(thing.host, {}).values()
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
        return self._links.interfaces.get(self._stack_of.get(name, name), ())

    def _networks_of(self, name: str) -> list[tuple[Network, Leg]]:
        return self._stacks[self._stack_of[name]].legs if name in self._stack_of else []

    def _segments_of(self, name: str) -> Iterator[str]:
        yield from (network.name for network, _ in self._networks_of(name))
        yield from (
            self._segment_names.get(interface.segment, str(interface.segment))
            for interface in self._interfaces_of(name)
        )

    # ------------------------------------------------------------------------------------------- proxies

    @cached_property
    def _edges(self) -> Mapping[str, list[_Edge]]:
        """Edges from proxies by destination."""
        found: defaultdict[str, list[_Edge]] = defaultdict(list)
        for proxy in self.facts.proxies:
            for server in servers(proxy):
                for name, port in self._targets(proxy, server):
                    found[name] += [_Edge(proxy, at, server.origin, port) for at in server.entrypoints]
            for label in labelled(proxy, self.facts.containers):
                found[label.container] += [
                    _Edge(proxy, at, label.origin, label.port) for at in label.entrypoints
                ]
        return found

    def _targets(self, proxy: Proxy, server: Server) -> Iterator[tuple[str, Port]]:
        """Yield what answers at a server's address; for a host, also containers that publish the port."""
        if server.host is None or server.port is None:
            return
        for name in self._resolve(proxy, server.host):
            yield name, server.port
            if name not in self._hosts:
                continue
            yield from ((other, server.port) for other in self._stacks[name].names)
            for container in self.facts.containers:
                for each in container.published:
                    offset = server.port.number - (each.external or server.port.number)
                    here = each.everywhere or container.host == name
                    if here and each.protocol is server.port.protocol and 0 <= offset < each.length:
                        yield container.name, Port(number=each.internal + offset, protocol=each.protocol)

    def _resolve(self, proxy: Proxy, host: str) -> tuple[str, ...]:
        """Return every destination that a proxy may resolve a name or address to."""
        owner = self.names.get(proxy.container)
        if host == "host.docker.internal" and isinstance(owner, ContainerFact):
            return (owner.host,)
        if (host == "localhost" or host.startswith("127.")) and proxy.container in self._stack_of:
            return tuple(self._stacks[self._stack_of[proxy.container]].names)
        return tuple(self._called.get(host, ()))

    @cached_property
    def _called(self) -> Mapping[str, dict[str, None]]:
        """Destinations by each of their names and addresses."""
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for container in self.facts.containers:
            for name in (container.name, *container.names, *(n for leg in container.legs for n in leg.names)):
                found[name][container.name] = None
            for leg in container.legs:
                found[str(leg.address)][container.name] = None
        for guest in self.facts.guests:
            for name in (guest.name, *(str(nic.address) for nic in guest.nics)):
                found[name][guest.name] = None
        for host in self._hosts.values():
            for name in (host.name, *(str(leg.address) for leg in host.legs)):
                found[name][host.name] = None
        return found

    @cached_property
    def _ears(self) -> Mapping[tuple[str, Port], frozenset[IPv4Address]]:
        """Addresses at which proxies listen on a port, where they do not listen at all of theirs."""
        found: defaultdict[tuple[str, Port], set[IPv4Address | None]] = defaultdict(set)
        for proxy in self.facts.proxies:
            for each in proxy.entrypoints:
                found[proxy.container, each.port].add(each.address)
        return {
            entry: frozenset(filter(None, addresses))
            for entry, addresses in found.items()
            if None not in addresses
        }

    def _callers(self, proxy: str, entrypoint: Port, seen: frozenset[tuple[str, Port]]) -> Mapping[str, None]:
        """Return the sources that reach a proxy's entrypoint, by packets or through an entrypoint."""
        found: dict[str, None] = {}
        if (proxy, entrypoint) in seen or proxy not in self.names:
            return found
        for bundle in self._packets(_one(proxy, entrypoint), self._ears.get((proxy, entrypoint))):
            found |= dict.fromkeys(bundle.sources)
        direct = {**found, proxy: None}
        for edge in self._edges.get(proxy, ()):
            if edge.port in (None, entrypoint) and edge.proxy.container in direct:
                found |= self._callers(edge.proxy.container, edge.entrypoint, seen | {(proxy, entrypoint)})
        found.pop(proxy, None)
        return found

    # ------------------------------------------------------------------------------------------- indexes

    @cached_property
    def _links(self) -> Links:
        legs = tuple(
            (stack.owner, network, leg)
            for stack in self._stacks.values()
            for network, leg in stack.legs
            if not _bridges(network)
        )
        return Links(facts=replace(self.facts, hosts=tuple(self._hosts.values())), legs=legs)

    @cached_property
    def _hosts(self) -> Mapping[str, Host]:
        """Hosts by name. A host that containers name but no fact has is reachable from every outside."""
        everywhere = tuple(HostLeg(segment=outside.name) for outside in self.facts.outsides)
        implied = {
            container.host: Host(name=container.host, origin=container.origin, legs=everywhere)
            for container in self.facts.containers
        }
        return implied | {host.name: host for host in self.facts.hosts}

    @cached_property
    def _stack_of(self) -> Mapping[str, str]:
        """Owner of each container's network stack: itself, another container, or its host.

        A stack shared in a circle, or with a container that no fact has, counts as the host's.
        """
        containers = {container.name: container for container in self.facts.containers}
        owners: dict[str, str] = {}
        for container in self.facts.containers:
            at, seen = container, {container.name}
            while at.shares is not None and at.shares in containers and at.shares not in seen:
                at = containers[at.shares]
                seen.add(at.name)
            own = at.mode is not Mode.HOST and at.shares is None
            owners[container.name] = at.name if own else at.host
        return owners

    @cached_property
    def _stacks(self) -> Mapping[str, _Stack]:
        """Network stacks by owner; every host has one."""
        stacks = {host: _Stack(owner=host) for host in self._hosts}
        networks = {_key(network): network for network in self.facts.networks}
        for container in self.facts.containers:
            owner = self._stack_of[container.name]
            stack = stacks.setdefault(owner, _Stack(owner=owner))
            stack.names[container.name] = None
            if owner != container.name or container.mode is Mode.NONE:
                continue
            for leg in container.legs or (Leg(network="bridge"),):
                # A network that no fact has counts as an ordinary bridge, like the engine's default one.
                own = (container.host, leg.network)
                network = networks.get(own) or networks.get(("", leg.network))
                if network is None:
                    network = Network(name=leg.network, origin=container.origin, host=container.host)
                    networks[own] = network
                stack.legs.append((network, leg))
        return stacks

    @cached_property
    def _members(self) -> Mapping[tuple[str, str], dict[str, None]]:
        """Containers by network."""
        found: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for stack in self._stacks.values():
            for network, _ in stack.legs:
                found[_key(network)] |= stack.names
        return found

    @cached_property
    def _at(self) -> Mapping[tuple[tuple[str, str], IPv4Address | None], dict[str, None]]:
        """Containers by network and address; None: those whose address may be any."""
        found: defaultdict[tuple[tuple[str, str], IPv4Address | None], dict[str, None]] = defaultdict(dict)
        for stack in self._stacks.values():
            for network, leg in stack.legs:
                found[_key(network), leg.address] |= stack.names
        return found

    @cached_property
    def _passes(self) -> Mapping[tuple[int, IPv4Address | None], list[Pass]]:
        """What the host's rules let pass within bridges, by rules and destination; None: to any.

        All bridges of a host share one tuple of rules, which is indexed once, by its identity.
        """
        found: defaultdict[tuple[int, IPv4Address | None], list[Pass]] = defaultdict(list)
        for passes in {id(network.passes): network.passes or () for network in self.facts.networks}.values():
            for each in passes:
                for address in (each.destination, None):
                    found[id(passes), address].append(each)
        return found

    @cached_property
    def _egress(self) -> Mapping[str, Mapping[tuple[Exit, ...] | None, dict[str, None]]]:
        """Containers that leave behind their host's address, by host and by what is let out (None: all)."""
        found: defaultdict[str, defaultdict[tuple[Exit, ...] | None, dict[str, None]]]
        found = defaultdict(lambda: defaultdict(dict))
        for host, network, leg, names in self._bridged:
            if not network.internal and network.masquerade:
                found[host][self._let_out(network, leg)] |= names
        return found

    def _let_out(self, network: Network, leg: Leg) -> tuple[Exit, ...] | None:
        """Return what the host's rules let out of a leg, without its source; None: everything."""
        if network.egress is None:
            return None
        by_source = self._exits[id(network.egress)]
        sources = by_source if leg.address is None else (None, leg.address)
        return tuple(dict.fromkeys(each for source in sources for each in by_source.get(source, ())))

    @cached_property
    def _exits(self) -> Mapping[int, Mapping[IPv4Address | None, list[Exit]]]:
        """What the host's rules let out of bridges, by rules and source (None: of every member).

        Bridges may share one tuple of rules, which is indexed once, by its identity.
        """
        found: defaultdict[int, defaultdict[IPv4Address | None, list[Exit]]]
        found = defaultdict(lambda: defaultdict(list))
        for exits in {id(network.egress): network.egress or () for network in self.facts.networks}.values():
            for each in exits:
                found[id(exits)][each.source].append(replace(each, source=None))
        return found

    @cached_property
    def _gateways(self) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        """Networks whose members reach their host by its gateway address, by host."""
        return self._members_of(lambda network: network.host_reachable)

    @cached_property
    def _windows(self) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        """Networks whose members reach the published ports of their host, by host."""
        return self._members_of(
            lambda network: (
                network.host_reachable if network.sees_published is None else network.sees_published
            )
        )

    def _members_of(
        self, wanted: Callable[[Network], bool]
    ) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        found: defaultdict[str, dict[str, tuple[Network, dict[str, None]]]] = defaultdict(dict)
        for host, network, _, names in self._bridged:
            if wanted(network):
                found[host].setdefault(network.name, (network, {}))[1].update(names)
        return {host: list(networks.values()) for host, networks in found.items()}

    @cached_property
    def _bridged(self) -> list[tuple[str, Network, Leg, dict[str, None]]]:
        """Stacks on bridge and overlay networks: their host, the network, their leg, their containers."""
        return [
            (owner.host, network, leg, stack.names)
            for stack in self._stacks.values()
            if isinstance(owner := self.names[stack.owner], ContainerFact)
            for network, leg in stack.legs
            if _bridges(network)
        ]

    @cached_property
    def _segment_names(self) -> Mapping[Segment, str]:
        """Names of VLANs in traces: the Docker network on the VLAN."""
        return {
            network.vlan: network.name for network in self.facts.networks if isinstance(network.vlan, Vlan)
        }


def _one(name: str, port: Port) -> _PortGroup:
    return _PortGroup(name, port, (Range(port.protocol, port.number, port.number),))


def _holds(group: _PortGroup, port: Port) -> bool:
    return any(p is port.protocol and low <= port.number <= high for p, low, high in group.ranges)


def _entered(host: Host, group: _PortGroup) -> Iterator[tuple[_PortGroup, IPSet | None]]:
    """Yield the parts of a group that a host's own rules let in, and from which addresses; None: from all."""
    if host.entries is None:
        yield group, None
    for entry in host.entries or ():
        if _holds(group, entry.port):
            port = Range(entry.port.protocol, entry.port.number, entry.port.number)
            yield group._replace(ranges=(port,)), prefix(entry.source)


def _connection_set(
    sources: Collection[str], group: _PortGroup, how: EdgeKind, way: tuple[str, ...], origin: str
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


def _bridges(network: Network) -> bool:
    return network.driver in (NetworkDriver.BRIDGE, NetworkDriver.OVERLAY)


def _key(network: Network) -> tuple[str, str]:
    """Return a network's key: its host and name. Overlay networks span hosts, so their host is empty."""
    return "" if network.driver is NetworkDriver.OVERLAY else network.host, network.name


def _published(container: ContainerFact) -> Iterator[Published]:
    yield from container.published
    if container.publish_all:
        for protocol in Protocol:
            yield Published(internal=1, external=None, length=_LAST_PORT, protocol=protocol)


def _external(published: Published, ranges: Iterable[Range]) -> Iterator[Range]:
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
