"""The engine's semantics, one by one, and its messages."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from reachability.engine import Reachability
from reachability.facts import (
    UNKNOWN,
    ContainerFact,
    Datacenter,
    Entrypoint,
    Exit,
    Facts,
    Gateway,
    GuestFact,
    GuestFirewall,
    Host,
    HostFirewallFact,
    HostLeg,
    Leg,
    Mode,
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
from reachability.intent import Intent, diff, missing, surplus
from reachability.result import EdgeKind, Trace, UnknownNameError
from topology.model import Port

WEB, TLS, SSH, API, LOKI = (Port(number=n) for n in (80, 443, 22, 8006, 3100))
VLAN10, VLAN20 = Vlan(bridge="vmbr1", tag=10), Vlan(bridge="vmbr1", tag=20)
OUTSIDES = (
    Outside(name="internet", origin="config"),
    Outside(name="management", origin="config", prefix=IPv4Network("10.10.1.0/24")),
)
PRIVATE = IPv4Network("10.0.0.0/8")
EVERYWHERE = (HostLeg(segment="internet"), HostLeg(segment="management"))
DOCKER = Host(name="docker-srv", origin="config", legs=EVERYWHERE)
PROXMOX = Host(
    name="proxmox-srv",
    origin="config",
    legs=EVERYWHERE,
    ports=(API, SSH),
    firewall=HostFirewallFact(origin="node firewall"),
)


def network(name: str, **fields: Any) -> Network:
    """Return an internal bridge that isolates its members from the host, unless told otherwise."""
    closed: dict[str, Any] = {"host": "docker-srv", "internal": True, "host_reachable": False}
    return Network(**closed | fields, name=name, origin=name)


def leg10(name: str = "vlan10", **fields: Any) -> Network:
    """Return a macvlan network on VLAN 10."""
    on_vlan: dict[str, Any] = {"driver": NetworkDriver.MACVLAN, "vlan": VLAN10}
    return network(name, **on_vlan | fields)


def container(name: str, *networks: str | Leg, **fields: Any) -> ContainerFact:
    """Return a container on these networks, with port 80."""
    legs = tuple(Leg(network=n) if isinstance(n, str) else n for n in networks)
    usual: dict[str, Any] = {"ports": (WEB,)}
    return ContainerFact(**usual | fields, name=name, origin=name, host="docker-srv", legs=legs)


def on10(host: int, name: str = "vlan10") -> Leg:
    """Return a container's leg on VLAN 10."""
    return Leg(network=name, address=IPv4Address(f"10.10.10.{host}"))


def guest(name: str, host: int, *rules: ProxmoxRule, tag: int | None = 10, **fields: Any) -> GuestFact:
    """Return a guest with port 80 and an enabled firewall, which may send from any address."""
    nic = Nic(
        name="net0",
        bridge="vmbr1",
        tag=tag,
        trunks=fields.pop("trunks", ()),
        firewall=fields.pop("card", True),
        address=IPv4Address(f"10.10.{tag or 10}.{host}"),
    )
    usual: dict[str, Any] = {"enabled": True, "rules": rules}
    firewall = GuestFirewall(**usual | fields, origin=name)
    return GuestFact(name=name, origin=name, nics=(nic,), ports=(WEB,), firewall=firewall)


def rule(kind: str = "in", **fields: Any) -> ProxmoxRule:
    """Return an accept rule."""
    return ProxmoxRule(origin="rule", type=kind, **fields)


DATACENTER = Datacenter(origin="datacenter", enabled=True, local_network=IPv4Network("10.10.1.0/24"))


def site(*things: Any, **fields: Any) -> Reachability:
    """Return the engine for these networks, containers and guests, with the usual hosts and outsides."""
    pick = {
        kind: tuple(t for t in things if isinstance(t, kind)) for kind in (Network, ContainerFact, GuestFact)
    }
    usual: dict[str, Any] = {
        "outsides": OUTSIDES,
        "hosts": (DOCKER, PROXMOX),
        "networks": pick[Network],
        "containers": pick[ContainerFact],
        "guests": pick[GuestFact],
        "datacenter": DATACENTER,
    }
    return Reachability(Facts(**usual | fields))


def sources(reachability: Reachability, destination: str, port: Port | None = WEB) -> set[str]:
    """Return the sources that reach a port, hosts left out."""
    found = {f.source for f in reachability.flows() if (f.destination, f.port) == (destination, port)}
    return found - {"docker-srv", "proxmox-srv"}


def destinations(reachability: Reachability, source: str) -> set[str]:
    """Return what a source reaches, as `name:port`."""
    return {f"{f.destination}:{f.port or '*'}" for f in reachability.flows() if f.source == source}


# ------------------------------------------------------------------------------------ Docker networks


def test_neighbours_reach_each_other_on_every_port() -> None:
    """Two containers on one bridge reach each other on declared ports and on other ports."""
    engine = site(network("a"), container("x", "a"), container("y", "a"))
    assert (sources(engine, "y"), sources(engine, "y", None)) == ({"x"}, {"x"})


def test_networks_are_apart() -> None:
    """Containers on different networks do not reach each other."""
    engine = site(network("a"), network("b"), container("x", "a"), container("y", "b"))
    assert sources(engine, "y") == set()


def test_icc_off_keeps_neighbours_apart() -> None:
    """With inter-container communication off, neighbours do not reach each other, and the reason says so."""
    engine = site(network("a", icc=False), container("x", "a"), container("y", "a"))
    assert engine.evaluate("x", "y", WEB).reasons == ("a: network a keeps its members apart",)


def inside(name: str, host: int) -> Leg:
    """Return a container's leg at an address of a Docker network."""
    return Leg(network=name, address=IPv4Address(f"172.30.0.{host}"))


CLOSED = network(
    "a", passes=(Pass(source=IPv4Address("172.30.0.2"), destination=IPv4Address("172.30.0.3"), port=WEB),)
)


def test_rules_tell_neighbours_apart() -> None:
    """Where the host's rules close a bridge, only the source, destination and port that they name pass."""
    engine = site(CLOSED, *(container(n, inside("a", h)) for n, h in (("x", 2), ("y", 3), ("z", 4))))
    assert [str(flow) for flow in engine.flows() if flow.how is EdgeKind.NEIGHBOUR] == ["x -> y:80/tcp"]
    assert engine.evaluate("z", "y", WEB).reasons == (
        "docker-srv's rules let nothing of the kind pass within a",
    )


def test_rules_name_ports_that_nobody_declares() -> None:
    """A rule for a port that the destination does not declare opens any other port."""
    engine = site(CLOSED, container("x", inside("a", 2)), container("y", inside("a", 3), ports=()))
    assert (sources(engine, "y", None), sources(engine, "x", None)) == ({"x"}, set())


def test_an_unknown_address_may_be_any() -> None:
    """A member whose address is unknown passes for every source, and for every destination, of the rules."""
    engine = site(
        CLOSED, *(container(n, inside("a", h)) for n, h in (("x", 2), ("y", 3))), container("z", "a")
    )
    assert (sources(engine, "y"), sources(engine, "z")) == ({"x", "z"}, {"x"})


def test_internal_network_has_no_egress_but_a_gateway() -> None:
    """A member of an internal network with an open gateway reaches its host, and nothing beyond."""
    engine = site(network("a", host_reachable=True), container("x", "a"))
    assert destinations(engine, "x") == {"docker-srv:*"}


def test_closed_gateway() -> None:
    """With the gateway closed, a member of an internal network reaches nothing."""
    assert destinations(site(network("a"), container("x", "a")), "x") == set()


def test_egress_is_behind_the_host() -> None:
    """A container with egress reaches outsides and nodes, from its host's address."""
    engine = site(network("a", internal=False), container("x", "a"), datacenter=None)
    assert destinations(engine, "x") == {
        "internet:*", "management:*", "proxmox-srv:8006/tcp", "proxmox-srv:22/tcp", "proxmox-srv:*",
    }  # fmt: skip
    assert str(engine.evaluate("x", "proxmox-srv", API).trace) == "docker-srv -> internet -> proxmox-srv"


def test_egress_needs_masquerade() -> None:
    """Without masquerading no answer comes back, so nothing beyond the host is reached."""
    engine = site(network("a", internal=False, masquerade=False), container("x", "a"))
    assert destinations(engine, "x") == set()


def test_egress_that_the_host_bounds() -> None:
    """The host's rules limit a container's egress to the addresses and ports that they name."""
    outsides = (replace(OUTSIDES[0], ports=(TLS,)), OUTSIDES[1])
    bounded = network("a", internal=False, egress=(Exit(port=TLS, without=(PRIVATE,)),))
    wide = replace(bounded, egress=(Exit(port=TLS),))
    found = [
        destinations(site(each, container("x", "a"), outsides=outsides), "x") for each in (bounded, wide)
    ]
    assert found == [{"internet:443/tcp"}, {"internet:443/tcp", "management:*"}]


def test_egress_of_one_address() -> None:
    """What the host's rules let out for one address is that member's; an unknown address may be any."""
    own = (Exit(port=TLS, source=IPv4Address("172.30.0.2")), Exit(port=SSH, source=IPv4Address("172.30.0.3")))
    things = [
        container(n, Leg(network="a", address=IPv4Address(f"172.30.0.{h}"))) for n, h in (("x", 2), ("y", 4))
    ]
    outsides = (replace(OUTSIDES[0], ports=(TLS, SSH)),)
    engine = site(network("a", internal=False, egress=own), *things, container("z", "a"), outsides=outsides)
    found = [sources(engine, "internet", port) for port in (TLS, SSH, None)]
    assert found == [{"x", "z"}, {"z"}, set()]
    denied = engine.evaluate("x", "internet", SSH).reasons
    assert denied == ("docker-srv's rules let nothing of the kind out of a",)


def test_egress_is_seen_as_the_host() -> None:
    """A guest's rule for the host's address admits a container behind it; a rule for a leg does not."""
    host = replace(DOCKER, legs=(HostLeg(segment=VLAN10, address=IPv4Address("10.10.10.5")),))
    things = (network("a", internal=False), container("x", "a"))
    by_host = site(*things, guest("g", 11, rule(source="10.10.10.5")), hosts=(host,))
    by_leg = site(*things, guest("g", 11, rule(source="10.10.10.2")), hosts=(host,))
    assert (sources(by_host, "g"), sources(by_leg, "g")) == ({"x"}, set())


def test_default_bridge() -> None:
    """Containers without a network of their own share the default bridge, which has egress."""
    engine = site(container("x"), container("y"))
    assert sources(engine, "y") == {"x"}
    assert "internet:*" in destinations(engine, "x")


def test_unknown_network_is_an_ordinary_bridge() -> None:
    """A network that the facts lack is taken for the most open kind."""
    engine = site(container("x", "elsewhere"), container("y", "elsewhere"))
    assert sources(engine, "y") == {"x"}
    assert "internet:*" in destinations(engine, "x")


def test_overlay_spans_hosts() -> None:
    """Members of an overlay network are neighbours across hosts."""
    far = replace(container("y", "a"), host="docker-two")
    assert sources(site(network("a", driver=NetworkDriver.OVERLAY), container("x", "a"), far), "y") == {"x"}


# ---------------------------------------------------------------------------------------- stacks


def test_host_mode_is_reached_as_the_host() -> None:
    """A container in host mode is reachable by every source that reaches the host."""
    exporter = container("exporter", mode=Mode.HOST)
    engine = site(network("a", host_reachable=True), container("x", "a"), exporter)
    assert sources(engine, "exporter") == {"internet", "management", "x"}
    assert str(engine.evaluate("x", "exporter", WEB).trace) == "a -> exporter"


def test_host_mode_reaches_every_bridge() -> None:
    """A container in host mode reaches every bridge, internal ones too."""
    engine = site(network("a"), container("x", "a"), container("agent", mode=Mode.HOST))
    assert sources(engine, "x") == {"agent"}


def test_shared_stack() -> None:
    """A container that shares another's stack is reachable like it, and reaches it on every port."""
    engine = site(network("a"), container("x", "a"), container("y", "a"), container("side", shares="x"))
    assert sources(engine, "side") == {"x", "y"}
    assert "side" in sources(engine, "y")


def test_shared_with_a_stranger() -> None:
    """A stack shared with a container that the facts lack is taken for the host's."""
    assert sources(site(container("side", shares="stranger")), "side") == {"internet", "management"}


def test_mode_none() -> None:
    """A container without a network reaches nothing and is not reachable."""
    engine = site(network("a"), container("x", "a"), container("y", "a", mode=Mode.NONE))
    assert (sources(engine, "y"), destinations(engine, "y")) == (set(), set())


# --------------------------------------------------------------------------------- published ports


def published(**fields: Any) -> Reachability:
    """Return the engine for a container that publishes, and another on a network with an open gateway."""
    usual: dict[str, Any] = {"internal": 80, "external": 8081}
    each = Published(**usual | fields)
    open_network = network("b", host_reachable=True)
    return site(
        network("a", internal=False),
        open_network,
        container("x", "a", published=(each,)),
        container("y", "b"),
    )


def test_published_on_every_address() -> None:
    """A port published on every address is reachable from outside and through another network's gateway."""
    engine = published()
    assert sources(engine, "x") == {"internet", "management", "y"}
    assert str(engine.evaluate("internet", "x", WEB).trace) == "docker-srv:8081/tcp -> x"
    assert str(engine.evaluate("y", "x", WEB).trace) == "b -> docker-srv:8081/tcp -> x"


def test_published_on_loopback() -> None:
    """A port published on 127.0.0.1 is reachable only from the host's own stack."""
    assert sources(published(address=IPv4Address("127.0.0.1")), "x") == set()


def test_published_on_one_address() -> None:
    """A port published on one address is reachable there, or everywhere if the facts lack the address."""
    inside = HostLeg(segment="management", address=IPv4Address("10.10.1.5"))
    host = replace(DOCKER, legs=(HostLeg(segment="internet", address=IPv4Address("1.2.3.4")), inside))
    things = (
        network("a", internal=False),
        container(
            "x", "a", published=(Published(internal=80, external=80, address=IPv4Address("10.10.1.5")),)
        ),
    )
    assert sources(site(*things, hosts=(host,)), "x") == {"management"}
    stranger = replace(host, legs=(host.legs[0], replace(inside, address=IPv4Address("10.10.1.6"))))
    assert sources(site(*things, hosts=(stranger,)), "x") == {"internet", "management"}


def test_published_range() -> None:
    """A published range maps to the internal ports one to one."""
    engine = published(internal=79, external=9079, length=2)
    assert engine.evaluate("internet", "x", WEB).allowed
    assert not engine.evaluate("internet", "x", Port(number=81)).allowed


def test_published_random_port() -> None:
    """A published port whose number the engine chooses is reachable too."""
    engine = published(external=None)
    assert str(engine.evaluate("internet", "x", WEB).trace) == "docker-srv:any/tcp -> x"


def test_published_ports_are_all_that_a_probe_sees() -> None:
    """A member of a probe zone reaches published ports through the closed host, and nothing else."""
    door = Published(internal=80, external=8080)
    probe = network("probe", internal=False, masquerade=False, sees_published=True)
    edge = network("edge", internal=False, masquerade=False)
    engine = site(probe, edge, container("x", "probe"), container("web", "edge", published=(door,)))
    assert destinations(engine, "x") == {"web:80/tcp"}
    assert engine.evaluate("x", "web", WEB).trace == Trace(("probe", "docker-srv:8080/tcp", "web"))


def test_published_internal_only() -> None:
    """A port published by a container with only internal networks is not reachable."""
    engine = site(network("a"), container("x", "a", published=(Published(internal=80, external=80),)))
    assert sources(engine, "x") == set()


def test_publish_all() -> None:
    """Publishing all ports opens every port."""
    engine = site(network("a", internal=False), container("x", "a", publish_all=True))
    assert {"internet"} <= sources(engine, "x") & sources(engine, "x", None)


def test_swarm_ingress() -> None:
    """A port in Swarm's ingress mode is reachable on the host of every engine."""
    two = Host(name="docker-two", origin="config", legs=(HostLeg(segment="management"),))
    one = replace(DOCKER, legs=())
    for everywhere, expected in ((True, {"management"}), (False, set())):
        each = Published(internal=80, external=80, everywhere=everywhere)
        engine = site(network("a", internal=False), container("x", "a", published=(each,)), hosts=(one, two))
        assert sources(engine, "x") == expected


# ------------------------------------------------------------------------------------------- VLANs


def test_same_vlan_only() -> None:
    """Guests without a firewall reach each other on one VLAN and not across two."""
    off = {"card": False}
    engine = site(guest("x", 11, **off), guest("y", 12, **off), guest("z", 11, tag=20, **off))
    assert (sources(engine, "y"), sources(engine, "z")) == ({"x"}, set())


def test_untagged_card_sees_every_vlan() -> None:
    """A card without tag and trunks reaches every VLAN of its bridge; one with trunks only those."""
    quiet = guest("y", 11, card=False), guest("z", 11, tag=20, card=False)
    assert sources(site(*quiet, guest("x", 11, tag=None, card=False)), "z") == {"x"}
    assert sources(site(*quiet, guest("x", 11, tag=None, card=False, trunks=(10,))), "z") == set()


def test_rules_do_not_see_tagged_frames() -> None:
    """A guest's output rules do not apply to frames that the guest tags itself."""
    trunk = guest("x", 11, tag=10, trunks=(20,), output_policy="DROP")
    assert sources(site(trunk, guest("y", 12, card=False), guest("z", 11, tag=20, card=False)), "z") == {"x"}
    assert sources(site(trunk, guest("y", 12, card=False), guest("z", 11, tag=20, card=False)), "y") == set()


def test_both_ends_must_agree() -> None:
    """A flow between guests must pass the source's output rules and the destination's input rules."""
    out, into = rule("out", dest="10.10.10.12"), rule("in", source="10.10.10.11")
    for mine, theirs, expected in (((out,), (into,), {"x"}), ((), (into,), set()), ((out,), (), set())):
        engine = site(guest("x", 11, *mine, output_policy="DROP"), guest("y", 12, *theirs))
        assert sources(engine, "y") == expected


def test_spoofing() -> None:
    """A guest without an IP filter passes a rule for another guest's address; a Docker leg cannot."""
    into = guest("y", 12, rule(source="10.10.10.2"))
    engine = site(leg10(), container("other", on10(3)), container("ingress", on10(2)), guest("x", 11), into)
    assert sources(engine, "y") == {"ingress", "x"}
    # With the IP filter on and no ipset, a VM may send from no address.
    filtered = site(guest("x", 11, ipfilter=True), into)
    assert filtered.evaluate("x", "y", WEB).reasons[0] == "the IP filter of x lets no address out"


def test_macvlan_is_apart_from_its_host() -> None:
    """A macvlan leg and its own host do not reach each other on the VLAN that they share."""
    host = replace(DOCKER, legs=(HostLeg(segment=VLAN10, address=IPv4Address("10.10.10.5")),))
    engine = site(
        leg10(), network("a", internal=False), container("x", on10(2)), container("y", "a"), hosts=(host,)
    )
    assert (sources(engine, "x"), destinations(engine, "x")) == (set(), set())
    assert engine.evaluate("y", "x", WEB).reasons == ("macvlan keeps docker-srv and x apart on vmbr1.10",)


def test_macvlan_private_mode() -> None:
    """Legs on one parent reach each other across networks, unless one network is private."""
    for private, expected in ((False, {"x"}), (True, set())):
        networks = leg10(), leg10("other", icc=not private)
        engine = site(*networks, container("x", on10(2)), container("y", on10(3, "other")))
        assert sources(engine, "y") == expected


def test_a_leg_is_reached_as_its_rules_say() -> None:
    """Rules pass a source and a port; without any a machine there reaches every address of the container."""
    near = [
        Outside(name=f"m{host}", origin="config", prefix=IPv4Network(f"10.10.10.{host}"), segment=VLAN10)
        for host in (11, 12)
    ]
    way = Pass(source=IPv4Address("10.10.10.11"), destination=IPv4Address("10.10.10.2"), port=WEB)
    ruled, found = replace(on10(2), passes=(way,)), {}
    for name, leg, icc in (("ruled", ruled, False), ("open", on10(2), False), ("unseen", ruled, True)):
        engine = site(leg10(icc=icc), container("x", leg), outsides=(*OUTSIDES, *near))
        found[name] = sources(engine, "x"), sources(engine, "x", None)
    both = {"m11", "m12"}
    assert found == {"ruled": ({"m11"}, set()), "open": (both, both), "unseen": (both, both)}
    engine = site(leg10(icc=False), container("x", ruled), outsides=(*OUTSIDES, *near))
    closed = "docker-srv's rules let nothing of the kind to the leg on vmbr1.10"
    assert engine.evaluate("m12", "x", WEB).reasons == (closed,)


def test_a_leg_without_rules_leads_to_every_address() -> None:
    """A proxy that listens on another address is reached by a leg of its container, unless rules close it."""
    edge = IPv4Address("172.30.0.2")
    proxy = Proxy(
        container="x",
        origin="x",
        entrypoints=(Entrypoint(name="web", port=WEB, address=edge),),
        routers=(Router(name="r", origin="r", entrypoints=("web",), service="s"),),
        services=(ProxyService(name="s", origin="s", servers=("http://y:80",)),),
    )
    near = Outside(name="near", origin="config", prefix=IPv4Network("10.10.10.11"), segment=VLAN10)
    for passes, reached in ((None, {"near"}), ((), set())):
        engine = site(
            leg10(icc=False),
            network("a"),
            container("x", replace(on10(2), passes=passes), "a"),
            container("y", "a"),
            outsides=(*OUTSIDES, near),
            proxies=(proxy,),
        )
        assert sources(engine, "y") - {"x"} == reached


def test_unknown_parent_is_every_vlan() -> None:
    """A macvlan network with an unknown parent is on every VLAN."""
    engine = site(leg10(vlan=None), container("x", on10(2)), guest("z", 11, tag=20, card=False))
    assert sources(engine, "z") == {"x"}


def test_gateways_route() -> None:
    """Gateways connect places, also two in a row; a leg of an internal network has no route to one."""
    gateways = (
        Gateway(name="router", origin="r", segments=(VLAN10, VLAN20)),
        Gateway(name="border", origin="b", segments=(VLAN20, "management")),
    )
    guests = guest("x", 11, card=False), guest("z", 11, tag=20, card=False)
    legs = leg10("inner"), leg10("outer", internal=False)
    legged = container("in", on10(2, "inner")), container("out", on10(3, "outer"))
    engine = site(*guests, *legs, *legged, gateways=gateways, hosts=())
    assert sources(engine, "z") == {"x", "out", "management"}
    assert sources(engine, "x") == {"in", "out", "z", "management"}
    assert str(engine.evaluate("x", "z", WEB).trace) == "router -> z"
    assert sources(site(*guests), "z") == set()


def test_the_internet_has_public_addresses() -> None:
    """A rule for a private source does not admit the internet; a rule for any source does."""
    gateway = Gateway(name="router", origin="r", segments=(VLAN10, "internet"))
    private, anyone = guest("x", 11, rule(source="10.0.0.0/8")), guest("y", 12, rule())
    engine = site(private, anyone, gateways=(gateway,), hosts=())
    assert ("internet" in sources(engine, "x"), "internet" in sources(engine, "y")) == (False, True)


# -------------------------------------------------------------------------------------------- hosts


def test_a_node_without_a_firewall_is_open() -> None:
    """Without the datacenter firewall the internet reaches Proxmox's API; with it, management still does."""
    assert sources(site(datacenter=None), "proxmox-srv", API) == {"internet", "management"}
    assert sources(site(), "proxmox-srv", API) == {"management"}
    assert sources(site(), "proxmox-srv", None) == set()


def test_a_local_network_that_nobody_knows_is_everywhere() -> None:
    """Without the alias and the node's own network, the node's standing ports are open to every source."""
    unknown = replace(DATACENTER, local_network=None)
    assert sources(site(datacenter=unknown), "proxmox-srv", API) == {"internet", "management"}
    alias = replace(unknown, aliases={"Local_Network": "10.10.1.0/24"})
    assert sources(site(datacenter=alias), "proxmox-srv", API) == {"management"}


def test_a_docker_host_is_judged_by_its_ports() -> None:
    """Without facts about a host's firewall, an outside reaches the ports that the host declares."""
    engine = site(hosts=(replace(DOCKER, ports=(SSH,)),))
    assert (sources(engine, "docker-srv", SSH), sources(engine, "docker-srv", None)) == (
        {"internet", "management"},
        set(),
    )


# ------------------------------------------------------------------------------------------ proxies


def proxied(*routers: tuple[str, str], **fields: Any) -> tuple[Proxy]:
    """Return Traefik with a router for each (name, URL)."""
    usual: dict[str, Any] = {"container": "traefik", "origin": "traefik"}
    made = (Router(name=n, origin=f"router {n}", service=n, entrypoints=("tls",)) for n, _ in routers)
    return (
        Proxy(
            **usual | fields,
            entrypoints=(Entrypoint(name="web", port=WEB), Entrypoint(name="tls", port=TLS)),
            routers=tuple(made),
            services=tuple(ProxyService(name=n, origin=n, servers=(url,)) for n, url in routers),
        ),
    )


def behind(*routers: tuple[str, str], **fields: Any) -> Reachability:
    """Return Traefik on edge and frontend, Loki beside it, a guest on VLAN 10, and a container on backend."""
    return site(
        network("edge", internal=False, masquerade=False),
        network("frontend"),
        network("backend"),
        leg10(),
        container(
            "traefik",
            "edge",
            "frontend",
            on10(2),
            ports=(TLS,),
            published=(Published(internal=443, external=443),),
        ),
        container("loki", "frontend", ports=(LOKI,), names=("dev-loki",), **fields),
        container("hidden", "backend"),
        guest("site-1", 11, rule(source="10.10.10.2")),
        proxies=proxied(*routers),
    )


def test_a_router_opens_layer_7() -> None:
    """The trace of a routed service names the proxy and the network."""
    engine = behind(("loki", "http://loki:3100"))
    (flow,) = (f for f in engine.flows() if (f.source, f.destination, f.port) == ("internet", "loki", LOKI))
    assert (str(flow), str(flow.trace)) == ("internet -> loki:3100/tcp", "traefik -> frontend -> loki")


@pytest.mark.parametrize(
    ("url", "name", "port"),
    [
        ("http://dev-loki:3100", "loki", LOKI),
        ("http://10.10.10.11", "site-1", WEB),
        ("http://site-1:80/path", "site-1", WEB),
        ("http://loki:9999", "loki", None),
        ("http://localhost:8080", "traefik", None),
    ],
)
def test_servers_are_found(url: str, name: str, port: Port | None) -> None:
    """A server is found by physical name, address, service name or loopback, on whichever port it names."""
    assert "internet" in sources(behind(("r", url)), name, port)


def test_a_router_needs_the_packets() -> None:
    """A router to a server that the proxy cannot reach opens nothing."""
    assert sources(behind(("r", "http://hidden:80")), "hidden") == set()


def test_a_router_without_entrypoint_opens_nothing() -> None:
    """A router needs an entrypoint, and the entrypoint must be reachable."""
    engine = behind(("loki", "http://loki:3100"))
    (proxy,) = engine.facts.proxies
    for entrypoints, reached in ((("web",), False), (("tls",), True), ((), True), (("gone",), False)):
        router = replace(proxy.routers[0], entrypoints=entrypoints)
        facts = replace(engine.facts, proxies=(replace(proxy, routers=(router,)),))
        assert ("internet" in sources(Reachability(facts), "loki", LOKI)) == reached


def test_a_router_by_way_of_the_host() -> None:
    """A server at the host's name leads to the container that publishes that port."""
    engine = site(
        network("edge", internal=False, host_reachable=True),
        container("traefik", "edge", ports=(TLS,), published=(Published(internal=443, external=443),)),
        network("other", internal=False),
        container("x", "other", published=(Published(internal=80, external=8081),)),
        proxies=proxied(("x", "http://host.docker.internal:8081")),
    )
    how = {
        f.how.value
        for bundle in engine.connection_sets()
        for f in (bundle.one("internet"),)
        if bundle.destination == "x"
    }
    assert "proxied" in how


def test_labels_route_with_the_docker_provider() -> None:
    """Labels make routers while the proxy's Docker provider is on, and nothing while it is off."""
    labels = {"traefik.http.routers.loki.rule": "Host(`l`)"}
    engine = behind(labels=labels)
    assert "internet" not in sources(engine, "loki", LOKI)
    on = replace(engine.facts, proxies=proxied(labels=True))
    assert "internet" in sources(Reachability(on), "loki", LOKI)


def test_proxies_in_a_row() -> None:
    """Reachability passes through several proxies in a row."""
    outer = behind(("inner", "http://inner:443")).facts
    inner = container("inner", "frontend", "backend", ports=(TLS,))
    (second,) = proxied(("hidden", "http://hidden:80"), container="inner")
    engine = Reachability(
        replace(outer, containers=(*outer.containers, inner), proxies=(*outer.proxies, second))
    )
    assert str(engine.evaluate("internet", "hidden", WEB).trace) == "inner -> backend -> hidden"


# ---------------------------------------------------------------------------------------- questions


def test_unknown_names_are_refused() -> None:
    """A question about a name that the facts lack is an error, never a denial."""
    for pair in (("nobody", "internet"), ("internet", "nobody")):
        with pytest.raises(UnknownNameError, match="nobody: no container, guest, host or outside"):
            site().evaluate(*pair, WEB)


def test_explain_allowed() -> None:
    """An allowed flow is explained by its trace and the fact that opens it."""
    engine = site(network("a"), container("x", "a"), container("y", "a"))
    assert engine.explain("x", "y", None) == ("x -> y:*: ALLOWED via a -> y", "  neighbour: a")


def test_explain_denied() -> None:
    """A denied flow is explained by the rule or policy that denies it, or by the networks of the two."""
    drop = rule(action="DROP", source="10.10.10.0/24")
    engine = site(guest("x", 11), guest("y", 12, drop, rule()), guest("z", 13), guest("w", 11, tag=20))
    assert engine.explain("x", "z", WEB) == ("x -> z:80/tcp: DENIED", "  input policy of z: DROP")
    assert engine.explain("x", "w", WEB)[1] == "  no way: x is on vmbr1.10; w is on vmbr1.20"
    fixed = site(leg10(), container("x", on10(2)), guest("y", 12, drop, rule()))
    assert fixed.explain("x", "y", WEB) == ("x -> y:80/tcp: DENIED", "  DROP rule of rule")


def test_diff_of_two_stacks() -> None:
    """A difference lists the flows that opened and closed, one line for each pair."""
    apart = site(network("a"), network("b"), container("x", "a"), container("y", "b"))
    joined = site(network("a"), network("b"), container("x", "a", "b"), container("y", "b"))
    change = diff(apart.flows(), joined.flows())
    assert words(change.opened) == ["y -> x:80/tcp", "y -> x:*", "x -> y:80/tcp", "x -> y:*"]
    assert change.closed == ()
    assert diff(joined.flows(), apart.flows()).closed == change.opened


# ------------------------------------------------------------------------------------------- intent


def words(flows: Iterable[object]) -> list[str]:
    """Return answers as text."""
    return [str(flow) for flow in flows]


def test_surplus_is_what_nobody_declared() -> None:
    """A possible flow that is not declared is surplus, and counts once for any number of traces."""
    both = container("x", "a", "b"), container("y", "a", "b", ports=(WEB, TLS))
    engine = site(network("a"), network("b"), *both, hosts=())
    intent = Intent(flows=frozenset({("x", "y", WEB), ("y", "x", WEB)}), trusted=frozenset({"docker-srv"}))
    assert words(surplus(engine, intent)) == ["y -> x:*", "x -> y:443/tcp", "x -> y:*"]


def test_a_flow_from_the_internet_covers_everyone() -> None:
    """A flow declared from the internet is declared from every source."""
    engine = published()
    intent = Intent(
        flows=frozenset({("internet", "x", WEB)}), trusted=frozenset({"docker-srv", "proxmox-srv"})
    )
    assert [w for w in words(surplus(engine, intent)) if "x:80" in w] == []


def test_a_proxied_flow_needs_the_proxys_own() -> None:
    """A routed flow counts as declared if the proxy's flow is declared and the role may be routed."""
    engine = behind(("loki", "http://loki:3100"))
    flows = frozenset({("internet", "traefik", TLS), ("traefik", "loki", LOKI)})
    everyone = {("loki", LOKI): frozenset({"internet"})}
    declared = Intent(flows=flows, routable=frozenset({"loki"}), audience=everyone)
    undeclared = replace(declared, flows=flows - {("traefik", "loki", LOKI)})
    for intent, expected in (
        (declared, []),
        (replace(declared, routable=frozenset()), ["internet -> loki:3100/tcp"]),
        (undeclared, ["internet -> loki:3100/tcp"]),
        (replace(declared, audience={}), ["internet -> loki:3100/tcp"]),
    ):
        found = (f for f in surplus(engine, intent) if (f.source, f.destination) == ("internet", "loki"))
        assert words(found) == expected


def test_missing_is_declared_and_impossible() -> None:
    """A declared flow that is impossible is missing, with the reason."""
    engine = site(network("a"), network("b"), container("x", "a"), container("y", "b"))
    (denied,) = missing(engine, Intent(flows=frozenset({("x", "y", WEB)})))
    assert (str(denied), denied.reasons) == ("x -> y:80/tcp", ("no way: x is on a; y is on b",))


def test_unknown_rule_source_is_any() -> None:
    """An accept rule with an unreadable source admits every source."""
    engine = site(leg10(), container("x", on10(2)), guest("y", 12, rule(source=UNKNOWN)))
    assert sources(engine, "y") == {"x"}
