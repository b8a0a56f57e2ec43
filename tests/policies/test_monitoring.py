"""Containers with legs on guests' VLANs: the declared scrapes are possible, and nothing else is."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from typing import Any

import pytest
import yaml

from policies.evaluate import evaluate_resource
from rendered.apps import runtime
from resources.resource import Resource
from resources.site import Graph
from tests.monitoring import SCRAPED, with_monitoring
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import Stack, run
from tests.routers import attached, routed
from tests.site import changed, configuration, loaded
from tests.unit.packet_walk import Key
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.listening import listens
from topology.model import Container, Flow, Topology
from verify.expect import Address, Endpoint, EndpointKind, Expected, cells, declared_zones, guest, heard

VLANS = ("wordpress", "apps")


@cache
def _made() -> tuple[Resource, ...]:
    return tuple(run(with_monitoring()))


def stack() -> Stack:
    """Return a fresh copy of the sound stack."""
    made = [replace(each, inputs=copy.deepcopy(each.inputs)) for each in _made()]
    return Stack(resources=made, config=with_monitoring())


def graph(made: Stack) -> Graph:
    """Return the graph of a stack."""
    declared = TopologyIndex.of(load(made.config))
    return Graph(tuple(evaluate_resource(each, declared, {}).view for each in made.resources), declared)


def test_the_sound_site_passes() -> None:
    """The pack accepts the site, and proof and packet walk agree on it."""
    assert findings(with_monitoring()) == []
    seen = graph(stack())
    assert proved(seen) == walked(seen)


def test_the_scrapes_are_all_that_the_legs_add() -> None:
    """Beside the sound site's connections exactly the declared scrapes are possible."""
    before = graph(Stack(resources=run(configuration()), config=configuration()))
    flows = [Flow.parse(flow) for flow in SCRAPED]
    added: set[Key] = {(flow.source, flow.destination, flow.port) for flow in flows}
    assert proved(graph(stack())) - proved(before) == added


def test_without_a_leg_prometheus_listens_as_before() -> None:
    """Only a leg changes Prometheus's arguments: without one it listens everywhere."""
    site, across = loaded(), load(with_monitoring())
    assert listens(site, _prometheus(site)) is None
    extra = {*_arguments(across)} - {*_arguments(site)}
    query = across.address_on("prometheus", across.zones["query"])
    assert extra == {f"--web.listen-address={query}:9090"}


def _prometheus(site: Topology) -> Container:
    (found,) = (each for each in site.containers if each.name == "prometheus")
    return found


def _arguments(site: Topology) -> tuple[str, ...]:
    return runtime(site, _prometheus(site)).command


def test_prometheus_scrapes_guests_by_address() -> None:
    """Each flow to a guest is a job of Prometheus, with the guest's name and address."""
    site = load(with_monitoring())
    text = runtime(site, _prometheus(site)).files["/etc/prometheus/prometheus.yml"]
    jobs = {job["job_name"]: job for job in yaml.safe_load(str(text))["scrape_configs"]}
    assert jobs["site-1"] == {"job_name": "site-1", "static_configs": [{"targets": ["10.10.10.11:9100"]}]}
    assert jobs["jellyfin"]["static_configs"] == [{"targets": ["10.10.20.11:9100"]}]


def _alone() -> dict[str, Any]:
    """Return a site with a VLAN where Prometheus has the only leg."""
    return changed(
        {
            "name-prefix": "lab-",
            "zones.other": {"role": "tenant", "vlan": 40, "prefix": "10.10.40.0/24"},
            "services.box": {"zone": "other", "vmid": 401, "address": "10.10.40.11", "ports": [9100]},
            "services.prometheus.addresses": {"other": "10.10.40.3"},
            "flows[+]": "prometheus -> box:9100/tcp",
            "unencrypted[+]": {"flow": "prometheus -> box:9100/tcp", "reason": "the exporter has no TLS"},
        }
    )


def _asked_by_none() -> dict[str, Any]:
    values = with_monitoring()
    del values["services"]["prometheus-ui"]
    values["flows"] = [
        flow
        for flow in values["flows"]
        if "prometheus-ui" not in flow and not flow.endswith("prometheus:9090/tcp")
    ]
    return values


def _behind_a_router(site: dict[str, Any]) -> dict[str, Any]:
    """Return a site whose Docker host has a trunk for Prometheus's leg, beside the router."""
    flow = "prometheus -> jellyfin:9100/tcp"
    site["hosts"]["docker-srv"]["trunk"] = "trunk"
    site["services"]["prometheus"]["addresses"] = {"apps": "10.10.20.3"}
    site["services"]["jellyfin"]["ports"].append(9100)
    site["flows"].append(flow)
    site["unencrypted"].append({"flow": flow, "reason": "the exporter has no TLS"})
    return site


@pytest.mark.parametrize(
    "make",
    [
        _alone,
        _asked_by_none,
        lambda: _behind_a_router(routed()),
        lambda: _behind_a_router(attached()),
    ],
    ids=["the only leg", "asked by none", "a router", "a router in the ingress's place"],
)
def test_other_sites_pass(make: Callable[[], dict[str, Any]]) -> None:
    """The pack accepts each site, proof and walk agree, and Prometheus reaches only what it scrapes."""
    values = make()
    assert findings(values) == []
    seen = graph(Stack(resources=run(values), config=values))
    found = proved(seen)
    assert found == walked(seen)
    guests = {guest.name for guest in load(values).guests}
    scraped = {end for source, end, port in found if source == "prometheus" and port and port.number == 9100}
    assert scraped & guests == {f.destination for f in load(values).flows_from("prometheus")} & guests


def test_an_alias_too_long_for_proxmox_is_refused() -> None:
    """A leg's alias has at most 64 characters."""
    long = "p" * 60
    text = json.dumps(with_monitoring()).replace("prometheus -> ", f"{long} -> ")
    text = text.replace("-> prometheus:", f"-> {long}:").replace('"prometheus": {"app"', f'"{long}": {{"app"')
    with pytest.raises(ConfigError, match=f"leg-{long}-vlan10 has 71 characters as an alias"):
        load(json.loads(text))


def test_a_leg_alone_is_apart_too() -> None:
    """On the network of a single leg, what is attached by hand does not reach the leg past the rules."""
    (network,) = (each for each in run(_alone()) if each.name == "vlan40" and "etwork" in each.type)
    assert network.inputs["options"] == {"parent": "trunk.40", "macvlan_mode": "private"}


# ------------------------------------------------------------------------------------------- mutants


def _rule(made: Stack, group: str) -> dict[str, Any]:
    (rule,) = (r for r in made.inputs("group", group)["rules"] if r["dport"] == "9100")
    assert isinstance(rule, dict)
    return rule


def _another_port(made: Stack) -> None:
    _rule(made, "jellyfin")["dport"] = "9100:9200"


def _the_ingress_too(made: Stack) -> None:
    _rule(made, "jellyfin")["source"] = "dc/ingress-vlan20"


def _the_whole_vlan(made: Stack) -> None:
    _rule(made, "jellyfin")["source"] = "10.10.20.0/24"


def _another_alias(made: Stack) -> None:
    made.inputs("alias", "leg-prometheus-vlan20")["cidr"] = "10.10.20.4"


def _wide_alias(made: Stack) -> None:
    made.inputs("alias", "leg-prometheus-vlan20")["cidr"] = "10.10.20.0/28"


def _another_address(made: Stack) -> None:
    _leg(made, "vlan20")["ipv4Address"] = "10.10.20.4"


def _no_leg(made: Stack) -> None:
    legs = made.inputs("container", "prometheus")["networksAdvanced"]
    legs[:] = [each for each in legs if each["name"] != "vlan20"]


def _a_leg_on_the_vault(made: Stack) -> None:
    made.inputs("container", "prometheus")["networksAdvanced"] += [
        {"name": "vlan30", "ipv4Address": "10.10.30.3"}
    ]


def _a_leg_of_loki(made: Stack) -> None:
    made.inputs("container", "loki")["networksAdvanced"] += [{"name": "vlan20", "ipv4Address": "10.10.20.4"}]


def _leg(made: Stack, network: str) -> dict[str, Any]:
    (found,) = (e for e in made.inputs("container", "prometheus")["networksAdvanced"] if e["name"] == network)
    assert isinstance(found, dict)
    return found


def _legs_together(made: Stack) -> None:
    del made.inputs("network", "vlan20")["options"]["macvlan_mode"]


def _listens_everywhere(made: Stack) -> None:
    command = made.inputs("container", "prometheus")["command"]
    command[:] = [word for word in command if "listen-address" not in word]


def _listens_on_its_leg(made: Stack) -> None:
    made.inputs("container", "prometheus")["command"] += ["-web.listen-address=10.10.20.3:9090"]


MUTANTS: dict[Callable[[Stack], None], str] = {
    _another_port: "accept-rules-declared",
    _the_ingress_too: "accept-rules-declared",
    _the_whole_vlan: "accept-rules-declared",
    _another_alias: "accept-rules-declared",
    _wide_alias: "accept-rules-declared",
    _another_address: "containers-on-their-zones",
    _no_leg: "unreachable-flows",
    _a_leg_on_the_vault: "containers-on-their-zones",
    _a_leg_of_loki: "containers-on-their-zones",
    _legs_together: "undeclared-flows",
    _listens_everywhere: "legs-listen-nowhere",
    _listens_on_its_leg: "legs-listen-nowhere",
}


@pytest.mark.parametrize("change", MUTANTS, ids=lambda change: change.__name__.strip("_"))
def test_each_mutant_is_refused(change: Callable[[Stack], None]) -> None:
    """The pack refuses each stack whose leg or rule is another than the declared one, by the right rule."""
    made = stack()
    change(made)
    assert MUTANTS[change] in {each.rule for each in made.judge().findings}
    seen = graph(made)
    assert proved(seen) == walked(seen)


# ----------------------------------------------------------------------------------------- the probe


def test_the_probe_knows_the_legs() -> None:
    """The probe judges every cell of the legs: guests and newcomers reach no port of Prometheus there."""
    site = load(with_monitoring())
    service = site.services["prometheus"]
    own = {
        name: site.address_on("prometheus", site.zones[name]) for name in declared_zones(site, "prometheus")
    }
    ends = [
        Endpoint(
            name="prometheus",
            kind=EndpointKind.CONTAINER,
            ports=service.ports,
            zones=declared_zones(site, "prometheus"),
            addresses=tuple(
                Address(network=name, ip=ip, heard=heard(site, "prometheus", name, ip))
                for name, ip in own.items()
            ),
        ),
        *(guest(site, each, there=True) for each in site.guests),
        *(
            Endpoint(name=f"newcomer-{name}", kind=EndpointKind.MEMBER, zones=frozenset({name}))
            for name in VLANS
        ),
    ]
    found = {(str(cell), str(cell.address.ip)): cell for cell in cells(site, ends)}
    for source, at in (
        *(("site-1", "10.10.10.3"), ("jellyfin", "10.10.20.3")),
        *(("newcomer-wordpress", "10.10.10.3"), ("newcomer-apps", "10.10.20.3")),
    ):
        cell = found[f"{source} -> prometheus:9090/tcp", at]
        assert cell.expected is Expected.DENIED
        assert cell.address.heard == frozenset()
    allowed = {str(cell) for cell in found.values() if cell.expected is Expected.ALLOWED}
    assert {*SCRAPED} <= allowed
    assert "prometheus -> site-2:443/tcp" not in allowed
    assert heard(site, "prometheus", "query", own["query"]) is None
    assert heard(site, "prometheus", "backend", own["backend"]) == frozenset()
    assert own["apps"] == IPv4Address("10.10.20.3")
