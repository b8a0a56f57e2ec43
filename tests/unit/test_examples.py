"""The stack files of examples/stacks: sound, and closed where their first lines say so."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from policies.evaluate import evaluate
from resources.program import of_stack_file
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import KINDS, TODAY
from topology.config import from_file
from topology.index import TopologyIndex
from topology.notes import notes
from topology.project import PROJECT

FOLDER = PROJECT / "examples" / "stacks"
STACKS = sorted(file.name.split(".")[1] for file in FOLDER.glob("Pulumi.*.yaml"))


def file(stack: str) -> Path:
    """Return a stack file."""
    return FOLDER / f"Pulumi.{stack}.yaml"


@cache
def made(stack: str) -> tuple[Resource, ...]:
    """Return the program's resources for a stack file."""
    return tuple(of_stack_file(file(stack)).resources)


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_is_sound(stack: str) -> None:
    """The program makes it, and the pack finds nothing."""
    assert evaluate(made(stack), from_file(file(stack)), TODAY).findings == ()


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_is_noted(stack: str) -> None:
    """Each service is reached or reaches, and each known database has a place for its socket."""
    assert notes(from_file(file(stack)), file(stack)) == ()


def test_a_database_without_a_place_for_its_socket_is_told(tmp_path: Path) -> None:
    """With a read-only root the note says which folder to add; with a place to write there is none."""
    text = file("forge").read_text(encoding="utf-8")
    place = "tmpfs: [/var/run/postgresql] # its socket"
    changed = tmp_path / "Pulumi.forge.yaml"
    assert place in text

    def told(instead: str) -> list[str]:
        changed.write_text(text.replace(place, instead), encoding="utf-8")
        return [str(note) for note in notes(from_file(changed), changed)]

    (line,) = told("shm_size: 64m")
    assert line.endswith(
        "services.forge-db: postgres:17.6 makes its socket in /var/run/postgresql, and its root file system "
        "is read-only; add tmpfs: [/var/run/postgresql]."
    )
    for instead in ("tmpfs: [/run]", "tmpfs: [/run/postgresql]", "read_only: false"):
        assert told(instead) == []


@pytest.mark.parametrize("stack", STACKS)
def test_the_lines_before_a_secret_set_it(stack: str) -> None:
    """Each secret of a file says how it is set."""
    secrets = [line for line in file(stack).read_text(encoding="utf-8").splitlines() if "{secure:" in line]
    assert [
        line for line in secrets if f"config set --secret {line.split(': {')[0].strip()}" not in line
    ] == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_properties_of_a_port_come_in_any_order(protocol: str) -> None:
    """Ports of TCP and UDP with one number are told apart, in which order the engine gives what they have."""

    def reordered(resource: Resource) -> Resource:
        ports = [
            dict(reversed(port.items())) if port["protocol"] == protocol else port
            for port in resource.inputs.get("ports") or ()
        ]
        return replace(resource, inputs={**resource.inputs, "ports": ports}) if ports else resource

    given = tuple(map(reordered, made("streams")))
    assert evaluate(given, from_file(file("streams")), TODAY).findings == ()


CALLERS: dict[str, dict[str, set[str]]] = {
    "alerts": {
        "pages": {"internet", "blackbox", "prometheus"},
        "alerts": {"prometheus"},
        "internet": {"alerts"},
    },
    "wordpress": {"blog": {"internet"}, "blog-db": {"blog"}, "internet": set()},
    "forge": {
        "forge:3000/tcp": {"internet", "lan"},
        "forge:2222/tcp": {"lan"},
        "forge-db": {"forge"},
        "internet": set(),
    },
    "feeds": {"feeds": {"internet"}, "feeds-db": {"feeds"}, "internet": {"feeds"}},
    "lan-alone": {"files": {"lan"}, "internet": set()},
    "forward-auth": {"login": {"internet"}, "app": {"internet"}, "api": {"internet"}, "internet": set()},
    "streams": {
        "broker": {"lan"},
        "names": {"lan"},
        "sync:8384/tcp": {"lan"},
        "sync:22000/tcp": {"internet", "lan"},
        "sync:22000/udp": {"internet", "lan"},
        "internet": set(),
    },
    "tunnel": {"pages": {"tunnel"}, "traefik": {"tunnel"}, "tunnel": set(), "internet": {"tunnel"}},
}
"""For each stack, who reaches an end, or one port of it, beside the ingress and the host."""


@pytest.mark.parametrize("stack", STACKS)
def test_who_reaches_what(stack: str) -> None:
    """By packets or through the ingress, the declared sources reach each end, and no other."""
    graph = Graph(tuple(map(view, made(stack))), TopologyIndex.of(from_file(file(stack))))
    found: dict[str, set[str]] = {end: set() for end in CALLERS[stack]}
    for one in graph.reachability.connection_sets():
        for end in {one.destination, f"{one.destination}:{one.port}"} & found.keys() if one.port else ():
            found[end] |= {*one.sources} - {"traefik", "docker-srv"}
    assert found == CALLERS[stack]


def volumes(folder: Path, old: str, new: str) -> set[tuple[str, object]]:
    """Return the volumes of the forge, by resource and by name, after a change of its stack file's text."""
    text = file("forge").read_text(encoding="utf-8")
    assert re.search(old, text)
    changed = folder / "Pulumi.forge.yaml"
    changed.write_text(re.sub(old, new, text), encoding="utf-8")
    return {
        (each.name, each.inputs["name"])
        for each in of_stack_file(changed).resources
        if each.type == KINDS["volume"]
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"(?<!role: )query", "inner"),
        ("postgres:17.6", "postgres:17.7"),
        ("user: 999:999", "user: 998:998"),
    ],
)
def test_a_change_keeps_the_data(tmp_path: Path, old: str, new: str) -> None:
    """A service in another zone, of another image, or with another user has the same volumes."""
    before = volumes(tmp_path, "$", "")
    assert before
    assert volumes(tmp_path, old, new) == before


def test_another_name_has_other_data(tmp_path: Path) -> None:
    """A renamed service has new volumes, and the documented entry gives it the old one."""
    before, renamed = volumes(tmp_path, "$", ""), volumes(tmp_path, "forge-db", "store")
    assert {name for _, name in before - renamed} == {"forge-db-db"}
    assert {name for _, name in renamed - before} == {"store-db"}
    flows = "  homelab-network:flows:"
    external = "  homelab-network:volumes: {db: {external: true, name: forge-db-db}}"
    text = file("forge").read_text(encoding="utf-8").replace("-> forge-db:", "-> store:")
    text = text.replace("forge-db:\n", "store:\n").replace("HOST: forge-db", "HOST: store")
    stack = tmp_path / "Pulumi.forge.yaml"
    stack.write_text(text.replace(flows, f"{external}\n{flows}"), encoding="utf-8")
    (database,) = (
        r for r in of_stack_file(stack).resources if (r.type, r.name) == (KINDS["container"], "store")
    )
    assert "forge-db-db" in {each["volumeName"] for each in database.inputs["volumes"]}
