"""The bench's own parts: the compose file, the measurements of a command, the tables."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import within
from bench.__main__ import HEAD, main, replaced
from bench.commands import cost
from bench.compose import compose
from bench.measure import measured
from bench.tofu import configuration
from rendered import host_rules
from resources.resource import Resource
from tests.policies.sound import sound


def test_compose_is_told_of_every_docker_resource(tmp_path: Path) -> None:
    """Each container, network and volume of the stack is in the compose file, and each upload is a mount."""
    resources = sound().resources
    made = compose(resources, tmp_path)
    for section, kind in (("services", "container"), ("networks", "network"), ("volumes", "volume")):
        wanted = {r.inputs["name"] for r in resources if r.type == f"docker:index/{kind}:{kind.title()}"}
        assert wanted
        assert set(made[section]) == wanted
    containers = [r for r in resources if r.type == "docker:index/container:Container"]
    for each in containers:
        service = made["services"][each.name]
        assert set(service["networks"]) == {leg["name"] for leg in each.inputs["networksAdvanced"]}
        for upload in each.inputs.get("uploads") or ():
            (mount,) = (m for m in service["volumes"] if m.endswith(f":{upload['file']}:ro"))
            assert Path(mount.partition(":")[0]).read_text(encoding="utf-8") == upload["content"]


def loki(**inputs: object) -> Resource:
    """Return Loki's container with changed inputs."""
    (found,) = (r for r in sound().resources if r.type.endswith("Container") and r.name == "loki")
    return replace(found, inputs={**found.inputs, **inputs})


def test_compose_refuses_what_it_can_not_say(tmp_path: Path) -> None:
    """A property without a translation ends the comparison, so that it is not silently weaker."""
    with pytest.raises(KeyError, match="ulimits"):
        compose([loki(ulimits=[])], tmp_path)


def test_a_variable_is_none_for_compose(tmp_path: Path) -> None:
    """Dollar signs reach the container unchanged."""
    assert compose([loki(command=["$HOME"])], tmp_path)["services"]["loki"]["command"] == ["$$HOME"]


def test_memory_is_that_of_everything_a_command_starts(tmp_path: Path) -> None:
    """A child's memory counts, and a command that fails ends the bench with its message."""
    hold = "import time; held = bytearray(100 * 2**20); held[::4096] = b'x' * 25600; time.sleep(1)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    run = measured([sys.executable, "-c", child], tmp_path, {})
    assert run.memory > 100
    assert run.seconds > 1
    with pytest.raises(SystemExit, match="no such thing"):
        measured([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path, {})


def test_a_part_replaces_its_own_lines_alone() -> None:
    """Measuring one part leaves the other parts of docs/performance.md unchanged."""
    text = replaced(replaced(HEAD, "one", "1"), "two", "2")
    again = replaced(text, "one", "3")
    assert again == text.replace("\n1\n", "\n3\n")
    assert again.count("<!-- one -->") == 1


def test_what_the_rules_within_a_bridge_cost() -> None:
    """Ratios are of one round; a row above 1.05 is missed; sites have as many pairs as their rows say."""
    found = {
        "none": [(1.0, 1.0, 9.0, 9.0), (2.0, 4.0, 9.0, 9.0)],
        "rules": [(1.0, 1.04, 1.0, 1.0), (2.1, 4.0, 2.0, 4.2)],
        "slow": [(1.1, 1.0, 1.1, 1.0), (2.2, 4.0, 2.2, 4.0)],
    }
    *_, none, rules, slow = within._told(found)
    assert none == "| none | 1.000 | 1.000 | met |"
    assert rules == "| rules | 1.025 | 1.020 | met |"
    assert slow == "| slow | 1.100 | 1.000 | missed |"
    without = {f"{what}, nothing remembered": [(1.0, 1.0, 1.0, 1.0), (2.0, 4.0, 2.0, 4.0)] for what in found}
    del without["none, nothing remembered"]
    *_, rules, slow = within._learning(found | without)
    assert rules == "| rules | 1.000 | 1.025 | met |"
    assert slow == "| slow | 1.100 | 1.000 | missed |"
    for pairs in within.PAIRS:
        site = within._site(pairs)
        assert within._count(site) == pairs
    rules = host_rules.rules(site)
    gone = {*rules.splitlines()} - {*within.forgetful(rules).splitlines()}
    assert sorted(re.findall(r"update (@\w+)", "".join(gone))) == ["@tried", "@used"]
    assert len(gone) == 2


def test_what_can_not_be_measured_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name ends with 2 and a message with the valid names."""
    assert main(["nosuch"]) == 2
    parts = "up, site, preview, tofu, proof, within, commands, lines"
    assert capsys.readouterr().err == f"bench: nosuch can't be measured; name some of {parts}\n"


def test_a_command_costs_time_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's processor time and memory are its own, and one that can't answer ends the bench.

    The next run finds compiled files, also where the bench itself writes none.
    """
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    seconds, memory = cost(["rules"], tmp_path)
    assert 0 < seconds < 30
    assert 20 < memory < 500
    assert list(tmp_path.rglob("evaluate.*.pyc"))
    with pytest.raises(SystemExit, match="judge failed"):
        cost(["judge", "no-such-file.yaml"], tmp_path)


_SCHEMA = {
    "block": {
        "attributes": {"read_only": {"type": "bool"}, "dns": {"type": ["list", "string"]}, "name": {}},
        "block_types": {
            "networks_advanced": {"block": {"attributes": {"ipv4_address": {}, "name": {}}}},
            "capabilities": {"block": {"attributes": {"drops": {}}}},
            "upload": {"block": {"attributes": {"file": {}, "content": {}}}},
        },
    }
}


def container(**inputs: object) -> dict[str, object]:
    """Return a container as OpenTofu is told of it."""
    kind = "docker:index/container:Container"
    made = Resource(urn=f"urn:pulumi:dev::p::{kind}::a", type=kind, name="a-b", inputs=inputs)
    found: dict[str, object] = configuration([made], {"docker_container": _SCHEMA})["docker_container"]["a_b"]
    return found


def test_opentofu_is_told_the_same_by_its_own_names() -> None:
    """Names are the provider's, one block is a list of one, and a property without a name ends the bench."""
    assert container(
        name="a",
        readOnly=True,
        dns=["127.0.0.1"],
        networksAdvanced=[{"name": "backend", "ipv4Address": "10.0.0.2"}],
        capabilities={"drops": ["ALL"]},
        uploads=[{"file": "/a", "content": "${b}"}],
    ) == {
        "name": "a",
        "read_only": True,
        "dns": ["127.0.0.1"],
        "networks_advanced": [{"name": "backend", "ipv4_address": "10.0.0.2"}],
        "capabilities": [{"drops": ["ALL"]}],
        "upload": [{"file": "/a", "content": "$${b}"}],
    }
    with pytest.raises(KeyError, match="sysctls"):
        container(sysctls={})
