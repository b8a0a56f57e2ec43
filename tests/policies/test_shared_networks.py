"""Guests on a network that others share: management's, with a tag or without, and a LAN beside VLANs."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from reachability.engine import Reachability
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies import generate
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex

SITES = 24
DNS = {
    "kind": "lxc",
    "ostemplate": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
    "zone": "lan",
    "vmid": 401,
    "ports": [53, "53/udp"],
}
PUBLIC = (
    *("grafana", "prometheus-ui", "site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden"),
    "metrics",
)


def management(**zone: object) -> dict[str, Any]:
    """Return the sound site with a name server in management's network."""
    values = changed(
        {
            "zones.lan": {"role": "tenant", "prefix": "10.10.1.0/24", **zone},
            "services.dns": {**DNS, "address": "10.10.1.53"},
        }
    )
    values["flows"] += ["management -> dns:53/udp", "management -> dns:53/tcp", "dns -> internet:53/udp"]
    return values


def lan() -> dict[str, Any]:
    """Return the sound site with a LAN of clients, guests and management, and a DMZ with its own bridge."""
    values = changed(
        {
            "zones.lan": {
                "role": "tenant",
                "prefix": "10.10.0.0/21",
                "bridge": "vmbr0",
                "ingress": "10.10.0.9",
                "parent": "eth0",
            },
            "zones.dmz": {"role": "tenant", "prefix": "10.9.0.0/24", "bridge": "vmbr8"},
            "zones.clients": {"role": "external", "prefix": "10.10.4.0/24"},
            "services.dns": {**DNS, "address": "10.10.0.53"},
            "services.metrics": {
                "zone": "lan",
                "vmid": 402,
                "address": "10.10.0.54",
                "ports": [443],
                "ca-file": "$HOMELAB_STATE/tls/ca.crt",
            },
            "services.chain": {"zone": "dmz", "vmid": 501, "address": "10.9.0.11", "ports": [8333]},
            "services.traefik.ports": [80, 443, 8443],
            **{f"services.{name}.audience": ["internet"] for name in PUBLIC},
        }
    )
    values["services"]["metrics"]["audience"] = ["clients"]
    values["flows"] += [
        "clients -> traefik:8443/tcp",
        "traefik -> metrics:443/tcp",
        "clients -> dns:53/udp",
        "metrics -> dns:53/udp",
        "dns -> internet:53/udp",
        "chain -> internet:8333/tcp",
    ]
    return values


KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "management without a tag": lambda: management(bridge="vmbr0"),
    "management on a VLAN": lambda: management(vlan=7),
    "a LAN": lan,
}


@cache
def made(site: str) -> tuple[Resource, ...]:
    """Return the program's resources for a site."""
    return tuple(run(KEYS[site]()))


def stack(site: str) -> Stack:
    """Return a fresh copy of a sound stack."""
    resources = [replace(r, inputs=copy.deepcopy(r.inputs)) for r in made(site)]
    return Stack(resources=resources, config=KEYS[site]())


def graph(site: str) -> Graph:
    """Return a sound site's graph."""
    return Graph(tuple(map(view, made(site))), TopologyIndex.of(load(KEYS[site]())))


def sources(reachability: Reachability, destination: str) -> set[str]:
    """Return who reaches a guest on some port, but for the hosts, which are trusted."""
    sets = (one for one in reachability.connection_sets() if one.destination == destination)
    return {each for one in sets for each in one.sources} - {"docker-srv", "proxmox-srv"}


@pytest.mark.parametrize("site", KEYS)
def test_a_shared_network_has_no_finding(site: str) -> None:
    """Guests on a network that others share are a sound site."""
    assert stack(site).judge().findings == ()


@pytest.mark.parametrize("site", KEYS)
def test_a_packet_goes_where_the_proof_says(site: str) -> None:
    """The packet walk finds the same connections as the engine."""
    facts = graph(site)
    assert proved(facts) == walked(facts)


def test_a_guest_among_administrators_is_none() -> None:
    """A guest in management's network reaches neither node nor guests, though its address is management's."""
    for site in ("management without a tag", "management on a VLAN"):
        facts = graph(site)
        assert sources(facts.reachability, "dns") == {"management"}
        for end in ("proxmox-srv", "site-1", "traefik"):
            assert "dns" not in sources(facts.reachability, end)


def test_a_lan_is_judged_for_what_it_is() -> None:
    """Clients, the ingress's leg and other guests on one wire reach each guest by its own flows alone."""
    reachability = graph("a LAN").reachability
    assert sources(reachability, "metrics") == {"traefik", "clients"}
    assert sources(reachability, "dns") == {"clients", "metrics"}
    assert sources(reachability, "chain") == set()


@pytest.mark.parametrize("zone", [{"bridge": "vmbr0", "parent": "eth0"}, {"vlan": 7}])
def test_the_ingress_among_administrators_is_rejected(zone: dict[str, Any]) -> None:
    """An ingress with an address of management's reaches what management does: the node's ports."""
    config = management(**zone, ingress="10.10.1.9")
    config["services"]["dns"]["ports"].append(80)
    config["flows"].append("traefik -> dns:80/tcp")
    config["unencrypted"].append({"flow": "traefik -> dns:80/tcp", "reason": "has no TLS of its own"})
    said = {finding.subject for finding in Stack(resources=run(config), config=config).judge().findings}
    assert {"traefik -> proxmox-srv:8006/tcp", "traefik -> dns:53/udp"} <= said


def spread(number: int) -> dict[str, Any]:
    """Return a generated site with some guests on one to three networks that others share."""
    draw, config = random.Random(number), generate.topology(number)  # noqa: S311  # a shape, not a secret
    for place in range(draw.randint(1, 3)):
        zone, prefix = f"lan-{place}", f"10.{90 + place}.0"
        config["zones"][zone] = {"role": "tenant", "prefix": f"{prefix}.0/24", "bridge": f"vmbr{20 + place}"}
        names = [f"guest-{place}-{index}" for index in range(draw.randint(1, 3))]
        for index, name in enumerate(names):
            config["services"][name] = {
                "zone": zone,
                "vmid": 5000 + place * 50 + index,
                "address": f"{prefix}.{11 + index}",
                "ports": ["53/udp", 443],
            }
            config["flows"].append(f"management -> {name}:443/tcp")
            if index and draw.random() < 0.5:
                config["flows"].append(f"{names[0]} -> {name}:53/udp")
        if draw.random() < 0.5:
            config["zones"][zone] |= {"ingress": f"{prefix}.2", "parent": f"eth{place}"}
            config["services"][names[0]]["ca-file"] = "$HOMELAB_STATE/tls/ca.crt"
            config["flows"].append(f"traefik -> {names[0]}:443/tcp")
    if draw.random() < 0.5:
        network: dict[str, object] = draw.choice([{"bridge": "vmbr0"}, {"vlan": 4001}])
        config["zones"]["admins"] = {"role": "tenant", "prefix": "10.10.1.0/24", **network}
        config["services"]["names"] = {"zone": "admins", "vmid": 6000, "address": "10.10.1.53", "ports": [53]}
        config["flows"].append("management -> names:53/tcp")
    return config


@pytest.mark.timeout(600)  # the program runs once for each site
def test_generated_sites_have_no_finding() -> None:
    """Sound sites of many shapes with shared networks pass the pack."""
    wrong = []
    for number in range(SITES):
        wrong += [(number, each) for each in findings(spread(number))]
    assert wrong == []


def card(name: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of a machine's or container's card."""

    def change(broken: Stack) -> None:
        kind = "networkInterfaces" if name == "dns" else "networkDevices"
        (found,) = (r.inputs for r in broken.resources if r.name == name and kind in r.inputs)
        found[kind][0].update(values)

    return change


def rule(name: str, flow: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of the rule of a guest's group that stands for a flow."""

    def change(broken: Stack) -> None:
        (found,) = (each for each in broken.inputs("group", name)["rules"] if each["comment"] == flow)
        found.update(values)

    return change


def options(name: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of a guest's firewall options."""
    return lambda broken: broken.inputs("options", name).update(values)


def leg(**values: object) -> Callable[[Stack], None]:
    """Return a change of the ingress's leg on the LAN."""
    return lambda broken: broken.inputs("network", "lan").update(values)


MANAGEMENT: dict[str, Callable[[Stack], None]] = {
    "the name server for everyone": rule("dns", "management -> dns:53/udp", source="0.0.0.0/0"),
    "the name server's login": rule("dns", "management -> dns:53/tcp", dport="22"),
    "the name server asks the node": rule("dns", "dns -> internet:53/udp", dest="10.10.1.5", dport="8006"),
    "the name server asks everyone": rule("dns", "dns -> internet:53/udp", dest="0.0.0.0/0"),
    "what the name server sends": options("dns", outputPolicy="ACCEPT"),
    "the name server's firewall": options("dns", enabled=False),
    "any address of management": options("dns", ipfilter=False),
    "the name server's card": card("dns", firewall=False),
    "the name server's other network": card("dns", bridge="vmbr1", vlanId=None),
    "an address of the node's": lambda broken: broken.inputs("ipset", "dns").update(
        cidrs=[{"name": "10.10.1.5"}]
    ),
}
LAN: dict[str, Callable[[Stack], None]] = {
    "the clients at the DMZ": rule(
        "chain", "chain -> internet:8333/tcp", type="in", source="10.10.4.0/24", dest=None
    ),
    "all of the LAN at the name server": rule("dns", "clients -> dns:53/udp", source="10.10.0.0/21"),
    "the clients at the page itself": rule("metrics", "traefik -> metrics:443/tcp", source="10.10.4.0/24"),
    "a tag on the LAN": card("metrics", vlanId=10),
    "trunks on the LAN": card("metrics", trunks="10;20"),
    "the LAN's guest on the VLANs' bridge": card("metrics", bridge="vmbr1"),
    "the LAN's guest in the DMZ": card("metrics", bridge="vmbr8"),
    "the DMZ's guest on the LAN": card("chain", bridge="vmbr0"),
    "the DMZ's firewall": options("chain", enabled=False),
    "a site without its tag": card("site-1", vlanId=None),
    "a site on the LAN": card("site-1", bridge="vmbr0", vlanId=None),
    "the leg elsewhere": leg(options={"parent": "eth1"}),
    "the leg on a VLAN": leg(options={"parent": "trunk.10"}),
    "the leg routed": leg(internal=False),
    "the leg as a bridge": leg(driver="bridge"),
    "a bridge made where one is": lambda broken: broken.add(
        "bridge", "vmbr0", {**broken.inputs("bridge", "vmbr1"), "name": "vmbr0"}
    ),
}
MUTANTS = [
    *((site, mutant, change) for site in KEYS if site != "a LAN" for mutant, change in MANAGEMENT.items()),
    *(("a LAN", mutant, change) for mutant, change in LAN.items()),
]


@pytest.mark.parametrize(("site", "mutant", "change"), MUTANTS)
def test_what_opens_more_is_rejected(site: str, mutant: str, change: Callable[[Stack], None]) -> None:
    """A change that lets a guest of a shared network do more, or more reach it, is rejected."""
    broken = stack(site)
    change(broken)
    assert broken.judge().findings, mutant
