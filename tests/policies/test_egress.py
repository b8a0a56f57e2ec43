"""Sites with containers that go out: sound ones pass the pack, and each way past a rule is refused."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from policies.evaluate import evaluate_resource
from reachability.intent import Intent, missing, surplus
from resources.site import Graph
from resources.typed import view
from tests.egress import with_egress
from tests.findings import is_named
from tests.half import docker_alone
from tests.policies.mutations import Mutation
from tests.policies.mutations import _of_resource as of_resource
from tests.policies.sound import Stack, run, with_acme
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Flow

OPTION = "com.docker.network.bridge."
TEMPORARY = {"flow": "grafana -> internet:123/udp", "until": "2027-01-31", "reason": "to set its clock"}
Change = Callable[[Stack], None]


@cache
def _made() -> bytes:
    return pickle.dumps(run(with_egress(configuration())))


def stack() -> Stack:
    """Return a fresh copy of the sound site with containers that go out."""
    return Stack(resources=pickle.loads(_made()), config=with_egress(configuration()))  # noqa: S301  # own


def graph(made: Stack, rules: str | None = None) -> Graph:
    """Return the graph of a stack; the host's own rules have another text if one is given."""
    declared = TopologyIndex.of(load(made.config))
    found = Graph(tuple(evaluate_resource(each, declared, {}).view for each in made.resources), declared)
    if rules is not None:
        found.__dict__["_host_rules"] = rules
    return found


def text() -> str:
    """Return the host's own rules of the sound site."""
    found: str = stack().inputs("command", "host-rules")["stdin"]
    return found


# ---------------------------------------------------------------------------------------------- sound


def _for_a_while(config: dict[str, Any]) -> dict[str, Any]:
    config = with_egress(config, TEMPORARY, "grafana -> internet:53/tcp")
    config["services"]["grafana"]["zones"] = ["frontend", "query", "egress"]
    return config


def _two_ways_out(config: dict[str, Any]) -> dict[str, Any]:
    config = with_egress({**config, "name-prefix": "lab-"})
    config["zones"]["aside"] = {"role": "egress", "prefix": "172.30.10.0/24"}
    config["services"]["crawler"] = {**config["services"]["crawler"], "zones": ["aside"]}
    return config


def _met_there(config: dict[str, Any]) -> dict[str, Any]:
    config = with_egress(config, "paperless -> crawler:8080/tcp")
    config["services"]["crawler"] |= {"ports": [8080]}
    reason = {"flow": "paperless -> crawler:8080/tcp", "reason": "it has no TLS of its own"}
    return {**config, "unencrypted": [*config["unencrypted"], reason]}


SOUND: dict[str, Callable[[], dict[str, Any]]] = {
    "two containers": lambda: with_egress(configuration()),
    "for a while": lambda: _for_a_while(configuration()),
    "two zones": lambda: _two_ways_out(configuration()),
    "neighbours": lambda: _met_there(configuration()),
    "beside ACME": lambda: with_egress(with_acme(configuration())),
    "ports that Proxmox has": lambda: with_egress(configuration(), "crawler -> internet:22/tcp"),
    "Docker alone": lambda: with_egress(docker_alone()),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_site_with_containers_that_go_out_is_sound(name: str) -> None:
    """The pack finds nothing, and what reaches the internet are the declared flows, no other."""
    config = SOUND[name]()
    made = Stack(resources=run(config), config=config)
    assert made.judge().findings == ()
    declared = load(config)
    hosts = {host.name for host in declared.hosts}
    found = {str(f) for f in graph(made).reachability.flows() if f.destination == "internet"}
    wanted = {str(flow) for flow in declared.flows_to("internet")}
    assert {flow for flow in found if flow.partition(" ")[0] not in hosts} == wanted
    assert len(wanted) >= 4


def test_a_member_reaches_its_ports_alone() -> None:
    """Another member's ports, other ports, the host, and what is private stay shut to each member."""
    engine = graph(stack()).reachability
    for source, names in {
        "paperless": ["internet:80/tcp", "internet:443/udp", "management:443/tcp", "docker-srv:443/tcp"],
        "crawler": ["internet:443/tcp", "traefik:443/tcp", "paperless:8000/tcp", "proxmox-srv:80/tcp"],
        "loki": ["internet:443/tcp", "paperless:8000/tcp"],
        "traefik": ["internet:443/tcp", "crawler:80/tcp"],
    }.items():
        for flow in (Flow.parse(f"{source} -> {name}") for name in names):
            assert not engine.evaluate(flow.source, flow.destination, flow.port).allowed, flow


def test_a_day_that_has_passed_is_refused() -> None:
    """After the last day of a container's egress the pack refuses the stack."""
    config = with_egress(configuration(), TEMPORARY | {"until": "2026-11-22"}, "grafana -> internet:53/udp")
    config["services"]["grafana"]["zones"] = ["frontend", "query", "egress"]
    said = [finding.message for finding in Stack(resources=run(config), config=config).judge().findings]
    assert [message for message in said if "grafana -> internet:123/udp" in message] == said
    assert said


# ------------------------------------------------------------------------------------------- resources


def _network(**inputs: Any) -> Change:
    return lambda made: made.inputs("network", "egress").update(inputs)


def _option(name: str, value: str | None) -> Change:
    def change(made: Stack) -> None:
        options = made.inputs("network", "egress")["options"]
        options[f"{OPTION}{name}"] = value
        if value is None:
            del options[f"{OPTION}{name}"]

    return change


def _container(name: str, **inputs: Any) -> Change:
    return lambda made: made.inputs("container", name).update(inputs)


def _joins(name: str, network: str = "egress", address: str = "172.30.9.77") -> Change:
    def change(made: Stack) -> None:
        made.inputs("container", name)["networksAdvanced"].append({"name": network, "ipv4Address": address})

    return change


def _address(name: str, address: str | None) -> Change:
    def change(made: Stack) -> None:
        legs = made.inputs("container", name)["networksAdvanced"]
        (leg,) = (leg for leg in legs if leg["name"] == "egress")
        leg["ipv4Address"] = address
        if address is None:
            del leg["ipv4Address"]

    return change


def _leaves(made: Stack) -> None:
    legs = made.inputs("container", "crawler")["networksAdvanced"]
    legs[:] = [leg for leg in legs if leg["name"] != "egress"]


def _a_stranger(made: Stack) -> None:
    inputs = copy.deepcopy(made.inputs("container", "crawler"))
    made.add("container", "stranger", inputs | {"name": "stranger"})


def _a_way_out_of_its_own(made: Stack) -> None:
    inputs = copy.deepcopy(made.inputs("network", "egress"))
    inputs["options"][f"{OPTION}name"] = "br-other"
    made.add("network", "other", inputs | {"name": "other"})
    _joins("loki", "other")(made)


def _no_longer_declared(made: Stack) -> None:
    made.config["flows"].remove("paperless -> internet:443/tcp")


MUTANTS: dict[str, tuple[Change, str]] = {
    "internal": (_network(internal=True), "egress: internal is on, though zone egress is a way out"),
    "attachable": (_network(attachable=True), "egress: attachable is set"),
    "IPv6": (_network(ipv6=True), "egress: ipv6 is set"),
    "of another driver": (_network(driver="macvlan"), "egress: driver macvlan is not bridge"),
    "of another subnet": (
        _network(ipamConfigs=[{"subnet": "172.30.0.0/16", "gateway": "172.30.9.1"}]),
        "egress: its subnet is not the declared 172.30.9.0/24",
    ),
    "of another gateway": (
        _network(ipamConfigs=[{"subnet": "172.30.9.0/24", "gateway": "172.30.9.254"}]),
        "egress: its gateway is not the zone's 172.30.9.1",
    ),
    "without translation": (
        _option("enable_ip_masquerade", "false"),
        "paperless -> internet:443/tcp: expected ALLOWED, got DENIED",
    ),
    "on a bridge that the rules miss": (
        _option("name", "br-other"),
        "crawler -> internet:*: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "on no named bridge": (
        _option("name", None),
        "crawler -> internet:443/tcp: expected DENIED, got ALLOWED",
    ),
    "on the ingress's bridge": (_option("name", "br-edge"), "egress: its bridge is not named br-egress"),
    "routed": (_option("gateway_mode_ipv4", "routed"), "gateway_mode_ipv4 is not understood with this value"),
    "unprotected": (
        _option("gateway_mode_ipv4", "nat-unprotected"),
        "gateway_mode_ipv4 is not understood with this value",
    ),
    "trusting another bridge": (
        _option("trusted_host_interfaces", "br-backend"),
        "trusted_host_interfaces is not understood with this value",
    ),
    "published on an address": (
        _option("host_binding_ipv4", "198.51.100.7"),
        "host_binding_ipv4 is not understood",
    ),
    "a published port": (
        _container("paperless", ports=[{"internal": 8000.0, "external": 8000.0}]),
        "internet -> paperless:8000/tcp: expected DENIED, got ALLOWED via docker-srv:8000/tcp",
    ),
    "the published port of the ingress": (
        _container("crawler", ports=[{"internal": 443.0, "external": 443.0, "ip": "0.0.0.0"}]),  # noqa: S104
        "crawler: publishes 0.0.0.0:443 -> 443/tcp, which no declared flow from outside uses",
    ),
    "all ports published": (_container("crawler", publishAllPorts=True), "crawler: publishes all its ports"),
    "grafana there": (_joins("grafana"), "grafana: joins egress, which is no network of its zones"),
    "loki there": (_joins("loki"), "loki: joins egress, which is no network of its zones"),
    "the ingress there": (_joins("traefik"), "traefik: joins egress, which is no network of its zones"),
    "loki there, at an address that goes out": (
        _joins("loki", address="172.30.9.35"),
        "loki -> internet:443/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "loki there, at any address": (
        lambda made: made.inputs("container", "loki")["networksAdvanced"].append({"name": "egress"}),
        "loki -> internet:80/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "an undeclared container there": (_a_stranger, "stranger: container stranger is no declared service"),
    "crawler elsewhere": (_leaves, "crawler: does not join egress, though it is in zone egress"),
    "crawler at another address": (
        _address("crawler", "172.30.9.52"),
        "crawler -> internet:80/tcp: expected ALLOWED, got DENIED",
    ),
    "crawler at paperless's address": (
        _address("crawler", "172.30.9.35"),
        "crawler -> internet:443/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "crawler at no chosen address": (
        _address("crawler", None),
        "crawler -> internet:443/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "crawler that forges addresses": (
        _container("crawler", capabilities={"adds": ["CAP_NET_RAW"], "drops": ["ALL"]}),
        "crawler -> internet:443/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "crawler that is privileged": (
        _container("crawler", privileged=True),
        "crawler -> internet:443/tcp: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "crawler on the host's network": (
        _container("crawler", networkMode="host", networksAdvanced=[]),
        "crawler -> internet:*: expected DENIED, got ALLOWED",
    ),
    "loki in paperless's network": (
        _container("loki", networkMode="container:paperless", networksAdvanced=[]),
        "loki -> internet:443/tcp: expected DENIED, got ALLOWED",
    ),
    "paperless as a router": (
        _container("paperless", sysctls={"net.ipv4.ip_forward": "1"}),
        "paperless: changes the kernel's net.ipv4.ip_forward",
    ),
    "another name server": (
        _container("crawler", dns=["192.168.1.1"]),
        "crawler: asks a name server of its own",
    ),
    "no name server": (_container("crawler", dns=None), "crawler: does not ask every declared name server"),
    "a name server of what does not go out": (
        _container("loki", dns=["9.9.9.9"]),
        "loki: asks a name server of its own",
    ),
    "a way out of its own": (_a_way_out_of_its_own, "other: network other is no declared zone"),
    "the backend with a way out": (
        lambda made: made.inputs("network", "backend").update(internal=False),
        "backend: internal is off, though zone backend has no way out",
    ),
    "no host rules": (
        lambda made: made.remove("command", "host-rules"),
        "crawler -> internet:*: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
    "no rules after a boot": (
        lambda made: made.remove("command", "boot-rules"),
        "docker-srv: what brings its own rules back at boot is not in the stack",
    ),
    "no switch": (
        lambda made: made.remove("command", "bridge-switch"),
        "paperless -> crawler:*: expected DENIED, got ALLOWED via egress -> crawler",
    ),
    "a flow that is no longer declared": (
        _no_longer_declared,
        "paperless -> internet:*: expected DENIED, got ALLOWED via docker-srv -> internet",
    ),
}
"""A change of the sound site's resources, and a message about it."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_way_past_the_rules_is_refused(name: str) -> None:
    """Each change of the networks, members and commands is a finding that names it."""
    change, wanted = MUTANTS[name]
    made = stack()
    change(made)
    said = [finding.message for finding in made.judge().findings]
    assert any(wanted in message for message in said), said


SAME = re.compile(r"remove network egress .*enable_ip_masquerade|.* (user|tmpfs\S*)$")
"""Mutations that change no traffic: a default written out, a set, users and scratch space."""


@pytest.mark.parametrize(("kind", "name", "least"), [("network", "egress", 40), ("container", "crawler", 90)])
def test_every_mutation_of_a_way_out_is_refused(kind: str, name: str, least: int) -> None:
    """Adding, removing, moving or hiding a property that carries traffic is refused, and named."""
    sound, told, survivors = stack(), 0, []
    for mutation in of_resource(kind, sound.get(kind, name), sound):
        made = stack()
        mutation.apply(made)
        if SAME.fullmatch(str(mutation)) or reads_as(sound, made, mutation):
            continue
        told += 1
        if not (is_named(mutation, made.judge_alone()) or is_named(mutation, made.judge_changes().findings)):
            survivors.append(str(mutation))
    assert survivors == []
    assert told >= least


def reads_as(sound: Stack, made: Stack, mutation: Mutation) -> bool:
    """Whether a mutated resource means the same as before."""
    if not mutation.path or mutation.operator in {"add twin of", "add login"}:
        return False
    before, after = (view(each.get(mutation.kind, mutation.resource)) for each in (sound, made))
    return (before.inputs, before.faults) == (after.inputs, after.faults)


# ------------------------------------------------------------------------------------------------ text


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(rules: str) -> str:
        found = re.sub(old, new, rules, flags=re.MULTILINE)
        assert found != rules, old
        return found

    return change


MEMBER = r"ip saddr \. meta l4proto \. th dport @leaving "
LAST = r'^    iifname \{ "br-backend".* \} goto undeclared\n(    oifname.*\n)+  \}\n\}'
TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a port for the whole bridge": (
        _replaced(rf'("br-egress" \}} ){MEMBER}(ip daddr != \{{.*\}} )accept', r"\1\2tcp dport 443 accept"),
        "crawler -> internet:443/tcp",
    ),
    "another port": (_replaced(r"9\.35 \. tcp \. 443", "9.35 . tcp . 8443"), "paperless -> internet:*"),
    "another protocol": (_replaced(r"9\.35 \. udp \. 53", "9.35 . tcp . 53"), "paperless -> internet:*"),
    "another member's port": (
        _replaced(r"9\.51 \. tcp \. 80", "9.51 . tcp . 443"),
        "crawler -> internet:443/tcp",
    ),
    "one member more": (
        _replaced(r"^( +172\.30\.9)\.35 \. tcp \. 443,\n", r"\g<0>\1.51 . tcp . 443,\n"),
        "crawler -> internet:443/tcp",
    ),
    "management's network": (_replaced(r" 10\.0\.0\.0/8,", ""), "paperless -> management:*"),
    "a part of management's network": (
        _replaced(r" 10\.0\.0\.0/8,", " 10.0.0.0/16,"),
        "crawler -> management:*",
    ),
    "any address": (_replaced(r" ip daddr != \{.*\} accept$", " accept"), "paperless -> management:*"),
    "any port": (_replaced(rf" {MEMBER}ip", " ip"), "crawler -> management:*"),
    "an address set of another kind": (_replaced("ip daddr !=", "ip daddr"), "paperless -> management:*"),
    "a rule before it": (
        _replaced(r"^(    iifname \{ \"br-egress\" \} ip saddr)", r"    ip saddr 172.30.9.51 accept\n\1"),
        "crawler -> internet:*",
    ),
    "no last rules": (_replaced(LAST, "  }\n}"), ""),
    "no rule at the end of its own bridge": (
        _replaced(
            r'("br-edge", )"br-egress", ("br-frontend".* goto)|^    iifname \{ "br-egress" \} goto \w+\n',
            r"\1\2",
        ),
        "crawler -> internet:*",
    ),
    "a policy": (
        _replaced("type filter hook forward priority filter - 10; policy accept;", ""),
        "crawler -> internet:*",
    ),
    "two chains": (
        _replaced(r"^  chain input \{", "  chain forward {\n  }\n  chain input {"),
        "crawler -> internet:*",
    ),
    "no chain": (_replaced(r"^  chain forward \{", "  chain backward {"), "crawler -> internet:*"),
    "another set": (_replaced("@leaving", "@declared"), "crawler -> internet:*"),
    "a comment": (
        _replaced(r'^    iifname \{ "br-egress" \} goto undeclared', "#\\g<0>"),
        "crawler -> internet:*",
    ),
    "a jump": (
        _replaced(r'^    iifname \{ "br-egress" \} goto undeclared', "    jump within"),
        "crawler -> internet:*",
    ),
    "the way of another bridge": (
        _replaced(rf'"br-egress"( \}} {MEMBER})', r'"br-frontend"\1'),
        "paperless -> internet:443/tcp",
    ),
    "no element": (_replaced(r"^ +172\.30\.9\.35 \. tcp \. 443,\n", ""), "paperless -> internet:443/tcp"),
}
"""A change of the text of the host's own rules, and the flow that it opens or closes.

No flow: what it opens is between bridges, of which the proof assumes that the engine keeps them apart.
"""


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_is_refused(name: str) -> None:
    """The pack takes no other text for the host's rules; the proof reads in it what it opens or closes."""
    change, flow = TEXTS[name]
    made = stack()
    made.inputs("command", "host-rules")["stdin"] = change(text())
    assert "host-rules-installed" in {finding.rule for finding in made.judge().findings}
    seen = graph(stack(), change(text()))
    intent = Intent.of(seen.topology)
    found = {str(each) for each in surplus(seen.reachability, intent)}
    found |= {str(each) for each in missing(seen.reachability, intent)}
    assert flow in found or not flow


def test_the_text_is_read_as_it_is() -> None:
    """The unchanged text opens the declared flows and no other."""
    seen = graph(stack(), text())
    intent = Intent.of(seen.topology)
    assert [*surplus(seen.reachability, intent), *missing(seen.reachability, intent)] == []
