"""Machines that are there already: a NAS on a guests' VLAN, and the household's network beyond the router."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from reachability.engine import Reachability
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import KINDS, Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Port

PUBLIC = ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")
FLOWS = (
    "lan -> traefik:8443/tcp",
    "lan -> jellyfin:8096/tcp",
    "jellyfin -> nas:2049/tcp",
    "stirling-pdf -> printer:631/tcp",
)


def keys() -> dict[str, Any]:
    """Return the sound site with external machines, and its tools for the household alone."""
    values = changed(
        {
            "zones.lan": {"role": "external", "prefix": "192.168.20.0/24"},
            "zones.nas": {"role": "external", "prefix": "10.10.20.16/32", "ports": [2049]},
            "zones.printer": {"role": "external", "prefix": "192.168.30.9/32", "ports": [631]},
            "services.traefik.ports": [80, 443, 8443],
            "services.grafana.audience": ["lan"],
            "services.prometheus-ui.audience": ["internet"],
            **{f"services.{name}.audience": ["internet"] for name in PUBLIC},
        }
    )
    values["flows"] += FLOWS
    return values


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources."""
    return tuple(run(keys()))


def stack() -> Stack:
    """Return a fresh copy of the sound stack."""
    return Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=keys())


@cache
def reachability() -> Reachability:
    """Return the engine on the sound stack's facts."""
    return Graph(tuple(map(view, made())), TopologyIndex.of(load(keys()))).reachability


def sources(destination: str, port: Port | None) -> set[str]:
    """Return who reaches a port, but for the hosts, which are trusted."""
    sets = reachability().connection_sets()
    found = {
        each for one in sets if (one.destination, one.port) == (destination, port) for each in one.sources
    }
    return found - {"docker-srv", "proxmox-srv"}


def test_the_sound_site_has_no_finding() -> None:
    """The pack accepts what the program makes for a site with external machines."""
    assert stack().judge().findings == ()


def test_external_machines_have_their_flows_alone() -> None:
    """Each is reached by its guest, and reaches what its flow names."""
    # The ingress's leg is on the same wire.
    assert sources("nas", Port(number=2049)) == {"jellyfin", "traefik"}
    assert sources("printer", Port(number=631)) == {"stirling-pdf"}
    assert sources("grafana", Port(number=3000)) == {"traefik", "lan"}
    assert "lan" in sources("jellyfin", Port(number=8096))
    assert sources("vaultwarden", None) == sources("jellyfin", None) == set()


def group(name: str, rule: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of the rule of a guest's group that stands for a flow."""

    def change(broken: Stack) -> None:
        rules = broken.inputs("group", name)["rules"]
        (found,) = (each for each in rules if each["comment"] == rule)
        found.update(values)

    return change


def copied(source: str, rule: str, name: str) -> Callable[[Stack], None]:
    """Return a change that gives another guest's group a copy of a rule."""

    def change(broken: Stack) -> None:
        (found,) = (each for each in broken.inputs("group", source)["rules"] if each["comment"] == rule)
        broken.inputs("group", name)["rules"].append(dict(found))

    return change


def alias(cidr: str) -> Callable[[Stack], None]:
    """Return a change of the network that may reach the node's own ports."""

    def change(broken: Stack) -> None:
        aliases = [each for each in broken.resources if each.type == KINDS["alias"]]
        (found,) = (each.name for each in aliases if each.inputs["name"] == "local_network")
        broken.inputs("alias", found)["cidr"] = cidr

    return change


NAS, LAN, PRINTER = "jellyfin -> nas:2049/tcp", "lan -> jellyfin:8096/tcp", "stirling-pdf -> printer:631/tcp"
MUTANTS: dict[str, Callable[[Stack], None]] = {
    "all of the VLAN for the NAS": group("jellyfin", NAS, dest="10.10.20.0/24"),
    "another machine for the NAS": group("jellyfin", NAS, dest="10.10.20.17"),
    "every port of the NAS": group("jellyfin", NAS, dport="1:65535"),
    "another port of the NAS": group("jellyfin", NAS, dport="22"),
    "another protocol of the NAS": group("jellyfin", NAS, proto="udp"),
    "the NAS comes in": group("jellyfin", NAS, type="in", source="10.10.20.16", dest=None),
    "no end of the NAS's rule": group("jellyfin", NAS, dest=None),
    "everyone private for the household": group("jellyfin", LAN, source="192.168.0.0/16"),
    "two networks for the household": group("jellyfin", LAN, source="192.168.20.0/23"),
    "no source for the household": group("jellyfin", LAN, source=None),
    "the household logs in": group("jellyfin", LAN, dport="22"),
    "the household on every port": group("jellyfin", LAN, dport=None),
    "the household reaches the vault": copied("jellyfin", LAN, "vaultwarden"),
    "a site reaches the NAS": copied("jellyfin", NAS, "site-1"),
    "a neighbour reaches the NAS": copied("jellyfin", NAS, "stirling-pdf"),
    "the printer's network": group("stirling-pdf", PRINTER, dest="192.168.30.0/24"),
    "the printer's other ports": group("stirling-pdf", PRINTER, dport="631,9100"),
    "the household at the node": alias("192.168.20.0/24"),
    "everyone at the node": alias("0.0.0.0/0"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_opens_more_is_rejected(mutant: str) -> None:
    """A change that lets more reach external machines, or these more, is rejected."""
    broken = stack()
    MUTANTS[mutant](broken)
    assert broken.judge().findings
