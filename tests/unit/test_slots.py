"""Slots, services of other projects: what the site reserves, makes and proves, and what it hands over."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from policies.evaluate import evaluate
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import KINDS, TODAY, run
from tests.site import changed, state
from tests.unit.packet_walk import Walk
from tests.unit.test_verify import World, endpoints_of
from topology import schema
from topology.config import load
from topology.index import TopologyIndex
from topology.outputs import outputs
from verify import drift, inventory, slots
from verify.discovery import Discovery
from verify.driver import Ask
from verify.verdicts import Verdict

FLOWS = ("traefik -> home:8080/tcp", "home -> prometheus-ui:8080/tcp")
SLOT = {"zones": ["frontend"], "ports": [8080], "project": "start-page"}


def keys(**slot: Any) -> dict[str, Any]:
    """Return the sound site's keys with a slot, which the ingress serves."""
    values = changed({"services.home": SLOT | slot})
    values["flows"] += FLOWS
    values["unencrypted"] += [{"flow": each, "reason": "the page speaks no TLS"} for each in FLOWS]
    return values


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources for that site."""
    return tuple(run(keys()))


def graph(resources: tuple[Resource, ...] | None = None) -> Graph:
    """Return the graph of these resources, or of the site's own."""
    return Graph(tuple(map(view, resources or made())), TopologyIndex.of(load(keys())))


def test_the_program_makes_no_container_for_a_slot() -> None:
    """No resource is named after the slot; its route and its rules are there, at its address."""
    names = {each.inputs.get("name") for each in made() if each.type == KINDS["container"]}
    assert "traefik" in "".join(map(str, names))
    topology = load(keys())
    assert topology.physical("home") not in names
    address = str(topology.address_on("home", topology.zones["frontend"]))
    (rules,) = (each.inputs["stdin"] for each in made() if each.name == "host-rules")
    assert address in rules
    assert any(route.service == "home" for route in topology.routes)


def test_the_pack_accepts_an_empty_slot() -> None:
    """The site's stack is judged with the slot, and nothing is missing or too much."""
    assert evaluate(made(), load(keys()), TODAY).findings == ()


def test_the_proof_counts_the_container_of_a_slot() -> None:
    """Engine and packet walk find the slot's declared flows, and no other way to or from it."""
    site = graph()
    found = {flow.key for flow in site.reachability.flows()}
    assert found == Walk(site.facts).flows()
    own = {(a, b, str(port)) for a, b, port in found if "home" in {a, b}}
    assert {("traefik", "home", "8080/tcp"), ("home", "prometheus-ui", "8080/tcp")} <= own
    clients = {a for a, b, _ in found if b == "traefik"}
    assert {a for a, b, _ in own if b == "home"} == {"traefik", *clients}
    assert {b for a, b, _ in own if a == "home"} == {"prometheus-ui"}


def test_a_rule_too_many_for_a_slot_is_refused() -> None:
    """If the host's rules let the slot's address reach another neighbour, the pack names the flow."""
    wide = keys()
    wide["flows"].append("home -> grafana:3000/tcp")
    wide["unencrypted"].append({"flow": "home -> grafana:3000/tcp", "reason": "no TLS between them"})
    (rules,) = (each for each in run(wide) if each.name == "host-rules")
    resources = tuple(rules if each.name == "host-rules" else each for each in made())
    found = {finding.message for finding in evaluate(resources, load(keys()), TODAY).findings}
    assert any("home -> grafana:3000/tcp: expected DENIED, got ALLOWED" in message for message in found), (
        found
    )


def container(name: str) -> Resource:
    """Return a container of the site's own under another physical name."""
    (found,) = (each for each in made() if each.type == KINDS["container"] and each.name == "grafana")
    urn, inputs = found.urn.replace("::grafana", f"::{name}"), {**found.inputs, "name": name}
    return replace(found, name=name, urn=urn, inputs=inputs)


def test_the_sites_own_stack_may_not_fill_a_slot() -> None:
    """A container with the slot's name in the site's stack is refused: another project makes it."""
    physical = load(keys()).physical("home")
    findings = evaluate((*made(), container(physical)), load(keys()), TODAY).findings
    assert any(f.rule == "containers-have-a-role" and "start-page" in f.message for f in findings)


def test_the_outputs_hand_a_slot_over() -> None:
    """The outputs name project, container, network, address and ports, and fit the schema."""
    topology = load(keys(addresses={"frontend": "172.30.1.77"}))
    told = outputs(topology)
    jsonschema.validate(told, schema.outputs())
    network = topology.physical("frontend")
    assert told["slots"]["home"] == {
        "project": "start-page",
        "container": topology.physical("home"),
        "networks": {network: {"zone": "frontend", "address": "172.30.1.77"}},
        "ports": ["8080/tcp"],
        "nameServers": ["127.0.0.1"],
        "engine": None,
    }


def inspected(name: str, networks: dict[str, str], *, running: bool = True) -> dict[str, Any]:
    """Return the part of a container's `docker inspect` that drift and discovery read."""
    joined = {network: {"IPAddress": address} for network, address in networks.items()}
    return {
        "Name": f"/{name}",
        "State": {"Running": running, "Pid": 4711},
        "Config": {},
        "NetworkSettings": {"Ports": {}, "Networks": joined},
    }


def test_an_empty_slot_is_known_and_not_asked() -> None:
    """Without its running container a slot is no endpoint; with it, it is one at its address."""
    topology = load(keys())
    name, zone = topology.physical("home"), topology.zones["frontend"]
    network, own = topology.physical(zone.network), str(topology.address_on("home", zone))
    for there in ([], [inspected(name, {network: ""}, running=False)]):
        discovery = Discovery(topology, Path("known_hosts"), guests_here=False)
        discovery.discover(there)
        assert "home" not in {each.name for each in discovery.containers}
        assert "slot home: empty until project start-page fills it" in discovery.left_out
        assert [*slots.states(topology, there)] == ["slot home of project start-page: empty"]
    filled = [inspected(name, {network: own})]
    discovery = Discovery(topology, Path("known_hosts"), guests_here=False)
    discovery.discover(filled)
    (home,) = (each for each in discovery.containers if each.name == "home")
    assert (home.there, home.oddities) == (True, ())
    assert [*slots.states(topology, filled)] == ["slot home of project start-page: filled"]
    assert [*inventory.containers(topology, filled)] == []
    assert drift.moved(topology, filled) == []


def test_a_slot_filled_at_another_address_is_found() -> None:
    """Probe and drift name the address, the reserved one, and the project that has to change."""
    topology = load(keys())
    zone = topology.zones["frontend"]
    own = str(topology.address_on("home", zone))
    there = inspected(topology.physical("home"), {topology.physical(zone.network): "172.30.1.99"})
    (found,) = drift.moved(topology, [there])
    assert (found.declared, found.live) == (own, "172.30.1.99 on frontend")
    assert "in project start-page" in found.remedy
    assert [what for what, _ in inventory.oddities(topology, there)] == ["has 172.30.1.99 on frontend"]


def test_the_route_of_an_empty_slot_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ingress's error for an empty slot is no finding, and for a filled one it is."""
    monkeypatch.setenv("HOMELAB_STATE", str(state(tmp_path)))
    site = load(keys())
    every = endpoints_of(site)
    failed = {"status": 502, "title": "", "location": ""}

    def answer(_source: str, ask: Ask) -> object:
        return failed if ask.kind == "page" and (ask.host or "").startswith("home.") else None

    without = [each for each in every if each.name != "home"]
    assert [f for f in World(site, without, answer).findings() if f.verdict is Verdict.DISAGREES] == []
    wrong = [f for f in World(site, every, answer).findings() if f.verdict is Verdict.DISAGREES]
    assert any("home" in each.what for each in wrong)
