"""A second opinion on reachability: a walk of concrete packets from switch to switch until they arrive.

The walk shares only the facts with the engine. The engine computes with sets of addresses and ranges of
ports; the walk tries each address and port at which a rule's verdict could change, and queues frames on
switches. It is deliberately simple and slow.

Note: a sender without a known address is tried with every address of the pool.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from reachability.facts import (
    ContainerFact,
    Facts,
    Gateway,
    GuestFact,
    GuestFirewall,
    Host,
    IpsetEntry,
    Leg,
    Mode,
    Network,
    NetworkDriver,
    Nic,
    Outside,
    Pass,
    ProxmoxRule,
    Proxy,
    Published,
    Router,
    RouterProtocol,
    Vlan,
)
from topology.model import Port, Protocol

Key = tuple[str, str, Port | None]
MACROS = {
    "SSH": [("tcp", 22, 22)],
    "HTTP": [("tcp", 80, 80)],
    "Web": [("tcp", 80, 80), ("tcp", 443, 443)],
    "DNS": [("udp", 53, 53), ("tcp", 53, 53)],
    "Ping": [],
}
_NOT_PUBLIC = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
STANDING = [(8006, 8006), (22, 22), (3128, 3128), (5900, 5999), (60000, 60050)]


@dataclass(frozen=True, slots=True)
class Packet:
    """A first packet of a connection."""

    src: IPv4Address
    dst: IPv4Address


@dataclass(eq=False, slots=True)
class Interface:
    """A network interface of `device` on `switch`; `addresses` are those it may send from or answer to."""

    device: str
    switch: object
    addresses: list[IPv4Address]
    kind: str
    answers: list[IPv4Address] = field(default_factory=list)
    guest: GuestFact | None = None
    nic: Nic | None = None
    network: Network | None = None
    passes: tuple[Pass, ...] | None = None
    filtered: bool = False
    routed: bool = True
    router: Gateway | None = None
    wire: str = ""


Way = tuple[Network, list[IPv4Address]]
"""A network from which the host lets only some packets out, and the addresses of what sends there."""

Route = tuple[list[Interface], Interface, list[Way], list["Passage"]]
"""Interfaces that send, the last one, the bounded ways out on the route, and its routers with rules."""

Prefixes = tuple[IPv4Network, ...]
End = tuple[Interface, Port, Prefixes | None, bool]
"""An interface and a port to send to, for a published port from where (None: it is none), and whether no rule
judges that port.
"""
_EVERYWHERE = (IPv4Network("0.0.0.0/0"),)


@dataclass(frozen=True, slots=True)
class Passage:
    """A packet through a router with rules, in by one of its interfaces and out by another."""

    router: Gateway
    inbound: str
    outbound: str

    def carries(self, packet: Packet, port: Port) -> list[IPv4Address | None]:
        """Return the source that a packet leaves with (None: unknown); none where no rule lets it through."""
        for permit in self.router.permits or ():
            if permit.inbound not in (None, self.inbound) or permit.outbound not in (None, self.outbound):
                continue
            if permit.port not in (None, port):
                continue
            if not _within(permit.source, permit.source_without, packet.src):
                continue
            if not _within(permit.destination, permit.destination_without, packet.dst):
                continue
            if permit.forwarded and not self._was_asked(packet, port):
                continue
            return [self._hidden(packet.src)]
        return []

    def _was_asked(self, packet: Packet, port: Port) -> bool:
        """Whether a packet for a port of the router's own arrives as this one."""
        return any(
            forward.inbound == self.inbound
            and forward.address == packet.dst
            and (forward.number, forward.port.protocol) == (port.number, port.protocol)
            for forward in self.router.forwards
        )

    def _hidden(self, source: IPv4Address) -> IPv4Address | None:
        """Return the source that a packet leaves with; None: one that is not known."""
        for each in self.router.masquerades:
            if each.outbound == self.outbound and _within(each.sources, (), source):
                return each.address
        return source


def _within(prefixes: "Prefixes | None", without: "Prefixes", address: IPv4Address) -> bool:
    inside = prefixes is None or any(address in prefix for prefix in prefixes)
    return inside and not any(address in prefix for prefix in without)


@dataclass(slots=True)
class Gate:
    """Rules for one port at an interface, in order; `standing` is the direction of Proxmox's own rules."""

    rules: list[ProxmoxRule]
    own: GuestFirewall | None
    policy: str
    standing: str | None = None
    blacklist: tuple[IpsetEntry, ...] = ()

    def asks(self, what: str) -> bool:
        """Whether a rule depends on the `source` or `dest` of a packet."""
        if what == "source" and (self.standing == "in" or self.blacklist):
            return True
        if what == "dest" and self.standing == "out":
            return True
        return any(getattr(rule, what) for rule in self.rules)


@dataclass
class Walk:
    """The network as devices with interfaces on switches, and packets that hop from one to the next."""

    facts: Facts
    interfaces: list[Interface] = field(default_factory=list)
    stacks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.containers = {c.name: c for c in self.facts.containers}
        self.guests = {g.name: g for g in self.facts.guests}
        self.hosts = {h.name: h for h in self.facts.hosts}
        self.outsides = {o.name: o for o in self.facts.outsides}
        self.things: dict[str, ContainerFact | GuestFact | Host | Outside] = {}
        for things in (self.containers, self.guests, self.hosts, self.outsides):
            self.things.update(things)
        for container in self.facts.containers:
            self.stacks[container.name] = self._stack(container)
        self._plug_in()
        self.cables: dict[tuple[Interface, Interface, bool], list[Route]] = {}
        self.gates: dict[tuple[Interface, str, Port], Gate | None] = {}
        self.on: defaultdict[object, list[Interface]] = defaultdict(list)
        self.own: defaultdict[str, list[Interface]] = defaultdict(list)
        for interface in self.interfaces:
            self.on[interface.switch].append(interface)
            self.own[interface.device].append(interface)

    # ------------------------------------------------------------------------------------ the answer

    def flows(self) -> set[Key]:
        """Return every (source, destination, declared port or None) that a packet or proxy gets through."""
        exact = self.packets()
        heard = {each for each in exact if self._hears(*each)}
        while True:
            more = {
                (source, name, port)
                for proxy, entry, name, ports in self.proxied()
                for source, to, at in heard
                if to == proxy.container and at == entry and source not in (name, proxy.container)
                for port in ports
                if proxy.container == name or (proxy.container, name, port) in self.direct
            } - exact
            if not more:
                break
            exact |= more
            heard |= more
        found: set[Key] = set()
        for source, name, port in exact:
            if port in self.declared(name):
                found.add((source, name, port))
            elif not self._standing(name, port):
                found.add((source, name, None))
        return found

    def packets(self) -> set[tuple[str, str, Port]]:
        """Return every (source, destination, port) that connects directly, for every port of `ports`."""
        self.ends = {(name, port): [*self.targets(name, port)] for name in self.names for port in self.ports}
        self.direct = {
            (source, name, port)
            for source in self.names
            for name in self.names
            if source != name and not (source in self.outsides and name in self.outsides)
            for port in self.ports
            if self.connects(source, name, port)
        }
        return set(self.direct)

    @cached_property
    def starts(self) -> dict[str, list[Interface]]:
        """Return the interfaces where packets of each source start."""
        return {name: self.interfaces_of(name) for name in self.names}

    @property
    def names(self) -> list[str]:
        """Return the names of everything that sends or answers."""
        return list(self.things)

    def declared(self, name: str) -> tuple[Port, ...]:
        """Return the declared ports of a thing."""
        return self.things[name].ports

    def _standing(self, name: str, port: Port) -> bool:
        host = self.hosts.get(name)
        if host is None or host.firewall is None or port.protocol is not Protocol.TCP:
            return False
        return any(low <= port.number <= high for low, high in STANDING)

    # -------------------------------------------------------------------------------- one connection

    def connects(self, source: str, name: str, port: Port) -> bool:
        """Whether any packet that `source` can make arrives at `port` of `name`."""
        if source in self.stacks and self.stacks[source] == self.stacks.get(name):
            return True
        if source in self.stacks and self.stacks[source] == name and name in self.hosts:
            return True
        return self.arrives(source, self.ends[name, port])

    def arrives(self, source: str, ends: Iterable[End]) -> bool:
        """Whether any packet that `source` can make arrives at one of these ends."""
        return any(
            self._travels(interface, target, at, admitted=admitted, near=unjudged)
            for target, at, admitted, unjudged in ends
            if not (source in self.outsides and unjudged)
            for interface in self.starts[source]
        )

    def _hears(self, source: str, name: str, port: Port) -> bool:
        """Whether a packet arrives at an address where the proxies in a container listen.

        In a host's own stack all count as one.
        """
        ears = [
            e.address
            for p in self.facts.proxies
            if p.container == name
            for e in p.entrypoints
            if e.port == port
        ]
        stack = self.stacks.get(name)
        if not ears or None in ears or stack in (None, self.stacks.get(source), *self.hosts):
            return True
        there = [
            end
            for end in self.ends[name, port]
            if end[2] is not None
            or {*end[0].answers} & {*ears}
            or (end[0].kind == "macvlan" and end[0].passes is None)  # a machine takes all of its addresses
        ]
        return self.arrives(source, there)

    def _unjudged(self, name: str, port: Port) -> bool:
        host = self.hosts.get(name)
        return host is not None and host.firewall is None and host.entries is None and port not in host.ports

    def interfaces_of(self, source: str) -> list[Interface]:
        """Return the interfaces where packets of a source start; for a host, without its bridges."""
        if source in self.outsides and not self.outsides[source].inbound:
            return []
        own = self.own[self.stacks.get(source, source)]
        return [i for i in own if i.kind != "bridge"] if source in self.hosts else own

    def targets(self, name: str, port: Port) -> Iterator[End]:
        """Yield the ends that lead to `port` of `name`."""
        device = self.stacks.get(name, name)
        own, unjudged = self.own[device], self._unjudged(name, port)
        yield from ((interface, port, None, unjudged) for interface in own)
        container = self.containers.get(device)
        if container is None or not any(
            i.network and i.kind == "veth" and not i.network.internal for i in own
        ):
            return
        for published, external in self._published(container, port):
            for host in self.hosts if published.everywhere else (container.host,):
                admitted = _EVERYWHERE if published.admitted is None else published.admitted
                yield from ((door, external, admitted, False) for door in self._doors(host, published))

    def _doors(self, host: str, published: Published) -> list[Interface]:
        doors = self.own[host]
        if published.address.is_loopback:
            return []
        fits = [
            i for i in doors if i.kind == "cable" and (published.address in i.answers or len(i.answers) != 1)
        ]
        if not int(published.address) or not fits:
            return doors
        return fits + [i for i in doors if i.kind == "bridge"]

    def _published(self, container: ContainerFact, port: Port) -> Iterator[tuple[Published, Port]]:
        every = Published(internal=1, external=None, length=65535, protocol=port.protocol)
        for published in (*container.published, *((every,) if container.publish_all else ())):
            offset = port.number - published.internal
            if published.protocol is not port.protocol or not 0 <= offset < published.length:
                continue
            if published.external is None:
                yield from ((published, p) for p in self.ports if p.protocol is port.protocol)
            else:
                yield published, Port(number=published.external + offset, protocol=port.protocol)

    def _travels(
        self, start: Interface, target: Interface, port: Port, *, admitted: Prefixes | None, near: bool
    ) -> bool:
        """Whether a packet passes from one interface to another on some route, for some pair of addresses.

        `near`: the last sender must not be a gateway.
        """
        way = (start, target, through := admitted is not None)
        if way not in self.cables:
            self.cables[way] = list(self._routes(*way))
        for senders, last, exits, passages in self.cables[way]:
            if near and senders[-1].kind == "gateway":
                continue
            gates = self._gates(senders, last, port, through)
            entered = self._gate(last, "in", port) if not through or last.guest is not None else None
            # If no rule reads the address, one address stands for all.
            inside = last.kind == "veth" and last.network is not None and last.network.passes is not None
            closed = last.device in self.hosts and self.hosts[last.device].entries is not None
            inside = inside or last.passes is not None
            by_source = inside or through or closed or passages or any(gate.asks("source") for gate in gates)
            sources = senders[0].addresses[: None if by_source else 1]
            every = inside or exits or passages or any(gate.asks("dest") for gate in gates)
            dests = target.answers[: None if every else 1]
            dests = [dest for dest in dests if all(self._let_out(each, dest, port) for each in exits)]
            packets = (Packet(src, dst) for src in sources for dst in dests)
            if any(
                self._stays(senders[-1], last, packet, port)
                and (through or self._enters(last, arrived, port))
                and (admitted is None or any(arrived.src in prefix for prefix in admitted))
                and all(self._lets(gate, packet) for gate in gates if gate is not entered)
                and (entered is None or self._lets(entered, arrived))
                for packet in packets
                for arrived in self._passed(packet, passages, port)
            ):
                return True
        return False

    def _passed(self, packet: Packet, passages: list[Passage], port: Port) -> list[Packet]:
        """Return a packet as it is after all routers with rules on its way: none if one drops it."""
        packets = [packet]
        for passage in passages:
            packets = [
                Packet(each, before.dst)
                for before in packets
                for source in passage.carries(before, port)
                for each in (self.pool if source is None else [source])
            ]
        return packets

    def _enters(self, last: Interface, packet: Packet, port: Port) -> bool:
        """Whether a host's own rules let a packet in that comes from beyond its bridges."""
        host = self.hosts.get(last.device)
        if host is None or host.entries is None or last.kind == "bridge":
            return True
        return any(each.port == port and packet.src in each.source for each in host.entries)

    @staticmethod
    def _stays(sender: Interface, last: Interface, packet: Packet, port: Port) -> bool:
        """Whether the host passes a packet that stays on one bridge, or comes to a leg by its VLAN."""
        network = last.network
        if last.passes is not None:
            near = sender.network and network and sender.network.host == network.host
            beside = sender.kind == "macvlan" and near
            return bool(beside) or Pass(source=packet.src, destination=packet.dst, port=port) in last.passes
        if network is None or network.passes is None or not sender.kind == last.kind == "veth":
            return True
        return Pass(source=packet.src, destination=packet.dst, port=port) in network.passes

    def _routes(self, start: Interface, target: Interface, through: bool) -> Iterator[Route]:
        """Yield each route without a repeated switch: senders, last interface, networks with bounded egress.

        Behind a host that masquerades the list of senders starts again with that host.
        """
        begin: Route = ([start], start, [], [])
        queue = deque([(begin, frozenset((start.switch,)))] if target.device != start.device else [])
        while queue:
            (senders, _, exits, passages), seen = queue.popleft()
            for other in self.on[senders[-1].switch]:
                if other.device == senders[-1].device or self._apart(senders[-1], other, through):
                    continue
                if other is target or self._same_host(other, target):
                    yield senders, other, exits, passages
                elif other.router and other.router.name in {start.device, target.device}:
                    continue  # a router takes what is for itself where it arrives, and sends from itself
                elif other.device != target.device:
                    for leg in self._forward(senders[-1], other):
                        if leg.switch not in seen and not (other.router and other.device in seen):
                            hides, left = other.kind == "nat", other.network
                            first = senders[-1].addresses
                            bounded = [(left, first)] if hides and left and left.egress is not None else []
                            rules = [Passage(other.router, other.wire, leg.wire)] if other.router else []
                            way = [] if hides else [*passages, *rules]
                            new = ([leg] if hides else [*senders, leg], leg, [*exits, *bounded], way)
                            queue.append((new, seen | {leg.switch} | ({other.device} if rules else set())))

    @staticmethod
    def _let_out(way: Way, dest: IPv4Address, port: Port) -> bool:
        """Whether a host's rules let some sender out of a network to an address and port."""
        network, senders = way
        return any(
            exit_.port == port
            and (exit_.source is None or exit_.source in senders)
            and not any(dest in prefix for prefix in exit_.without)
            and (exit_.to is None or dest in exit_.to)
            for exit_ in network.egress or ()
        )

    @staticmethod
    def _same_host(other: Interface, target: Interface) -> bool:
        """Whether both are the same host: a host answers for all of its addresses at a bridge."""
        return other.kind == "bridge" and other.device == target.device

    def _forward(self, came: Interface, at: Interface) -> list[Interface]:
        """Return the interfaces by which a machine forwards what arrived at an interface."""
        legs = [leg for leg in self.own[at.device] if leg is not at]
        if at.kind == "gateway" and came.routed:
            return legs
        return [leg for leg in legs if leg.kind == "cable"] if at.kind == "nat" else []

    def _apart(self, one: Interface, two: Interface, through: bool) -> bool:
        if one.kind == two.kind == "veth":
            return one.network is not None and not one.network.icc
        if one.kind == two.kind == "macvlan" and one.network and two.network:
            private = any(n.driver is NetworkDriver.MACVLAN and not n.icc for n in (one.network, two.network))
            return one.network.host == two.network.host and private
        for leg, other in ((one, two), (two, one)):
            if leg.kind == "macvlan" and leg.network and leg.network.host == other.device:
                return True
        if "bridge" in (one.kind, two.kind):
            # A closed host does not answer, but its own programs reach the bridge.
            bridge, other = (one, two) if one.kind == "bridge" else (two, one)
            network = bridge.network
            if network and two is bridge:
                answers = network.host_reachable
                if through and network.sees_published is not None:
                    answers = network.sees_published
            else:
                answers = not network or network.gateway
            return other.kind != "veth" or not answers
        # Between a gateway and an interface without a route no packet passes either way.
        kinds = {one.kind: one, two.kind: two}
        if "gateway" in kinds:
            return not (one if two.kind == "gateway" else two).routed
        return False

    # ---------------------------------------------------------------------------------- the firewall

    def _gates(self, senders: list[Interface], last: Interface, port: Port, through: bool) -> list[Gate]:
        """Return every gate on the route; a packet to a published port meets no input gate of the host."""
        gates = [self._gate(sender, "out", port) for sender in senders]
        if not through or last.guest is not None:
            gates.append(self._gate(last, "in", port))
        return [gate for gate in gates if gate is not None]

    def _gate(self, interface: Interface, direction: str, port: Port) -> Gate | None:
        key = (interface, direction, port)
        if key not in self.gates:
            self.gates[key] = self._make_gate(interface, direction, port)
        return self.gates[key]

    def _make_gate(self, interface: Interface, direction: str, port: Port) -> Gate | None:
        datacenter, host = self.facts.datacenter, self.hosts.get(interface.device)
        if datacenter is None or not datacenter.enabled:
            return None
        blacklist = datacenter.ipsets.get("blacklist", ()) if direction == "in" else ()
        if interface.guest is not None and interface.nic is not None and interface.filtered:
            own = interface.guest.firewall
            rules = self._flat(own.rules, direction, interface.nic.name)
            policy = own.input_policy if direction == "in" else own.output_policy
            return Gate([r for r in rules if _about(r, port)], own, policy, None, blacklist)
        if interface.nic is not None and interface.nic.firewall and blacklist:
            return Gate([], None, "ACCEPT", None, blacklist)
        if host is None or host.firewall is None or not host.firewall.enabled or interface.kind != "cable":
            return None
        rules = self._flat((*host.firewall.rules, *datacenter.rules), direction, None)
        policy = datacenter.input_policy if direction == "in" else datacenter.output_policy
        numbers = STANDING if direction == "in" else STANDING[:-1]
        standing = port.protocol is Protocol.TCP and any(a <= port.number <= b for a, b in numbers)
        guarded = direction if standing else None
        return Gate([r for r in rules if _about(r, port)], None, policy, guarded, blacklist)

    def _lets(self, gate: Gate, packet: Packet) -> bool:
        if _in_set(gate.blacklist, packet.src):
            return False
        for rule in gate.rules:
            if self._names(rule.source, packet.src, gate.own) and self._names(
                rule.dest, packet.dst, gate.own
            ):
                return rule.action == "ACCEPT"
        if gate.standing == "in" and (self._managed(packet.src) or self._local(packet.src)):
            return True
        if gate.standing == "out" and self._local(packet.dst):
            return True
        return gate.policy == "ACCEPT"

    def _managed(self, address: IPv4Address) -> bool:
        assert self.facts.datacenter is not None
        return _in_set(self.facts.datacenter.ipsets.get("management", ()), address)

    def _local(self, address: IPv4Address) -> bool:
        datacenter = self.facts.datacenter
        assert datacenter is not None
        if "local_network" in datacenter.aliases:
            return address in _network(datacenter.aliases["local_network"])
        local = datacenter.local_network
        return local is None or address in local

    def _flat(self, rules: Iterable[ProxmoxRule], direction: str, card: str | None) -> list[ProxmoxRule]:
        assert self.facts.datacenter is not None
        flat: list[ProxmoxRule] = []
        for rule in rules:
            if not rule.enabled or (card and rule.iface and rule.iface != card):
                continue
            inner = self.facts.datacenter.groups[rule.group] if rule.group else (rule,)
            flat += [r for r in inner if r.enabled and r.type == direction]
        return flat

    def _names(self, text: str | None, address: IPv4Address, own: GuestFirewall | None) -> bool:
        datacenter = self.facts.datacenter
        assert datacenter is not None
        if text is None:
            return True
        plain = text.removeprefix("+").removeprefix("dc/").removeprefix("guest/")
        local = own if own is not None and "dc/" not in text else None
        if text.startswith("+"):
            sets = dict(datacenter.ipsets) | (dict(local.ipsets) if local else {})
            return _in_set(sets[plain], address)
        if text[0].isalpha():
            aliases = dict(datacenter.aliases) | (dict(local.aliases) if local else {})
            return address in _network(aliases[plain])
        if "-" in text:
            first, last = text.split("-")
            return IPv4Address(first) <= address <= IPv4Address(last)
        return any(address in _network(part) for part in text.split(","))

    # ----------------------------------------------------------------------------------- the proxies

    def proxied(self) -> Iterator[tuple[Proxy, Port, str, tuple[Port, ...]]]:
        """Yield (proxy, entrypoint, destination, ports) for each server that a router or a label names."""
        for proxy in self.facts.proxies:
            for router in proxy.routers:
                protocol = Protocol.UDP if router.kind is RouterProtocol.UDP else Protocol.TCP
                entries = [e.port for e in proxy.entrypoints if e.port.protocol is protocol]
                entries = [p for p in entries if _on(proxy, p, router.entrypoints)]
                for host, number in self._servers(proxy, router):
                    for name, port in self._served(host, Port(number=number, protocol=protocol)):
                        yield from ((proxy, entry, name, (port,)) for entry in entries)
            for container in self.facts.containers if proxy.labels else ():
                yield from self._labelled(proxy, container)

    @staticmethod
    def _servers(proxy: Proxy, router: Router) -> Iterator[tuple[str, int]]:
        services = {(s.kind, s.name): s for s in proxy.services}
        todo = [router.service]
        while todo:
            service = services[router.kind, todo.pop()]
            todo += service.services
            for url in service.servers:
                scheme, _, segment = url.rpartition("://")
                host, _, number = segment.partition(":")
                yield host, int(number or (443 if scheme == "https" else 80))

    def _labelled(
        self, proxy: Proxy, container: ContainerFact
    ) -> Iterator[tuple[Proxy, Port, str, tuple[Port, ...]]]:
        enable = container.labels.get("traefik.enable", "true" if proxy.exposed_by_default else "false")
        if enable == "false" or container.name == proxy.container:
            return
        number = container.labels.get("traefik.http.services.x.loadbalancer.server.port")
        chosen = container.labels.get("traefik.http.routers.x.entrypoints")
        ports = (Port(number=int(number)),) if number else container.ports or self.ports
        for entry in proxy.entrypoints:
            if _on(proxy, entry.port, tuple(chosen.split(",")) if chosen else ()):
                yield proxy, entry.port, container.name, ports

    def _served(self, host: str, port: Port) -> Iterator[tuple[str, Port]]:
        for container in self.containers.values():
            names = {container.name, *container.names}
            names |= {n for leg in container.legs for n in (*leg.names, str(leg.address))}
            if host in names:
                yield container.name, port
        for guest in self.guests.values():
            if host == guest.name or any(str(nic.address) == host for nic in guest.nics):
                yield guest.name, port
        for each in self.hosts.values():
            if host == each.name or any(str(leg.address) == host for leg in each.legs):
                yield each.name, port
                yield from self._at_host(each.name, port)

    def _at_host(self, host: str, port: Port) -> Iterator[tuple[str, Port]]:
        for container in self.containers.values():
            if self.stacks[container.name] == host:
                yield container.name, port
            for published in container.published:
                offset = port.number - (published.external or port.number)
                fits = published.protocol is port.protocol and 0 <= offset < published.length
                if fits and (published.everywhere or container.host == host):
                    yield container.name, Port(number=published.internal + offset, protocol=port.protocol)

    # -------------------------------------------------------------------------------- the machines

    def _stack(self, container: ContainerFact) -> str:
        seen = []
        while container.shares is not None:
            if container.shares in seen or container.shares not in self.containers:
                return container.host
            seen.append(container.shares)
            container = self.containers[container.shares]
        return container.host if container.mode is Mode.HOST else container.name

    def _plug_in(self) -> None:
        for outside in self.facts.outsides:
            inside = [a for a in self.pool if self._is_in(outside, a)]
            self._add(outside.name, outside.segment or outside.name, inside, "cable", answers=inside)
        for host in self.facts.hosts:
            for cable in host.legs:
                known = [cable.address] if cable.address else self.pool
                self._add(host.name, cable.segment, known, "cable", answers=known)
        for gateway in self.facts.gateways:
            ruled = gateway if gateway.permits is not None else None
            for segment in gateway.segments:
                wire = gateway.interfaces.get(segment, str(segment))
                self._add(f"gateway {gateway.name}", segment, [], "gateway", router=ruled, wire=wire)
        for guest in self.facts.guests:
            for nic in guest.nics:
                self._plug_guest(guest, nic)
        own = [c for c in self.facts.containers if self.stacks[c.name] == c.name and c.mode is not Mode.NONE]
        for container in own:
            for leg in container.legs or (Leg(network="bridge"),):
                self._plug_container(container, leg)

    def _plug_container(self, container: ContainerFact, leg: Leg) -> None:
        network = self._network(container, leg)
        if network.driver in (NetworkDriver.MACVLAN, NetworkDriver.IPVLAN):
            self._plug_macvlan(container, network, leg)
            return
        inner, door = [IPv4Address("172.31.0.10")], [IPv4Address("172.31.0.1")]
        if network.passes is not None or network.egress is not None or self._limited:
            inner = [leg.address] if leg.address else self.pool
        # An overlay spans hosts, but each host has its own switch for egress.
        switch = (network.name, container.host)
        if not any(i.switch == switch and i.device == container.host for i in self.interfaces):
            self._add(container.host, switch, door, "bridge", answers=door, network=network)
            if not network.internal and network.masquerade:
                self._add(container.host, switch, [], "nat", network=network)
        for each in (switch, network.name) if network.driver is NetworkDriver.OVERLAY else (switch,):
            self._add(container.name, each, inner, "veth", answers=inner, network=network)

    @cached_property
    def _limited(self) -> bool:
        """Whether a member's address on a bridge matters to some published port, or to a proxy there."""
        return any(each.admitted is not None for c in self.facts.containers for each in c.published) or any(
            each.address for proxy in self.facts.proxies for each in proxy.entrypoints
        )

    def _network(self, container: ContainerFact, leg: Leg) -> Network:
        for network in self.facts.networks:
            near = network.driver is NetworkDriver.OVERLAY or network.host == container.host
            if network.name == leg.network and near:
                return network
        return Network(name=leg.network, origin="implied", host=container.host)

    def _plug_guest(self, guest: GuestFact, nic: Nic) -> None:
        datacenter = self.facts.datacenter
        own = guest.firewall
        on = bool(datacenter and datacenter.enabled and own.enabled and nic.firewall)
        name = f"ipfilter-{nic.name}"
        sources = self.pool
        if on and (own.ipfilter or name in own.ipsets):
            lxc = [nic.address] if guest.lxc and nic.address else []
            sources = [a for a in self.pool if _in_set(own.ipsets.get(name, ()), a)] + lxc
        answers = [nic.address] if nic.address else self.pool
        segment = Vlan(bridge=nic.bridge, tag=nic.tag)
        self._add(guest.name, segment, sources, "cable", answers=answers, guest=guest, nic=nic, filtered=on)
        tags: set[int | None] = set(nic.trunks)
        if nic.tag is None and not nic.trunks:
            tags = {vlan.tag for vlan in self._vlans() if vlan.bridge == nic.bridge}
        for tag in tags - {nic.tag}:
            segment = Vlan(bridge=nic.bridge, tag=tag)
            self._add(guest.name, segment, self.pool, "cable", answers=self.pool)

    def _plug_macvlan(self, container: ContainerFact, network: Network, leg: Leg) -> None:
        known = [leg.address] if leg.address else self.pool
        for segment in [network.vlan] if network.vlan else self._vlans():
            self._add(
                container.name,
                segment,
                known,
                "macvlan",
                answers=known,
                network=network,
                passes=leg.passes,
                routed=not network.internal,
            )

    def _add(
        self, device: str, switch: object, addresses: list[IPv4Address], kind: str, **rest: object
    ) -> None:
        self.interfaces.append(Interface(device, switch, addresses, kind, **rest))  # type: ignore[arg-type]

    def _vlans(self) -> set[Vlan]:
        found = {n.vlan for n in self.facts.networks if isinstance(n.vlan, Vlan)}
        found |= {leg.segment for h in self.facts.hosts for leg in h.legs if isinstance(leg.segment, Vlan)}
        found |= {p for g in self.facts.gateways for p in g.segments if isinstance(p, Vlan)}
        for guest in self.facts.guests:
            for nic in guest.nics:
                found |= {Vlan(bridge=nic.bridge, tag=t) for t in (nic.tag, *nic.trunks)}
        return found | {Vlan(bridge=vlan.bridge) for vlan in found}

    # ------------------------------------------------------------------- addresses and ports to try

    @cached_property
    def pool(self) -> list[IPv4Address]:
        """Return the first address of each range in rules and interfaces, and the next one after."""
        texts: set[str] = {"10.10.1.7", "1.1.1.1"}
        for rule in self._every_rule():
            texts |= {
                part
                for text in (rule.source, rule.dest)
                if text
                for part in text.replace("-", ",").split(",")
            }
        datacenter = self.facts.datacenter
        for scope in (*(g.firewall for g in self.facts.guests), *((datacenter,) if datacenter else ())):
            texts |= set(scope.aliases.values())
            texts |= {entry.cidr for entries in scope.ipsets.values() for entry in entries}
        texts |= {str(o.prefix) for o in self.facts.outsides if o.prefix}
        texts |= {str(nic.address) for g in self.facts.guests for nic in g.nics}
        texts |= {str(leg.address) for c in self.facts.containers for leg in c.legs}
        texts |= {str(leg.address) for h in self.facts.hosts for leg in h.legs}
        entries = [each for host in self.facts.hosts for each in host.entries or ()]
        texts |= {str(each.source) for each in entries}
        texts |= {str(ip) for each in self._passes() for ip in (each.source, each.destination)}
        published = [each for container in self.facts.containers for each in container.published]
        texts |= {str(prefix) for each in published for prefix in each.admitted or ()}
        exits = [each for network in self.facts.networks for each in network.egress or ()]
        texts |= {str(prefix) for each in exits for prefix in each.without}
        texts |= {str(each.source) for each in exits if each.source}
        texts |= {str(each.to) for each in exits if each.to}
        texts |= {str(e.address) for proxy in self.facts.proxies for e in proxy.entrypoints if e.address}
        for gateway in self.facts.gateways:
            for permit in gateway.permits or ():
                ends = (permit.source, permit.source_without, permit.destination, permit.destination_without)
                texts |= {str(prefix) for end in ends for prefix in end or ()}
            texts |= {str(each.address) for each in gateway.forwards}
            for each in gateway.masquerades:
                texts |= {str(prefix) for prefix in each.sources or ()} | {str(each.address)}
        edges: set[int] = set()
        for text in texts:
            try:
                network = IPv4Network(text, strict=False)
            except (AddressValueError, NetmaskValueError, ValueError):
                continue
            low, high = int(network[0]), int(network[-1])
            edges |= {low, min(high + 1, 2**32 - 1)}
        return sorted(map(IPv4Address, edges))

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Return the first port of each range in rules, services and publications, and the next one after."""
        numbers = {1, 80}
        for rule in self._every_rule():
            for part in (rule.dport or "").split(",") if rule.dport else ():
                low, high = _bounds(part)
                numbers |= {low, high + 1}
        for name in self.names:
            numbers |= {number for port in self.declared(name) for number in (port.number, port.number + 1)}
        for container in self.facts.containers:
            for published in container.published:
                numbers |= {published.internal, published.internal + published.length - 1}
                # A rule for the external port also splits the internal range.
                shift = (published.external or published.internal) - published.internal
                numbers |= {number - shift for number in tuple(numbers)}
            label = container.labels.get("traefik.http.services.x.loadbalancer.server.port")
            numbers |= {int(label)} if label else set()
        exits = [each for network in self.facts.networks for each in network.egress or ()]
        numbers |= {each.port.number for each in exits}
        numbers |= {each.port.number for each in self._passes()}
        numbers |= {each.port.number for host in self.facts.hosts for each in host.entries or ()}
        for gateway in self.facts.gateways:
            numbers |= {permit.port.number for permit in gateway.permits or () if permit.port}
            numbers |= {each.number for each in gateway.forwards}
        for proxy in self.facts.proxies:
            numbers |= {int(s.rpartition(":")[2]) for p in proxy.services for s in p.servers}
        for rule in self._every_rule():
            for _, low, high in MACROS[rule.macro] if rule.macro else ():
                numbers |= {low, high + 1}
        return tuple(Port(number=n, protocol=p) for p in Protocol for n in sorted(numbers) if 1 <= n <= 65535)

    def _passes(self) -> list[Pass]:
        """Return what hosts let pass within bridges and to legs."""
        legs = [leg.passes for container in self.facts.containers for leg in container.legs]
        networks = [network.passes for network in self.facts.networks]
        return [each for passes in (*networks, *legs) for each in passes or ()]

    def _every_rule(self) -> list[ProxmoxRule]:
        rules = [rule for guest in self.facts.guests for rule in guest.firewall.rules]
        rules += [rule for host in self.facts.hosts if host.firewall for rule in host.firewall.rules]
        if datacenter := self.facts.datacenter:
            rules += datacenter.rules
            rules += [rule for group in datacenter.groups.values() for rule in group]
        return rules

    def _is_in(self, outside: Outside, address: IPv4Address) -> bool:
        if outside.prefix is not None:
            return address in outside.prefix and not any(address in other for other in outside.without)
        known = [o.prefix for o in self.facts.outsides if o.prefix]
        return not any(address in network for network in (*map(_network, _NOT_PUBLIC.split()), *known))


def _on(proxy: Proxy, port: Port, names: tuple[str, ...]) -> bool:
    return any(e.port == port and (e.name in names if names else e.default) for e in proxy.entrypoints)


def _about(rule: ProxmoxRule, port: Port) -> bool:
    number, protocol = port.number, port.protocol.value
    if rule.macro:
        return any(p == protocol and low <= number <= high for p, low, high in MACROS[rule.macro])
    if rule.proto not in (None, protocol):
        return False
    parts = [_bounds(part) for part in rule.dport.split(",")] if rule.dport else [(1, 65535)]
    return any(low <= number <= high for low, high in parts)


def _bounds(part: str) -> tuple[int, int]:
    low, _, high = part.partition(":")
    return int(low), int(high or low)


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network:
    return IPv4Network(text)


def _in_set(entries: Iterable[IpsetEntry], address: IPv4Address) -> bool:
    """Whether the longest entry of the set that contains the address is not `nomatch`."""
    holding = [e for e in entries if address in _network(e.cidr)]
    longest = max(holding, key=lambda e: _network(e.cidr).prefixlen, default=None)
    return longest is not None and not longest.nomatch
