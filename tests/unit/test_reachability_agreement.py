"""The engine against a packet walk on random networks: two algorithms must give the same answer."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any

import pytest

from reachability import engine as module
from reachability import names, rules
from reachability.address_sets import ALL
from reachability.engine import Reachability
from reachability.facts import (
    ContainerFact,
    Datacenter,
    Entry,
    Entrypoint,
    Exit,
    Facts,
    Gateway,
    GuestFact,
    GuestFirewall,
    Host,
    HostFirewallFact,
    HostLeg,
    IpsetEntry,
    Leg,
    Masquerade,
    Mode,
    Network,
    NetworkDriver,
    Nic,
    Outside,
    Pass,
    Permit,
    PortForward,
    ProxmoxRule,
    Proxy,
    ProxyService,
    Published,
    Router,
    RouterProtocol,
    Segment,
    Vlan,
)
from reachability.forwarding import Forwarding
from reachability.links import Links
from reachability.port_groups import PortGroup, PublishedPort
from reachability.result import EdgeKind
from reachability.routing import Hop
from reachability.rules import Chain, Firewall
from reachability.stacks import Stacks, key_of
from tests.unit.packet_walk import Key, Walk
from topology.model import Port, Protocol

NETWORKS, SHARES = 1000, 4
CHAIN, IPSET = rules._chain, names.ipset
INIT, LET_OUT = Reachability.__init__, Stacks._let_out

WEB, TLS, SSH, API, DNS = (
    Port(number=80),
    Port(number=443),
    Port(number=22),
    Port(number=8006),
    Port(number=53, protocol=Protocol.UDP),
)
BRIDGE, MANAGEMENT = "vmbr1", IPv4Network("10.10.1.0/24")
_ADMITTED = ((MANAGEMENT,), (MANAGEMENT, IPv4Network("172.30.0.2/31")), (IPv4Network("10.10.10.8/29"),))
"""From where alone a published port may be used: a network outside, members of bridges, guests."""
NEAR, FAR = IPv4Network("10.0.0.0/8"), IPv4Network("0.0.0.0/1")


class Draw:
    """Draw a small random site; every choice follows from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  # reproducible, not secret
        # Each its own, so that what they draw changes nothing else.
        self.ruled = Random(f"routers {seed}")  # noqa: S311  # reproducible, not secret
        self.leading = Random(f"exits {seed}")  # noqa: S311  # reproducible, not secret
        self.legged = Random(f"legs {seed}")  # noqa: S311  # reproducible, not secret

    def _often(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance

    def _some(self, things: list[Any], most: int) -> list[Any]:
        return self.random.sample(things, self.random.randint(0, min(most, len(things))))

    def _address(self, tag: int | None = None) -> IPv4Address:
        tag = self.random.choice((10, 20)) if tag is None else tag
        return IPv4Address(f"10.10.{tag}.{self.random.choice((2, 11, 12))}")

    def facts(self) -> Facts:
        """Return facts; over many seeds they have every kind of network, mode, rule and router."""
        hosts = ["docker-srv", "docker-two"] if self._often(0.15) else ["docker-srv"]
        networks = [self._network(f"net{i}", hosts) for i in range(self.random.randint(1, 4))]
        containers = [self._container(f"c{i}", hosts, networks, i) for i in range(self.random.randint(1, 5))]
        guests = [self._guest(f"g{i}") for i in range(self.random.randint(0, 4))]
        return Facts(
            outsides=(
                Outside(
                    name="internet",
                    origin="o",
                    ports=(TLS,) if self._often(0.3) else (),
                    inbound=self._often(0.8),
                ),
                Outside(name="management", origin="o", prefix=MANAGEMENT),
            ),
            hosts=(
                *(
                    Host(name=h, origin="h", legs=self._legs(), ports=self._ports(), entries=self._entries())
                    for h in hosts
                ),
                Host(
                    name="proxmox-srv",
                    origin="h",
                    legs=self._legs(),
                    ports=(API, SSH),
                    firewall=HostFirewallFact(
                        origin="h", enabled=self._often(0.9), rules=self._rules("node", 1, node=True)
                    ),
                ),
            ),
            gateways=(
                *(
                    Gateway(name=f"gateway{i}", origin="g", segments=tuple(self._some(self._segments(), 3)))
                    for i in range(self.random.choice((0, 0, 0, 1, 2)))
                ),
                *(self._router(f"router{i}") for i in range(self.ruled.choice((*(0,) * 89, *(1,) * 10, 2)))),
            ),
            networks=tuple(networks),
            containers=tuple(containers),
            guests=tuple(guests),
            datacenter=self._datacenter(),
            proxies=tuple(self._proxies(containers, guests)),
        )

    def _router(self, name: str) -> Gateway:
        draw = self.ruled
        segments = draw.sample(self._segments(), draw.randint(2, 5))
        wires = {segment: f"eth{draw.randrange(4)}" for segment in segments}
        ends = (None, (IPv4Network("10.10.10.0/24"),), (IPv4Network("10.10.20.11"),), (MANAGEMENT,))
        ports = (None, WEB, TLS, SSH, DNS)
        permits = [
            Permit(
                inbound=draw.choice((None, *wires.values())),
                outbound=draw.choice((None, *wires.values())),
                port=draw.choice(ports),
                source=draw.choice(ends),
                source_without=draw.choice(((), (), (NEAR,))),
                destination=draw.choice(ends),
                destination_without=draw.choice(((), (), (NEAR,))),
                forwarded=draw.random() < 0.2,
            )
            for _ in range(draw.randint(0, 5))
        ]
        forwards = [
            PortForward(
                inbound=draw.choice([*wires.values()]),
                port=draw.choice((WEB, TLS, DNS)),
                address=IPv4Address(draw.choice(("10.10.10.2", "10.10.20.11", "10.10.1.5"))),
                number=draw.choice((80, 443, 53)),
            )
            for _ in range(draw.randint(0, 3))
        ]
        masquerades = [
            Masquerade(
                outbound=draw.choice([*wires.values()]),
                sources=draw.choice((None, (IPv4Network("10.10.10.0/24"),), (NEAR,))),
                address=draw.choice((None, IPv4Address("10.10.20.12"), IPv4Address("10.10.1.7"))),
            )
            for _ in range(draw.randint(0, 2))
        ]
        return Gateway(
            name=name,
            origin=name,
            segments=tuple(segments),
            interfaces=wires,
            permits=tuple(permits),
            forwards=tuple(forwards),
            masquerades=tuple(masquerades),
        )

    def _segments(self) -> list[Segment]:
        vlans = [Vlan(bridge=BRIDGE, tag=tag) for tag in (10, 20, None)]
        return ["internet", "management", *vlans]

    def _legs(self) -> tuple[HostLeg, ...]:
        legs = []
        for segment in self._some(self._segments(), 3):
            address = None
            if isinstance(segment, Vlan) and self._often(0.8):
                address = self._address(segment.tag or 20)
            elif segment == "management" and self._often():
                address = IPv4Address("10.10.1.5")
            legs.append(HostLeg(segment=segment, address=address))
        return tuple(legs)

    def _ports(self) -> tuple[Port, ...]:
        return tuple(self._some([WEB, TLS, SSH, DNS], 2))

    def _network(self, name: str, hosts: list[str]) -> Network:
        driver = self.random.choices(list(NetworkDriver), (6, 1, 4, 1))[0]
        closed = driver is NetworkDriver.BRIDGE and self._often()
        vlan = Vlan(bridge=BRIDGE, tag=self.random.choice((10, 20, None)))
        legs = driver in (NetworkDriver.MACVLAN, NetworkDriver.IPVLAN)
        return Network(
            name=name,
            origin=name,
            host=self.random.choice(hosts),
            driver=driver,
            internal=self._often(),
            icc=self._often(0.8),
            passes=tuple(self._pass() for _ in range(self.random.randrange(5))) if closed else None,
            masquerade=self._often(0.8),
            egress=tuple(self._exit() for _ in range(self.random.randrange(4))) if self._often(0.4) else None,
            host_reachable=self._often(0.6),
            sees_published=self.random.choice((True, False, None)),
            gateway=self._often(0.8),
            vlan=vlan if legs and self._often(0.9) else None,
        )

    def _pass(self) -> Pass:
        source, destination = (IPv4Address(f"172.30.0.{self.random.choice((2, 3, 4))}") for _ in range(2))
        port = self.random.choice((WEB, TLS, SSH, DNS, Port(number=9000)))
        return Pass(source=source, destination=destination, port=port)

    def _exit(self) -> Exit:
        source = self.random.choice((None, *(IPv4Address(f"172.30.0.{last}") for last in (2, 3, 4))))
        without = self._some([NEAR, MANAGEMENT, FAR], 3)
        to = self.leading.choice((None, None, IPv4Network("10.10.10.0/24"), IPv4Network("10.10.20.11")))
        port = self.random.choice((WEB, TLS, SSH, DNS))
        return Exit(port=port, source=source, without=tuple(without), to=to)

    def _container(self, name: str, hosts: list[str], networks: list[Network], index: int) -> ContainerFact:
        host = self.random.choice(hosts)
        near = [n for n in networks if n.host == host or n.driver is NetworkDriver.OVERLAY]
        return ContainerFact(
            name=name,
            origin=name,
            host=host,
            mode=self.random.choices(list(Mode), (10, 1, 1))[0],
            shares=f"c{self.random.randrange(index + 2)}" if self._often(0.1) else None,
            legs=tuple(self._leg(n) for n in self._some(near, 3) or near[:1]),
            ports=self._ports(),
            published=tuple(self._published() for _ in range(self.random.choice((0, 0, 1, 2)))),
            publish_all=self._often(0.05),
            labels=self._labels(),
        )

    def _leg(self, network: Network) -> Leg:
        draw, address = self.legged, self._leg_address(network)
        ruled = network.driver is NetworkDriver.MACVLAN and not network.icc and address
        sources = [IPv4Address(f"10.10.{tag}.{last}") for tag in (10, 20) for last in (2, 11, 12)]
        passes = (
            Pass(source=draw.choice(sources), destination=address, port=draw.choice((WEB, TLS, SSH, DNS)))
            for _ in range(draw.randrange(4))
            if address
        )
        return Leg(
            network=network.name,
            address=address,
            passes=tuple(passes) if ruled and draw.random() < 0.4 else None,
        )

    def _leg_address(self, network: Network) -> IPv4Address | None:
        if isinstance(network.vlan, Vlan) and self._often(0.8):
            return self._address(network.vlan.tag or 20)
        if network.passes is not None and self._often(0.9):
            return IPv4Address(f"172.30.0.{self.random.choice((2, 3, 4))}")
        return None

    def _entries(self) -> tuple[Entry, ...] | None:
        ports = self._some([WEB, SSH, DNS], 3)
        found = (Entry(port=each, source=self.random.choice((MANAGEMENT, NEAR, FAR))) for each in ports)
        return tuple(found) if self._often(0.4) else None

    def _published(self) -> Published:
        inner = self.random.choice((22, 80, 80, 443, 443, 9000))
        addresses = ("0.0.0.0", "0.0.0.0", "127.0.0.1", "10.10.1.5", "10.10.10.2")  # noqa: S104  # as Docker has it
        return Published(
            internal=inner,
            external=self.random.choice((inner, 8081, None)),
            length=self.random.choice((1, 1, 2)),
            protocol=self.random.choices(list(Protocol), (5, 1))[0],
            address=IPv4Address(self.random.choice(addresses)),
            everywhere=self._often(0.1),
            admitted=self.random.choice((None, None, *_ADMITTED)),
        )

    def _labels(self) -> dict[str, str]:
        labels = {}
        if self._often(0.3):
            labels["traefik.enable"] = self.random.choice(("true", "false"))
        if self._often(0.3):
            labels["traefik.http.routers.x.entrypoints"] = self.random.choice(("web", "tls", "web,tls"))
        if self._often(0.3):
            labels["traefik.http.services.x.loadbalancer.server.port"] = self.random.choice(("80", "9000"))
        return labels

    def _guest(self, name: str) -> GuestFact:
        nics = []
        for index in range(self.random.choice((1, 1, 1, 2))):
            tag = self.random.choice((10, 10, 20, 20, None))
            nics.append(
                Nic(
                    name=f"net{index}",
                    bridge=BRIDGE,
                    tag=tag,
                    trunks=tuple(self._some([10, 20], 2)) if self._often(0.15) else (),
                    firewall=self._often(0.85),
                    address=self._address(tag or 20),
                )
            )
        sets = {"own": self._ipset()}
        if self._often(0.3):
            sets["ipfilter-net0"] = (IpsetEntry(cidr=f"{nics[0].address}/32"),)
        return GuestFact(
            name=name,
            origin=name,
            nics=tuple(nics),
            ports=self._ports(),
            lxc=self._often(0.3),
            firewall=GuestFirewall(
                origin=name,
                enabled=self._often(0.85),
                input_policy=self._policy(),
                output_policy=self._policy(),
                ipfilter=self._often(0.6),
                rules=self._rules(name, 4),
                ipsets=sets,
                aliases={"here": str(self._prefix())},
            ),
        )

    def _policy(self) -> str:
        return self.random.choices(("DROP", "ACCEPT", "REJECT"), (6, 3, 1))[0]

    def _prefix(self) -> IPv4Network:
        texts = (f"{self._address()}/32", "10.10.10.0/24", "10.10.0.0/16", "10.10.10.8/29", "8.8.8.8/32")
        return IPv4Network(self.random.choice(texts))

    def _ipset(self) -> tuple[IpsetEntry, ...]:
        prefixes = {self._prefix() for _ in range(3)}
        return tuple(IpsetEntry(cidr=str(p), nomatch=self._often(0.3)) for p in sorted(prefixes))

    def _rules(
        self, origin: str, most: int, *, node: bool = False, group: bool = False
    ) -> tuple[ProxmoxRule, ...]:
        return tuple(
            self._rule(f"{origin} {i}", node=node, group=group) for i in range(self.random.randint(0, most))
        )

    def _rule(self, origin: str, *, node: bool, group: bool) -> ProxmoxRule:
        iface = self.random.choice(("net0", "net1")) if not (node or group) and self._often(0.2) else None
        if not group and self._often(0.25):
            return ProxmoxRule(
                origin=origin, type="group", group="shared", iface=iface, enabled=self._often(0.9)
            )
        names = [
            str(self._prefix()),
            "10.10.10.2-10.10.10.11",
            "10.10.10.2,10.10.20.11",
            "dc/there",
            "+dc/set",
        ]
        names += ["there", "+set"] if node or group else ["here", "guest/here", "there", "+own", "+guest/own"]
        macro = self.random.choice(("SSH", "HTTP", "Web", "DNS", "Ping")) if self._often(0.2) else None
        proto = self.random.choice(("tcp", "tcp", "udp", "icmp", None)) if macro is None else None
        ports = ("80", "22,443", "80:443", "1:1024", "8006", "53", None)
        return ProxmoxRule(
            origin=origin,
            type=self.random.choice(("in", "in", "out")),
            action=self.random.choices(("ACCEPT", "DROP", "REJECT"), (7, 2, 1))[0],
            enabled=self._often(0.9),
            macro=macro,
            proto=proto,
            source=self.random.choice(names) if self._often() else None,
            dest=self.random.choice(names) if not (node or group) and self._often(0.3) else None,
            dport=self.random.choice(ports) if proto in ("tcp", "udp") else None,
            iface=iface,
        )

    def _datacenter(self) -> Datacenter | None:
        if self._often(0.05):
            return Datacenter(
                origin="dc", groups={"shared": ()}, ipsets={"set": ()}, aliases={"there": "10.0.0.0/8"}
            )
        sets = {"set": self._ipset()}
        if self._often():
            sets["management"] = (IpsetEntry(cidr=str(MANAGEMENT)),)
        if self._often(0.1):
            sets["blacklist"] = self._ipset()
        return Datacenter(
            origin="dc",
            enabled=self._often(0.9),
            input_policy=self._policy(),
            output_policy=self._policy(),
            rules=self._rules("dc", 2, node=True),
            groups={"shared": self._rules("group", 3, group=True)},
            ipsets=sets,
            aliases={"there": str(self._prefix())}
            | ({"local_network": "10.10.20.0/24"} if self._often(0.1) else {}),
            local_network=MANAGEMENT if self._often(0.9) else None,
        )

    def _proxies(self, containers: list[ContainerFact], guests: list[GuestFact]) -> list[Proxy]:
        hosts = [c.name for c in containers] + [str(n.address) for g in guests for n in g.nics]
        hosts += ["docker-srv", "10.10.1.5"]
        entrypoints: tuple[Entrypoint, ...] = (
            Entrypoint(name="web", port=WEB),
            Entrypoint(name="tls", port=TLS, default=self._often()),
        )
        legs = [leg.address for container in containers for leg in container.legs if leg.address]
        if legs and self._often(0.5):
            entrypoints = tuple(replace(each, address=self.random.choice(legs)) for each in entrypoints)
        proxies = []
        for container in self._some(containers, 2) or containers[:1]:
            count = self.random.randint(1, 3)
            services = [
                ProxyService(
                    name=f"s{i}",
                    origin="s",
                    servers=tuple(
                        f"http://{h}:{self.random.choice((80, 9000, 443))}" for h in self._some(hosts, 2)
                    ),
                    services=(f"s{i - 1}",) if i and self._often(0.3) else (),
                )
                for i in range(count)
            ]
            routers = [
                Router(
                    name=f"r{i}",
                    origin=f"r{i}",
                    service=f"s{i}",
                    kind=RouterProtocol.HTTP,
                    entrypoints=self.random.choice(((), ("web",), ("tls", "web"), ("none",))),
                )
                for i in range(count)
            ]
            proxies.append(
                Proxy(
                    container=container.name,
                    origin="p",
                    entrypoints=self._heard(container, entrypoints),
                    routers=tuple(routers),
                    services=tuple(services),
                    labels=self._often(0.3),
                    exposed_by_default=self._often(),
                )
            )
        return proxies

    def _heard(self, container: ContainerFact, entrypoints: tuple[Entrypoint, ...]) -> tuple[Entrypoint, ...]:
        """Return entry points that often are at one of their own container's addresses."""
        own = [leg.address for leg in container.legs if leg.address]
        if not own or self.legged.random() < 0.5:
            return entrypoints
        return tuple(replace(each, address=self.legged.choice(own)) for each in entrypoints)


def engine(facts: Facts) -> set[Key]:
    """Return the engine's flows without their traces."""
    return {flow.key for flow in Reachability(facts).flows()}


@cache
def walked(seed: int) -> set[Key]:
    """Return the walk's flows of a network; no breakage of the engine changes them."""
    return Walk(Draw(seed).facts()).flows()


def disagreement(seeds: range) -> str | None:
    """Return the first network on which the two disagree, by its seed."""
    for seed in seeds:
        ours, theirs = engine(Draw(seed).facts()), walked(seed)
        if ours != theirs:
            only = sorted(map(str, ours - theirs)), sorted(map(str, theirs - ours))
            return f"seed {seed}: only the engine finds {only[0]}, only the walk {only[1]}"
    return None


def _with_fields(function: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: replace(function(*args, **kwargs), **changes)


def _with_addresses(facts: Facts) -> Facts:
    return replace(facts, networks=tuple(replace(each, gateway=True) for each in facts.networks))


def _everywhere(exits: tuple[Exit, ...] | None) -> tuple[Exit, ...] | None:
    return exits and tuple(replace(each, without=()) for each in exits)


class _Everywhere(dict[Any, Any]):
    """Members of a network at any address."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[0], default)


def _known(self: Stacks) -> dict[Any, Any]:
    legs = [(network, leg, stack.names) for stack in self.by_owner.values() for network, leg in stack.legs]
    return {(key_of(network), leg.address or 0): names for network, leg, names in legs}


BREAKAGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a network card's switch does not count": lambda patch: patch.setattr(
        Firewall, "effective", lambda self, guest, _: self.datacenter.enabled and guest.firewall.enabled
    ),
    "any address passes the IP filter": lambda patch: patch.setattr(Firewall, "sources", lambda *_: ALL),
    "the policy always accepts": lambda patch: patch.setattr(
        rules, "_chain", _with_fields(rules._chain, accept=True)
    ),
    "rules are tried from the last": lambda patch: patch.setattr(
        rules, "_chain", lambda matches, *rest: CHAIN(tuple(matches)[::-1], *rest)
    ),
    "nomatch matches": lambda patch: patch.setattr(
        names,
        "ipset",
        lambda entries, *rest: IPSET([replace(e, nomatch=False) for e in entries], *rest),
    ),
    "the guest's own output is not filtered": lambda patch: patch.setattr(
        Firewall, "outbound", lambda *_: None
    ),
    "a macvlan leg reaches its host": lambda patch: patch.setattr(Links, "apart", lambda *_: False),
    "a published port keeps its number": lambda patch: patch.setattr(
        module, "external", lambda _, ranges: iter(ranges)
    ),
    "internal networks have a way out": lambda patch: patch.setattr(
        Stacks, "egress", property(lambda self: {host: {None: self.owners} for host in self.hosts})
    ),
    "a host lets everything out": lambda patch: patch.setattr(
        Reachability, "_lets_out", lambda *_, **__: True
    ),
    "every member goes out as one does": lambda patch: patch.setattr(
        Stacks, "_let_out", lambda _, network, __: network.egress
    ),
    "a host lets packets out to every address": lambda patch: patch.setattr(
        Stacks, "_let_out", lambda *args: _everywhere(LET_OUT(*args))
    ),
    "every gateway address answers": lambda patch: patch.setattr(
        Stacks,
        "gateways",
        property(
            lambda self: {h: [(n, m) for host, n, _, m in self._bridged if h == host] for h in self.hosts}
        ),
    ),
    "a closed host shows no published port": lambda patch: patch.setattr(Stacks, "windows", {}),
    "the router lets everything in": lambda patch: patch.setattr(
        Links, "_outside", _with_fields(Links._outside, silent=False)
    ),
    "a host without an address on a bridge reaches its members": lambda patch: patch.setattr(
        Reachability, "__init__", lambda self, facts: INIT(self, _with_addresses(facts))
    ),
    "neighbours pass at any address": lambda patch: patch.setattr(
        Stacks, "at", property(lambda self: _Everywhere(self.members))
    ),
    "everyone uses a limited port": lambda patch: patch.setattr(PublishedPort, "admitted", ALL),
    "everyone in a watching network uses a limited port": lambda patch: patch.setattr(
        Reachability, "_admitted", lambda _, members, *__: members
    ),
    "a proxy listens at every address": lambda patch: patch.setattr(Forwarding, "ears", {}),
    "neighbours pass on any port": lambda patch: patch.setattr(PortGroup, "holds", lambda *_: True),
    "a host's own rules let everything in": lambda patch: patch.setattr(
        module, "entered", lambda _, group: [(group, None)]
    ),
    "a host's own rules let nothing in": lambda patch: patch.setattr(
        module, "entered", lambda host, group: [(group, None)] if host.entries is None else []
    ),
    "a leg's rules let everything to it": lambda patch: patch.setattr(
        module, "passed", lambda _, group: [(group, None)]
    ),
    "a leg's rules let nothing to it": lambda patch: patch.setattr(
        module, "passed", lambda passes, group: [(group, None)] if passes is None else []
    ),
    "an unknown address is none": lambda patch: patch.setattr(Stacks, "at", property(_known)),
    "a router's rules let everything through": lambda patch: patch.setattr(
        Hop, "chain", Chain(matches=(), accept=True, policy="")
    ),
    "a router hides no source": lambda patch: patch.setattr(Hop, "before", lambda _, accepted: accepted),
    "a router forwards nothing": lambda patch: patch.setattr(Links, "_routed", lambda *_: iter(())),
    "a proxy forwards nothing": lambda patch: patch.setattr(Forwarding, "edges", {}),
}
"""Changes that break one part of the engine each; every one must cause a disagreement."""


@pytest.mark.parametrize("share", range(SHARES))
def test_agrees_with_the_walk(share: int) -> None:
    """On 1,000 random networks the engine and the packet walk find the same connections."""
    assert disagreement(range(share, NETWORKS, SHARES)) is None


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_engine_is_noticed(breakage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each part of the engine broken, the engine and the walk disagree on one of the same networks."""
    BREAKAGES[breakage](monkeypatch)
    assert "seed" in str(disagreement(range(NETWORKS)))


def test_networks_are_worth_the_walk() -> None:
    """The random networks open every kind of edge, each on at least one network in fifty."""
    kinds = Counter(
        how
        for seed in range(NETWORKS // 4)
        for how in {flow.how for flow in Reachability(Draw(seed).facts()).flows()}
    )
    assert min(kinds[how] for how in EdgeKind) >= NETWORKS // 4 // 50
