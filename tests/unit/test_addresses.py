"""Addresses of containers, and the host's rules that name them."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from reachability.facts import Pass
from rendered import host_rules
from resources.host_rules import within
from tests.site import changed, loaded
from topology.addresses import assigned, hosts
from topology.config import load
from topology.model import Port, Topology

SITE = loaded()


def addresses(site: Topology) -> dict[tuple[str, str], IPv4Address]:
    """Return every container's address by service and zone."""
    return {
        (c.name, zone): site.address_on(c.name, site.zones[zone]) for c in site.containers for zone in c.zones
    }


def test_a_service_more_moves_no_other() -> None:
    """A service of any name that comes or goes leaves the others' addresses as they are."""
    for number in range(50):
        more = load(changed({f"services.more-{number}": {"zones": ["query"], "image": "more:1"}}))
        assert addresses(SITE).items() <= addresses(more).items()


def test_of_two_names_with_one_address_the_first_has_it() -> None:
    """Loki, a known app, keeps its address where another service's name leads to it too."""
    api: dict[str, Any] = {"services.api": {"zones": ["backend"], "image": "api:1"}}
    after = IPv4Address("172.30.3.208")
    assert addresses(load(changed(api))) == addresses(SITE) | {("api", "backend"): after}
    pinned = api | {"services.loki.addresses": {"backend": "172.30.3.20"}}
    assert addresses(load(changed(pinned)))["api", "backend"] == IPv4Address("172.30.3.207")


@pytest.mark.parametrize("length", range(16, 31))
def test_an_address_can_be_used_once(length: int) -> None:
    """A prefix of any size has distinct addresses for all, never the network's, gateway's or broadcast."""
    prefix = IPv4Network(f"172.30.0.0/{length}")
    names = [f"service-{number}" for number in range(min(500, len(hosts(prefix))))]
    found = assigned(names, prefix, {})
    assert len({*found.values()}) == len(names)
    assert {*found.values()} <= {*prefix.hosts()} - {prefix[1]}


def test_rules_are_read_as_they_are_written() -> None:
    """The proof reads from the rules' text every flow within a bridge, and no other, on every bridge."""
    read = within(host_rules.rules(SITE))
    assert set(read) == {SITE.bridge(zone) for zone in SITE.zones.values() if zone.is_docker}
    where = addresses(SITE)
    assert {*read["br-backend"]} == {
        Pass(source=where[f.source, zone], destination=where[f.destination, zone], port=f.port)
        for f in SITE.flows
        for zone in SITE.zones
        if (f.source, zone) in where and (f.destination, zone) in where
    }
    assert (
        Pass(
            source=IPv4Address("172.30.3.217"),
            destination=IPv4Address("172.30.3.207"),
            port=Port(number=3100),
        )
        in read["br-backend"]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    counter drop\n", ""),
        ("    counter drop\n", "    accept\n"),
        ("    goto undeclared\n  }\n", "  }\n"),
        ('log prefix "homelab-network: "\n', 'log prefix "homelab-network: " accept\n'),
        ("    ct state established,related accept\n    ip saddr", "    accept\n    ip saddr"),
        ("th dport @declared accept\n", "th dport @declared accept\n    tcp dport 80 accept\n"),
    ],
)
def test_rules_that_let_more_pass_close_nothing(old: str, new: str) -> None:
    """With a chain that is not exactly as known, every bridge counts as open."""
    text = host_rules.rules(SITE)
    assert old in text
    assert within(text.replace(old, new, 1)) == {}
