"""The run time of the proof for large sites."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice, pairwise
from time import process_time
from typing import Any

from reachability.engine import Reachability
from reachability.facts import (
    ContainerFact,
    Datacenter,
    Entrypoint,
    Facts,
    GuestFact,
    GuestFirewall,
    Host,
    HostFirewallFact,
    HostLeg,
    IpsetEntry,
    Leg,
    Network,
    NetworkDriver,
    Nic,
    Outside,
    Pass,
    ProxmoxRule,
    Proxy,
    ProxyService,
    Published,
    Router,
    Vlan,
)
from reachability.intent import Intent, missing, surplus
from topology.model import Port

WEB, TLS, API = Port(number=80), Port(number=443), Port(number=8006)
ZONE = 5
"""Services in one zone; every other zone is a VLAN, the rest are Docker networks."""


def site(services: int) -> tuple[Facts, Intent]:
    """Return a sound site of many small zones: the ingress reaches one service of each, and pairs talk."""
    zones = services // ZONE
    networks = [
        Network(name="edge", origin="edge", host="docker-srv", masquerade=False, host_reachable=False)
    ]
    containers, guests, legs, flows = [], [], [Leg(network="edge")], {("internet", "traefik", TLS)}
    groups, aliases, routed = {}, {}, {}
    for zone in range(zones):
        names = [f"s{zone}-{i}" for i in range(ZONE)]
        flows.add(("traefik", names[0], WEB))
        flows |= {(names[i], names[i + 1], WEB) for i in range(ZONE - 1)}
        routed[names[0]] = f"http://{names[0]}:80"
        if zone % 2:
            members = [IPv4Address(f"172.30.0.{2 + i}") for i in range(ZONE + 1)]
            networks.append(
                Network(
                    name=f"zone{zone}",
                    origin=f"zone{zone}",
                    host="docker-srv",
                    internal=True,
                    host_reachable=False,
                    passes=tuple(
                        Pass(source=source, destination=destination, port=WEB)
                        for source, destination in pairwise(members)
                    ),
                )
            )
            own = [Leg(network=f"zone{zone}", address=address) for address in members]
            legs.append(own[0])
            containers += [
                ContainerFact(name=n, origin=n, host="docker-srv", legs=(leg,), ports=(WEB,))
                for n, leg in zip(names, own[1:], strict=True)
            ]
            continue
        tag, base = zone, int(IPv4Address("10.0.0.0")) + zone * 16
        leg = IPv4Address(base + 2)
        vlan = Vlan(bridge="vmbr1", tag=tag)
        networks.append(
            Network(
                name=f"vlan{tag}",
                origin=f"vlan{tag}",
                host="docker-srv",
                driver=NetworkDriver.MACVLAN,
                internal=True,
                vlan=vlan,
            )
        )
        legs.append(Leg(network=f"vlan{tag}", address=leg))
        aliases[f"ingress-{tag}"] = f"{leg}/32"
        for i, name in enumerate(names):
            address = IPv4Address(base + 3 + i)
            source = f"dc/ingress-{tag}" if i == 0 else str(IPv4Address(base + 2 + i))
            rules = [ProxmoxRule(origin=name, type="in", source=source, proto="tcp", dport="80")]
            if i + 1 < ZONE:
                dest = str(IPv4Address(base + 4 + i))
                rules.append(ProxmoxRule(origin=name, type="out", dest=dest, proto="tcp", dport="80"))
            groups[name] = tuple(rules)
            guests.append(
                GuestFact(
                    name=name,
                    origin=name,
                    nics=(Nic(name="net0", bridge="vmbr1", tag=tag, firewall=True, address=address),),
                    ports=(WEB,),
                    firewall=GuestFirewall(
                        origin=name,
                        enabled=True,
                        output_policy="DROP",
                        ipfilter=True,
                        rules=(ProxmoxRule(origin=name, type="group", group=name),),
                        ipsets={"ipfilter-net0": (IpsetEntry(cidr=f"{address}/32"),)},
                    ),
                )
            )
    ingress = ContainerFact(
        name="traefik",
        origin="traefik",
        host="docker-srv",
        legs=tuple(legs),
        ports=(TLS,),
        published=(Published(internal=443, external=443),),
    )
    outside = (HostLeg(segment="internet"), HostLeg(segment="management"))
    facts = Facts(
        outsides=(
            Outside(name="internet", origin="config"),
            Outside(name="management", origin="config", prefix=IPv4Network("10.10.1.0/24")),
        ),
        hosts=(
            Host(name="docker-srv", origin="config", legs=outside),
            Host(
                name="proxmox-srv",
                origin="config",
                legs=outside,
                ports=(API,),
                firewall=HostFirewallFact(origin="config"),
            ),
        ),
        networks=tuple(networks),
        containers=(ingress, *containers),
        guests=tuple(guests),
        datacenter=Datacenter(
            origin="dc", enabled=True, groups=groups, aliases=aliases | {"local_network": "10.10.1.0/24"}
        ),
        proxies=(
            Proxy(
                container="traefik",
                origin="traefik",
                entrypoints=(Entrypoint(name="web", port=TLS),),
                routers=tuple(Router(name=n, origin=n, service=n) for n in routed),
                services=tuple(ProxyService(name=n, origin=n, servers=(u,)) for n, u in routed.items()),
            ),
        ),
    )
    intent = Intent(
        flows=frozenset(flows | {("management", "proxmox-srv", API)}),
        routable=frozenset(routed),
        audience=dict.fromkeys(((name, WEB) for name in routed), frozenset({"internet"})),
        trusted=frozenset(("docker-srv", "proxmox-srv")),
    )
    return facts, intent


def seconds(services: int) -> float:
    """Return the processor time of a whole proof without undeclared or missing flows."""
    facts, intent = site(services)
    start = process_time()
    reachability = Reachability(facts)
    assert [str(flow) for flow in islice(surplus(reachability, intent), 3)] == []
    assert [str(flow) for flow in islice(missing(reachability, intent), 3)] == []
    return process_time() - start


def test_ten_thousand_services_in_five_seconds() -> None:
    """The proof of 10,000 services takes less than 5 s of processor time."""
    assert seconds(10_000) < 5


def test_grows_linearly() -> None:
    """Ten times as many services take at most twenty times as long."""
    seconds(100)
    small = [seconds(1_000) for _ in range(3)]
    assert seconds(10_000) / sorted(small)[1] < 20


def _large(**datacenter: Any) -> Facts:
    """Return a site of five guests with a large firewall; the first guest has the group `web`."""
    facts, _ = site(10)
    first, *others = facts.guests
    group = ProxmoxRule(origin="first", type="group", group="web")
    large = replace(first, firewall=replace(first.firewall, rules=(group,)))
    assert facts.datacenter is not None
    held = replace(
        facts.datacenter,
        groups={**facts.datacenter.groups, **datacenter.pop("groups")},
        **datacenter,
    )
    return replace(facts, guests=(large, *others), datacenter=held)


def _seconds(facts: Facts, name: str) -> float:
    start = process_time()
    reachability = Reachability(facts)
    assert reachability.evaluate("traefik", name, WEB).allowed
    assert not reachability.evaluate("traefik", name, TLS).allowed
    assert sum(1 for _ in reachability.flows())
    return process_time() - start


def test_large_ipsets_in_two_seconds() -> None:
    """A proof with ten ipsets of 1,000 entries, a third of them `nomatch`, takes less than 2 s."""
    base = int(IPv4Address("172.16.0.0"))
    sets = {
        f"set{number}": (
            IpsetEntry(cidr="10.0.0.2/32"),
            *(
                IpsetEntry(
                    cidr=f"{IPv4Address(base + number * 65536 + entry * 8)}/{30 if entry % 3 else 29}",
                    nomatch=not entry % 3,
                )
                for entry in range(998)
            ),
            IpsetEntry(cidr=f"{IPv4Address(base + number * 65536)}/16"),
        )
        for number in range(10)
    }
    rules = tuple(
        ProxmoxRule(origin=name, type="in", source=f"+dc/{name}", proto="tcp", dport=str(80 + number))
        for number, name in enumerate(sets)
    )
    facts = _large(groups={"web": rules}, ipsets=sets)
    assert _seconds(facts, facts.guests[0].name) < 2


def test_a_large_group_in_two_seconds() -> None:
    """A proof with a group of 2,000 rules with their own sources and ports takes less than 2 s."""
    base = int(IPv4Address("172.16.0.0"))
    rules = tuple(
        ProxmoxRule(
            origin=f"rule {number}",
            type="in",
            action="ACCEPT" if number % 4 else "DROP",
            source=f"{IPv4Address(base + number * 2)}/32",
            proto="tcp",
            dport=str(1000 + number // 2),
        )
        for number in range(1999)
    )
    web = ProxmoxRule(origin="web", type="in", source="10.0.0.2", proto="tcp", dport="80")
    facts = _large(groups={"web": (*rules, web)})
    assert _seconds(facts, facts.guests[0].name) < 2
