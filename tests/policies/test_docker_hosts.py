"""Several Docker hosts: the pack accepts a sound site on two, and rejects one's things on the other."""

import copy
from collections.abc import Callable
from functools import cache

import pytest

from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.docker_hosts import site
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex

SECOND = "urn:pulumi:dev::homelab-network::pulumi:providers:docker::docker-2"
"""The provider of the second host's engine; "mocked" is that of the first's."""
REMOTE = "command:remote:Command"


@cache
def made() -> list[Resource]:
    """Return the program's resources."""
    return run(site())


def stack() -> Stack:
    """Return them for a test to break."""
    return Stack(resources=copy.deepcopy(made()), config=site())


def graph() -> Graph:
    """Return them with their facts."""
    return Graph(tuple(map(view, made())), TopologyIndex.of(load(site())))


def test_a_site_on_two_docker_hosts_has_no_finding() -> None:
    """Each host has its provider, its rules and its containers, and the pack finds nothing."""
    assert findings(site()) == []
    two = {each.name for each in made() if each.provider == SECOND}
    assert two == {"data", "jobs", "store", "store-rows", "worker"}
    commands = {each.name: each.inputs for each in made() if each.type == REMOTE}
    assert {*commands} == {f"docker-2-{what}" for what in ("bridge-switch", "host-rules", "boot-rules")}
    assert {each["connection"]["host"] for each in commands.values()} == {"10.10.1.8"}


def test_each_host_has_rules_for_its_own_bridges_alone() -> None:
    """The text of a host's rules names no bridge and no container of the other."""
    rules = {each.name: each.inputs["stdin"] for each in made() if each.name.endswith("host-rules")}
    one, two = rules["host-rules"], rules["docker-2-host-rules"]
    assert ("br-backend" in one, "br-data" in one) == (True, False)
    assert ("br-backend" in two, "br-data" in two) == (False, True)
    assert ("172.31." in one, "172.30." in two) == (False, False)


def test_resources_of_the_first_host_are_as_with_one() -> None:
    """A second host changes no resource of the first."""
    alone = {each.urn: each for each in run(changed({"hosts.docker-srv.address": "10.10.1.5"}))}
    beside = {each.urn: each for each in made()}
    other = {urn for urn in alone.keys() & beside.keys() if alone[urn] != beside[urn]}
    assert (alone.keys() - beside.keys(), other) == (set(), set())


def test_a_packet_stays_on_its_host() -> None:
    """The packet walk finds the same connections as the engine: none between containers of two hosts."""
    found = proved(graph())
    assert found == walked(graph())
    services, two = {*site()["services"]}, {"store", "worker"}
    pairs = {(source, end) for source, end, _ in found if {source, end} <= services}
    assert {pair for pair in pairs if two & {*pair}} == {("worker", "store")}


def moved(kind: str, name: str, provider: str) -> Callable[[Stack], None]:
    """Return a change of a resource's provider."""
    return lambda broken: broken.move(kind, name, provider)


def without(name: str) -> Callable[[Stack], None]:
    """Return a change that leaves a command of the second host out."""
    return lambda broken: broken.remove(REMOTE, name)


def first_text(broken: Stack) -> None:
    """Install the first host's rules on the second."""
    broken.inputs(REMOTE, "docker-2-host-rules")["stdin"] = broken.inputs("command", "host-rules")["stdin"]


def elsewhere(broken: Stack) -> None:
    """Let the second host's commands run on another machine."""
    for each in broken.resources:
        if each.type == REMOTE:
            broken.inputs(REMOTE, each.name)["connection"]["host"] = "10.10.1.9"


def joined(broken: Stack) -> None:
    """Join a container of the second host to a network of the first."""
    leg = {"name": "backend", "ipv4Address": "172.30.3.99"}
    broken.inputs("container", "store")["networksAdvanced"].append(leg)


def another_machine(broken: Stack) -> None:
    """Make the second host's containers on the engine of a third machine."""
    broken.inputs("pulumi:providers:docker", "docker-2")["host"] = "ssh://root@10.10.1.9"


def one_machine(broken: Stack) -> None:
    """Make the second host's containers on the first's engine, under a provider of their own."""
    broken.inputs("pulumi:providers:docker", "docker-2")["host"] = "unix:///var/run/docker.sock"


MUTANTS: dict[str, tuple[Callable[[Stack], None], str]] = {
    "a container on the first's engine": (
        moved("container", "store", "mocked"),
        "resources-on-their-host: store: is on the engine of docker-srv, and belongs to docker-2",
    ),
    "a container of the first's on the second's engine": (
        moved("container", "loki", SECOND),
        "resources-on-their-host: loki: is on the engine of docker-2, and belongs to docker-srv",
    ),
    "the ingress on the second's engine": (
        moved("container", "traefik", SECOND),
        "resources-on-their-host: traefik: is on the engine of docker-2, and belongs to docker-srv",
    ),
    "a network on the first's engine": (
        moved("network", "data", "mocked"),
        "resources-on-their-host: data: is on the engine of docker-srv, and belongs to docker-2",
    ),
    "a leg's network on the second's engine": (
        moved("network", "vlan10", SECOND),
        "resources-on-their-host: vlan10: is on the engine of docker-2, and belongs to docker-srv",
    ),
    "a volume on the first's engine": (
        moved("volume", "store-rows", "mocked"),
        "volumes-not-shared: store: mounts volume store-rows, which is not in the stack",
    ),
    "the engine of a third machine": (
        another_machine,
        "engine-on-the-declared-host: docker-2: host is ssh://root@10.10.1.9, and the host's rules are",
    ),
    "one engine for both": (
        one_machine,
        "resources-on-their-host: store: is on the engine of docker-srv, and belongs to docker-2",
    ),
    "rules on the first alone": (
        without("docker-2-host-rules"),
        "host-rules-installed: docker-2: its own rules are not in the stack",
    ),
    "no switch on the second": (
        without("docker-2-bridge-switch"),
        "host-rules-installed: docker-2: the switch that shows its rules frames",
    ),
    "nothing at boot of the second": (
        without("docker-2-boot-rules"),
        "host-rules-installed: docker-2: what brings its own rules back at boot is not in the stack",
    ),
    "rules on the second alone": (
        lambda broken: broken.remove("command", "host-rules"),
        "host-rules-installed: docker-srv: its own rules are not in the stack",
    ),
    "the first's rules on the second": (
        first_text,
        "host-rules-installed: docker-2: its own rules are not in the stack",
    ),
    "the second's rules elsewhere": (
        elsewhere,
        "host-rules-installed: docker-2: its own rules are not in the stack",
    ),
    "a container on networks of both": (
        joined,
        "joined-networks-exist: store: joins network backend, which is not in the stack",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_belongs_to_the_other_host_is_rejected(mutant: str) -> None:
    """The pack names the thing and the host."""
    change, message = MUTANTS[mutant]
    broken = stack()
    change(broken)
    assert any(f"{each.rule}: {each}".startswith(message) for each in broken.judge().findings)


def test_without_the_second_hosts_rules_its_containers_reach_each_other() -> None:
    """The proof reads each host's own rules: without the second's, every port of its bridges is open."""
    broken = stack()
    broken.remove(REMOTE, "docker-2-host-rules")
    told = [str(each) for each in broken.judge().findings if each.rule == "undeclared-flows"]
    assert "store -> worker:*: expected DENIED, got ALLOWED via data -> worker" in told
    assert not any("loki" in each for each in told)
