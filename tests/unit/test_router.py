"""A site's router: its rules as text, what is read from them, and what may be declared."""

import copy
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from commands import router as command
from reachability.result import EdgeKind
from rendered import router_rules
from report.drawing import draw
from resources.resource import Resource
from resources.routed import Routed
from resources.router_rules import RouterRules, read
from resources.site import Graph
from resources.typed import view
from tests.clone import environment
from tests.golden import ROUTERS
from tests.policies.sound import Stack, run
from tests.routers import attached, behind_a_lan, beside_management, drawn, over_ssh, routed
from tests.site import FILE, changed
from tests.unit.packet_walk import Walk
from topology import schema
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.model import Port, RouterSystem, Topology

BAD: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("bad_routers.yaml").read_text(encoding="utf-8")
)


@cache
def site(system: str) -> Topology:
    """Return the sound site behind a router."""
    return load(routed(system))


@cache
def vyos_paths() -> list[re.Pattern[str]]:
    """Return the configuration paths that VyOS knows, as patterns of commands."""
    lines = gzip.decompress((ROUTERS / "vyos_paths.txt.gz").read_bytes()).decode().splitlines()
    return [re.compile(_pattern(line.removesuffix(" (several)"))) for line in lines]


def _pattern(path: str) -> str:
    words = []
    for word in path.split(" "):
        if word in {"<name>", "<value>"}:
            words.append(r"\S+")
        elif word.startswith("{"):
            listed = word.strip("{}").split("|")
            words.append(r"\S+" if "…" in listed else "|".join(map(re.escape, listed)).join(("(?:", ")")))
        else:
            words.append(re.escape(word))
    return " ".join(words)


@pytest.mark.parametrize("system", RouterSystem)
def test_the_rules_are_these(system: RouterSystem) -> None:
    """The rules of the sound site's router are the golden text."""
    assert router_rules.rules(site(system)) == (ROUTERS / f"rules.{system}").read_text(encoding="utf-8")


def test_vyos_knows_every_command() -> None:
    """Each `set` command fits one of VyOS's configuration paths."""
    commands = router_rules.rules(site("vyos")).splitlines()
    known = vyos_paths()
    unknown = [each for each in commands if not any(p.fullmatch(each.removeprefix("set ")) for p in known)]
    assert unknown == []


def test_both_forms_say_the_same() -> None:
    """The nftables file and the VyOS commands are read as one set of rules, with every crossing."""
    found = {s: read(router_rules.rules(site(s)), RouterSystem(s), None) for s in RouterSystem}
    assert found[RouterSystem.LINUX] == found[RouterSystem.VYOS]
    assert len(found[RouterSystem.LINUX].permits or ()) == len(site("linux").crossings) == 8


@pytest.mark.parametrize(
    ("system", "old", "new"),
    [
        ("linux", "priority filter; policy drop", "priority filter; policy accept"),
        ("linux", " tcp dport 631 accept", " accept"),
        ("linux", " tcp dport 631 accept", " tcp dport 1-631 accept"),
        ("linux", "  chain postrouting", "  chain other {\n  }\n  chain postrouting"),
        ("linux", "    oifname", "    iifname"),
        ("vyos", "set firewall ipv4 forward filter default-action drop\n", ""),
        ("vyos", "set firewall ipv6 forward filter default-action drop\n", ""),
        ("vyos", "ipv6 input filter default-action drop", "ipv6 input filter default-action accept"),
        ("vyos", "rule 50 protocol tcp", "rule 50 log"),
        ("vyos", "rule 50 protocol tcp", "rule 50 protocol all"),
        ("vyos", "network-group !NEARBY", "network-group NEARBY"),
        ("vyos", "rule 10 state related", "rule 10 state new"),
        ("vyos", "address masquerade", "address 10.10.1.9"),
    ],
)
def test_what_is_not_understood_opens_everything(system: str, old: str, new: str) -> None:
    """Rules of another kind, and chains that accept by default, leave nothing that the proof relies on."""
    text = router_rules.rules(site(system))
    assert old in text
    assert read(text.replace(old, new), RouterSystem(system), None) == RouterRules()


SITES = {
    "a trunk": routed,
    "an access port": attached,
    "a name server beside management": beside_management,
    "a LAN before the router": behind_a_lan,
}


@pytest.mark.parametrize("system", RouterSystem)
@pytest.mark.parametrize("attachment", SITES)
def test_a_site_behind_a_router_is_sound(attachment: str, system: str) -> None:
    """The pack finds nothing, every flow is possible, and engine and packet walk find the same ones."""
    is_sound(SITES[attachment](system))


def is_sound(keys: dict[str, Any]) -> None:
    """Check a site with a router: the pack finds nothing, and engine and packet walk the declared flows."""
    made, topology = run(keys), load(keys)
    assert Stack(resources=list(made), config=keys).judge().findings == ()
    graph = Graph(tuple(map(view, made)), TopologyIndex.of(topology))
    found = {flow.key for flow in graph.reachability.flows()}
    assert {(str(f.source), str(f.destination), f.port) for f in topology.flows} <= found
    assert found == Walk(graph.facts).flows()


def test_only_the_ingress_passes_for_docker_srv() -> None:
    """Of Docker-SRV's containers the ingress alone reaches a guest by the router, on the port of its flow."""
    keys = attached()
    reachability = Graph(tuple(map(view, run(keys))), TopologyIndex.of(load(keys))).reachability
    sets = [each for each in reachability.connection_sets() if each.destination == "jellyfin"]
    containers = {each.name for each in load(keys).containers}
    by_packets = {
        (name, each.port) for each in sets if each.how is not EdgeKind.PROXIED for name in each.sources
    }
    assert {each for each in by_packets if each[0] in containers} == {("traefik", Port(number=8096))}
    assert reachability.evaluate("docker-srv", "jellyfin", Port(number=8096)).allowed
    assert not reachability.evaluate("docker-srv", "jellyfin", None).allowed


@pytest.mark.parametrize("attachment", SITES)
def test_the_internet_reaches_a_guest_by_its_public_port(attachment: str) -> None:
    """The internet reaches the guest at its public port alone, and no other source comes in by it."""
    keys = SITES[attachment]("linux")
    graph = Graph(tuple(map(view, run(keys))), TopologyIndex.of(load(keys)))
    assert (
        str(graph.reachability.evaluate("internet", "jellyfin", Port(number=8333)).trace)
        == "router -> jellyfin"
    )
    direct = {
        (f.source, f.port)
        for f in graph.reachability.flows()
        if f.destination == "jellyfin" and f.how is not EdgeKind.PROXIED
    }
    assert {source for source, port in direct if port == Port(number=8333)} == {"internet"}
    assert {port for source, port in direct if source == "internet"} == {Port(number=8333)}


def test_the_internet_alone_comes_in_by_a_public_port() -> None:
    """A public port is not open to the guest's neighbours: a rule for every source is refused, and proved."""
    stack = Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=over_ssh())
    rules = next(r.inputs["rules"] for r in stack.resources if r.inputs.get("name") == "jellyfin")
    (rule,) = (each for each in rules if each["dport"] == "8333")
    rule["source"] = "0.0.0.0/0"
    stack.inputs("options", "stirling-pdf")["outputPolicy"] = "ACCEPT"
    told = {finding.subject for finding in stack.judge().findings}
    assert {"stirling-pdf -> jellyfin:8333/tcp", "jellyfin"} <= told


@pytest.mark.parametrize("system", RouterSystem)
def test_the_schema_takes_a_router(system: str) -> None:
    """The schema and the loader take the same site."""
    document = {"config": {f"homelab-network:{key}": value for key, value in routed(system).items()}}
    jsonschema.validate(document, schema.configuration())


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["id"])
def test_a_bad_router_is_refused(case: dict[str, Any]) -> None:
    """Each fault is told with its path, and what cures it."""
    with pytest.raises(ConfigError) as refused:
        load(changed(case["change"], routed()))
    told = re.sub(r"flows\[\d+\]", "flows[+]", str(refused.value))
    assert told == case["message"]


def written(folder: Path, keys: dict[str, Any]) -> None:
    """Write a stack file `Pulumi.home.yaml` with these keys."""
    config = {f"homelab-network:{key}": value for key, value in keys.items()}
    (folder / "Pulumi.home.yaml").write_text(json.dumps({"config": config}), encoding="utf-8")


@pytest.mark.parametrize(("system", "name"), [("linux", "router.nft"), ("vyos", "router.vyos")])
def test_the_rules_are_written(system: str, name: str, tree: Path) -> None:
    """`make router STACK=home` writes the rules of the site's router and prints where."""
    written(tree, routed(system))
    done = subprocess.run(
        ["make", "--silent", "router", "STACK=home", "READY=", f"VENV={sys.prefix}"],
        cwd=tree,
        env=environment(tree) | {"MAKELEVEL": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"router-home/{name}\n")
    assert (tree / "router-home" / name).read_text(encoding="utf-8") == router_rules.rules(site(system))


def test_the_picture_has_the_router() -> None:
    """The report's picture has a box for the router, to which flows lead."""
    drawing = draw(site("linux"))
    assert "router" in {box.title for box in drawing.boxes}
    assert "router" in {arrow.destination for arrow in drawing.arrows}


def test_no_router_has_no_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """A site without a router is told how to declare one, and nothing is written."""
    assert command.main([str(FILE)]) == 2
    assert (
        capsys.readouterr().err == "Pulumi.sound.yaml: no host is of kind router; declare one under hosts.\n"
    )


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources for a site whose router's rules the stack installs."""
    return tuple(run(over_ssh()))


def installed(resources: list[Resource]) -> Any:
    """Return the inputs of the command that installs the router's rules."""
    return next(r.inputs for r in resources if r.name == "router-rules")


MUTANTS: dict[str, tuple[str, str]] = {
    "forward accepts": (
        "hook forward priority filter; policy drop",
        "hook forward priority filter; policy accept",
    ),
    "input accepts": ("hook input priority filter; policy drop", "hook input priority filter; policy accept"),
    "a rule for every port": (" tcp dport 631 accept", " accept"),
    "another port": (" tcp dport 631 accept", " tcp dport 22 accept"),
    "another protocol": (" tcp dport 631 accept", " udp dport 631 accept"),
    "every source": ("ip saddr 10.10.20.11 ip daddr", "ip daddr"),
    "a wider source": ("ip saddr 10.10.20.11 ip daddr", "ip saddr 10.10.20.0/24 ip daddr"),
    "every destination": ("ip daddr 192.168.1.0/24 tcp", "tcp"),
    "a wider destination": ("ip daddr 10.10.10.11 tcp", "ip daddr 10.10.10.0/24 tcp"),
    "every interface in": ('iifname "eth1.20" oifname', "oifname"),
    "every interface out": ('oifname "eth1.10" ip', "ip"),
    "in without asking": (" ct status dnat", ""),
    "another forward": ("dnat ip to 10.10.1.4:443", "dnat ip to 10.10.1.5:8006"),
    "a forward to another guest": ("dnat ip to 10.10.20.11:8333", "dnat ip to 10.10.20.12:8333"),
    "no forward": ("dnat ip to 10.10.1.4:443", "dnat ip to 10.10.1.4:80"),
    "no translation": ('    oifname "eth0" ip saddr 10.10.10.0/24 masquerade\n', ""),
    "the whole site is the internet": ("      10.0.0.0/8,\n", ""),
    "anybody logs in": (
        'iifname "eth1" ip saddr 10.10.1.0/24 ip daddr 10.10.1.1 tcp dport 22',
        "tcp dport 22",
    ),
    "at each of its addresses": (" ip daddr 10.10.1.1 tcp", " tcp"),
    "at another leg's address": (" ip daddr 10.10.1.1 tcp", " ip daddr 192.168.1.2 tcp"),
    "no rules": ("table inet homelab-network-router {", "table inet another {"),
    "another rule first": ("    ct state established", "    accept\n    ct state established"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_other_rules_on_the_router_are_rejected(mutant: str) -> None:
    """The pack rejects a router whose installed rules are not the rendered ones."""
    stack = Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=over_ssh())
    assert stack.judge().findings == ()
    rules = installed(stack.resources)
    old, new = MUTANTS[mutant]
    assert old in rules["stdin"]
    rules["stdin"] = rules["stdin"].replace(old, new)
    told = {finding.rule for finding in stack.judge().findings}
    assert {"commands-are-our-own", "router-rules-installed"} <= told


@pytest.mark.parametrize("kind", ["local:Command", "remote:CopyFile"])
def test_rules_that_do_not_run_on_the_router_are_rejected(kind: str) -> None:
    """The router's rules in a command of another type, or of another user, are not the router's rules."""
    resources = [replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()]
    place = next(index for index, each in enumerate(resources) if each.name == "router-rules")
    resources[place] = replace(resources[place], type=f"command:{kind}")
    told = [f"{f.rule}: {f}" for f in Stack(resources=resources, config=over_ssh()).judge().findings]
    text = "runs a command that can't be judged: it runs elsewhere than the project's router rules"
    assert f"commands-are-our-own: router-rules: command:{kind} {text}" in told
    assert "router-rules-installed: router: its rules are not in the stack" in told


def test_a_routers_user_is_the_declared_one() -> None:
    """Another user's login on the router is refused: it may not set rules, and the setup would not say so."""
    stack = Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=over_ssh())
    installed(stack.resources)["connection"]["user"] = "guest"
    assert "commands-are-our-own" in {finding.rule for finding in stack.judge().findings}


@pytest.mark.parametrize("other", ["", " ip daddr 192.168.1.2"])
def test_a_router_takes_what_asks_the_near_address(other: str) -> None:
    """A rule of its input for another leg's address opens all: a flow to machines there would lead to it."""
    topology = TopologyIndex.of(site("linux"))
    text = router_rules.rules(topology)
    assert Routed(topology=topology, text=text).host.entries
    changed = text.replace(" ip daddr 10.10.1.1", other)
    assert changed != text
    assert Routed(topology=topology, text=changed).host.entries is None


WIDER = ("forward accepts", "another rule first")


@pytest.mark.parametrize("mutant", WIDER)
def test_the_proof_names_what_a_router_lets_through(mutant: str) -> None:
    """Where guests filter nothing, wider rules of the router are undeclared flows, by the router."""
    keys = over_ssh()
    resources = [replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()]
    rules = installed(resources)
    rules["stdin"] = rules["stdin"].replace(*MUTANTS[mutant])
    stack = Stack(resources=resources, config=keys)
    stack.inputs("options", "site-1")["inputPolicy"] = "ACCEPT"
    told = [finding.message for finding in stack.judge().findings]
    assert any(": expected DENIED, got ALLOWED via router -> site-1" in each for each in told)


@pytest.mark.parametrize("gone", ["router-rules", "router-boot-rules"])
def test_a_router_without_its_rules_is_rejected(gone: str) -> None:
    """A router that the stack reaches, without its rules or what restores them, is rejected."""
    resources = [r for r in made() if r.name != gone]
    told = {f.rule for f in Stack(resources=resources, config=over_ssh()).judge().findings}
    assert "router-rules-installed" in told


@pytest.mark.parametrize("share", range(4))
def test_drawn_sites_are_accepted(share: int) -> None:
    """The pack finds nothing in 100 drawn sites, each of whose flows is possible."""
    for seed in range(share, 100, 4):
        keys = drawn(seed)
        assert Stack(resources=list(run(keys)), config=keys).judge().findings == (), seed
