"""`make drift` on recorded data: a plan, the engine's containers, the API's guests."""

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from commands import drift as command
from rendered import host_rules
from topology.model import Topology
from verify import host, inventory
from verify.plan import Drift, drifts, is_empty

PROJECT = Path(__file__).resolve().parents[2]
RECORDED = json.loads(Path(__file__).with_name("drift.json").read_text())
"""`pulumi preview --refresh --json` of dev after seven changes by hand, reduced to the differences."""


def rows(found: list[Drift]) -> list[tuple[str, str, str, str, str]]:
    """Return the rows of the table."""
    return [(one.what, one.declared, one.state, one.live, one.remedy) for one in found]


def test_what_was_changed_by_hand_is_told_with_all_three_values() -> None:
    """Each change by hand is a row with the declared value, the state's and the live one."""
    found = rows(list(drifts(RECORDED)))
    back = "changes it back"
    wanted = [
        ("jellyfin (Group) rules[0].source", "dc/ingress-vlan20", "dc/ingress-vlan20", "-", back),
        ("datacenter (Rules) rules[0].dport", "8006", "8006", "22", back),
        ("datacenter (Rules) rules[1].dport", "22", "22", "8006", back),
        ("node-exporter (Container)", "there", "there", "-", "creates it"),
        ("cadvisor (Container) mustRun", "True", "True", "False", back),
        ("stirling-pdf (Rules) rules[0].action", "-", "-", "DROP", back),
    ]
    assert [row for row in wanted if row not in found] == []
    assert not [row for row in found if "loki" in row[0] or "services" in row[0] or "default" in row[0]]


def test_a_change_in_the_stack_file_is_told_from_one_by_hand() -> None:
    """In a row of a changed stack file only the declared value differs; other properties have no row."""
    step = {
        "op": "update",
        "urn": "urn:pulumi:dev::p::docker:index/container:Container::loki",
        "oldState": {"custom": True, "type": "docker:index/container:Container", "outputs": {"memory": 512}},
        "newState": {"custom": True, "type": "docker:index/container:Container", "inputs": {"memory": 256}},
        "detailedDiff": {"memory": {"kind": "update"}, "networkDatas[0].ipAddress": {"kind": "update"}},
    }
    stored = {**step, "op": "refresh", "newState": step["oldState"]}
    provider = {"custom": True, "type": "pulumi:providers:docker", "inputs": {"host": "x"}}
    other = {**step, "urn": "urn:pulumi:dev::p::pulumi:providers:docker::default", "newState": provider}
    assert rows(list(drifts({"steps": [stored, step, other]}))) == [
        ("loki (Container) memory", "256", "512", "512", "changes it back")
    ]


@pytest.mark.parametrize(
    ("op", "there", "remedy"),
    [
        ("create", ("there", "-", "-"), "creates it"),
        ("delete", ("-", "there", "there"), "deletes it"),
    ],
)
def test_what_is_new_and_what_is_gone(op: str, there: tuple[str, str, str], remedy: str) -> None:
    """A resource that the state or the stack file lacks is a row."""
    resource = {"custom": True, "type": "docker:index/volume:Volume"}
    urn = "urn:pulumi:dev::p::docker:index/volume:Volume::x"
    plan: dict[str, Any] = {"op": op, "urn": urn}
    steps: list[dict[str, Any]] = [plan | {"newState": resource}]
    if op == "delete":
        steps = [{"op": "refresh", "urn": urn, "oldState": resource}, plan | {"oldState": resource}]
    assert rows(list(drifts({"steps": steps}))) == [("x (Volume)", *there, remedy)]


def test_nothing_differs() -> None:
    """A plan without changes has no rows, and an empty state does not count as agreement."""
    same = [step for step in RECORDED["steps"] if step["op"] in {"refresh", "same"}]
    assert list(drifts({"steps": same})) == []
    assert not is_empty({"steps": same})
    assert is_empty({"steps": [step for step in same if not step.get("oldState", {}).get("custom")]})
    assert [*command.table([])] == ["no drift: stack file, state and live network agree"]


def container(name: str, *networks: str) -> dict[str, Any]:
    """Return a container in the engine's form."""
    return {"Name": f"/{name}", "NetworkSettings": {"Networks": dict.fromkeys(networks)}}


def test_who_is_on_a_network_of_the_site(site: Topology) -> None:
    """An undeclared container is reported on a zone's network or a leg, and not elsewhere."""
    there = [
        container("loki", "query", "backend"),
        container("newcomer", "backend", "elsewhere"),
        container("peeper", "vlan30"),
        container("start-page", "start-page"),
    ]
    assert [*inventory.containers(site, there)] == [("newcomer", "backend"), ("peeper", "vlan30")]


def test_a_container_on_other_networks_is_told_with_both(site: Topology) -> None:
    """A container on other networks has a row with both; a missing container has its row in the plan."""
    there = [container("loki", "query", "frontend"), container("grafana", "frontend", "query")]
    assert [*host.misattached(site, there)] == [("loki", ["backend"], ["frontend", "query"])]


class Node:
    """An API with one guest of each kind."""

    CARDS: Mapping[int, str] = {
        101: "virtio=BC:24:11:00:00:65,bridge=vmbr1,tag=10,firewall=1",
        900: "virtio,bridge=vmbr1,tag=20",
        901: "virtio,bridge=vmbr1,tag=99",
        902: "virtio,bridge=vmbr0",
        903: "virtio,bridge=vmbr1",
        904: "virtio,bridge=vmbr1,tag=99,trunks=10;30",
        9000: "virtio,bridge=vmbr1",
        9001: "virtio,bridge=vmbr1",
    }

    def get(self, path: str) -> Any:
        """Answer like Proxmox."""
        if path.endswith("/lxc"):
            return [{"vmid": 905, "name": "box"}]
        if path.endswith("/lxc/905/config"):
            return {
                "net0": "name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:03:89,tag=30,type=veth",
                "arch": "amd64",
            }
        if path.endswith("/qemu"):
            own = {9001: {"template": 1}}
            return [{"vmid": n, "name": f"g{n}", **own.get(n, {})} for n in self.CARDS]
        return {"net0": self.CARDS[int(path.split("/")[-2])], "cores": 1}


def test_guests_that_nobody_declared(site: Topology) -> None:
    """An undeclared guest is reported on a declared VLAN or on the whole bridge, and not elsewhere."""
    assert [*inventory.guests(site, Node())] == [
        ("900 g900", "vmbr1 VLAN 20"),
        ("903 g903", "vmbr1, every VLAN"),
        ("904 g904", "vmbr1 VLAN 99"),
        ("905 box", "vmbr1 VLAN 30"),
    ]


@pytest.mark.parametrize(
    ("stack", "engine", "said"),
    [
        ("nope", "exit 0", "Pulumi.nope.yaml: cannot be read"),
        ("dev", """echo '{"diagnostics":[{"severity":"error","message":"refused"}]}'; exit 255""", "refused"),
        ("dev", "echo no stack named dev >&2; exit 1", "stack dev: no stack named dev"),
        (
            "dev",
            """echo '{"steps":[]}'""",
            "stack dev: down, its state holds nothing; run `make up STACK=dev`",
        ),
    ],
)
def test_what_can_not_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str, engine: str, said: str
) -> None:
    """A missing stack, a failing engine and a stack that is down end with status 2 and the reason."""
    told, errors = io.StringIO(), io.StringIO()
    (tmp_path / "pulumi").write_text(f"#!/bin/sh\n{engine}\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with redirect_stdout(told), redirect_stderr(errors):
        assert command.main(["--stack", stack]) == 2
    assert (told.getvalue(), said in errors.getvalue()) == ("", True), errors.getvalue()


def test_the_order_of_zones_is_no_drift(site: Topology) -> None:
    """Docker-SRV's rules do not depend on the order of zones, because the engine sorts them by name."""
    by_name = site.model_copy(update={"zones": dict(sorted(site.zones.items()))})
    assert [*by_name.zones] != [*site.zones]
    assert host_rules.rules(by_name) == host_rules.rules(site)
