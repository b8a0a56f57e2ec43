"""Input that no sound stack has: an answer or one line with the place of the fault, never a traceback."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]

from commands.__main__ import main
from commands.verify import proxmox_host
from policies.evaluate import evaluate_resource
from preflight import checks
from preflight.finding import Check
from preflight.state import PulumiState
from resources.resource import HIDDEN, decode
from resources.site import Graph
from resources.typed import view
from tests import fuzz
from tests.policies.mutations import _paths
from tests.policies.rejected import MIDDLEWARES, ROUTES, STATIC, TLS, edit, upload
from tests.policies.sound import Stack, sound
from tests.site import FILE
from tests.unit.test_preflight_messages import Answers
from topology.config import load
from topology.index import TopologyIndex
from verify.drift import told
from verify.driver import ProbeError
from verify.foothold import of_run

NUMBER = 250
"""Random cases of this run; `python -m tests.fuzz 50000` tries more."""
DOMAIN = "domain: homelab.localhost"
SERVICE = "    site-1: {zone"


def test_random_input_ends_in_an_answer() -> None:
    """Broken files, states and answers of hosts are read or refused, in bounded time and memory."""
    ended, failures, _ = fuzz.run(NUMBER)
    assert failures == []
    assert {how for how in ended if "without a path" in how} == set()
    assert {how.partition(" ")[0] for how in ended} == {*fuzz.KINDS}
    assert sum(ended.values()) == NUMBER


@pytest.mark.parametrize(
    "case",
    [
        (DOMAIN, "domain: {{ domain }}", "yaml:6: a key is not text"),
        ("config:\n", "config:\n  ? [a]\n  : b\n", "yaml:5: a key is not text"),
        (DOMAIN, "domain: 2024-02-30", "yaml:6: a value is not what it looks like"),
        (DOMAIN, "domain: 0b_", "yaml:6: a value is not what it looks like"),
        (DOMAIN, 'domain: "\xff"', "domain: "),
        (SERVICE, "    yes: {}\n    site-1: {zone", "yaml:81: the key yes is not text"),
        (SERVICE, "    ~: {}\n    site-1: {zone", "yaml:81: the key ~ is not text"),
        (DOMAIN, "domain: " + "[" * 500, "is nested too deeply"),
    ],
)
@pytest.mark.parametrize("command", ["judge", "list", "report", "cloud-init"])
def test_a_broken_stack_file_is_one_line(
    command: str, case: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What YAML reads in another way than it looks is refused with file and line, by every command."""
    old, new, said = case
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    assert main([command, str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in another encoding is refused with its line."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_bytes(FILE.read_bytes() + b"# \xff\n")
    assert main(["judge", str(file)]) == 2
    number = FILE.read_bytes().count(b"\n") + 1
    assert f"Pulumi.x.yaml:{number}: is not UTF-8 text" in capsys.readouterr().err


def test_a_stack_files_name_may_have_no_dot(tmp_path: Path) -> None:
    """A stack file named `home` is the stack home."""
    file = tmp_path / "home"
    file.write_bytes(FILE.read_bytes())
    assert main(["judge", str(file)]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"urn": "foo"},
        {"urn": 5},
        {"urn": "::"},
        {"type": 5},
        {"type": None},
        {"inputs": []},
        {"inputs": None},
        {"provider": 5},
    ],
)
def test_a_broken_state_is_one_line(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resource of a state with a wrong kind of URN, type or inputs is refused in one line."""
    urn = "urn:pulumi:dev::homelab-network::docker:index/container:Container::x"
    resource = {"urn": urn, "type": "docker:index/container:Container", "inputs": {}} | change
    file = tmp_path / "state.json"
    file.write_text(json.dumps({"deployment": {"resources": [resource]}}))
    assert main(["judge", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: ")


@pytest.mark.parametrize(("text", "said"), [("{\n{", "line 2: "), ("[" * 100_000, "")])
def test_a_state_that_is_no_json_is_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A syntax error is told with its line, and no nesting ends in a traceback."""
    file = tmp_path / "state.json"
    file.write_text(text)
    assert main(["judge", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: {said}no exported state")


def test_an_endpoint_that_is_no_url_is_one_line(tmp_path: Path) -> None:
    """The live probe names the key whose URL it cannot read."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text("config: {'proxmoxve:endpoint': 'https://[x'}")
    with pytest.raises(ProbeError, match=r"^Pulumi\.x\.yaml: proxmoxve:endpoint is no URL; "):
        proxmox_host(file)


def test_every_part_reads_a_stack_file_alike(tmp_path: Path) -> None:
    """A tab after a colon is YAML to the loader, so it is to what asks the file for the API's host."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text("config: {'proxmoxve:endpoint':\t'https://pve:8006'}")
    assert proxmox_host(file) == "pve"


def test_a_run_that_is_nested_deeply_is_one_line(tmp_path: Path) -> None:
    """A file that is no run of the live probe is refused, however it is nested."""
    file = tmp_path / "run.json"
    file.write_text("[" * 100_000)
    with pytest.raises(ProbeError, match="is no run as JSON"):
        of_run(file)


def _fails(stack: Stack, container: str) -> list[str]:
    """Return the findings about a container of rules that failed; the facts must be readable, too."""
    declared = TopologyIndex.of(load(stack.config))
    _ = Graph(tuple(map(view, stack.resources)), declared).reachability.names
    found = evaluate_resource(stack.get("container", container), declared).findings
    return [str(finding) for finding in found if "can't be judged" in str(finding)]


@pytest.mark.parametrize("file", [STATIC, ROUTES, MIDDLEWARES, TLS])
def test_no_value_of_the_ingress_stops_a_rule(file: str) -> None:
    """A mapping in place of any value of the ingress's files makes no rule fail."""
    content = yaml.safe_load(upload(sound(), "traefik", file)["content"])
    declared = TopologyIndex.of(load(sound().config))
    for path, _ in _paths(content, ()):
        stack = sound()
        edit(stack, "traefik", file, partial(_put, path, {"a": 1}))
        found = evaluate_resource(stack.get("container", "traefik"), declared).findings
        assert [str(each) for each in found if "can't be judged" in str(each)] == [], path


def _put(path: tuple[str | int, ...], value: object, tree: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


@pytest.mark.parametrize(
    "text",
    [
        "{{ x }}: y",
        "? [a]: b\n: c",
        "a: 2024-02-30",
        "a: 0b_",
        "- " * 5000 + "x",
        "[" * 200_000,
        "http: {services: {x: {loadBalancer: {servers: [{url: 'http://[x'}]}}}}",
    ],
)
@pytest.mark.parametrize("file", [ROUTES, STATIC])
def test_a_broken_file_of_traefik_is_a_finding(file: str, text: str) -> None:
    """No file of the ingress stops a rule, and each that cannot be read is a finding."""
    stack = sound()
    upload(stack, "traefik", file)["content"] = text
    assert _fails(stack, "traefik") == []


@pytest.mark.parametrize("address", [":0", ":80443", ":²", "x", "[::1]:99999"])
def test_a_port_out_of_bounds_is_a_finding(address: str) -> None:
    """An entry point on a port that no machine has is told, and stops no rule."""
    stack = sound()
    edit(stack, "traefik", STATIC, lambda content: content["entryPoints"]["web"].update(address=address))
    assert _fails(stack, "traefik") == []
    messages = [str(finding) for finding in stack.judge_changes().findings]
    assert "traefik: entrypoints.web: has no address with a port" in messages


@pytest.mark.parametrize(
    "port", [{"internal": 65536.0}, {"internal": 0.0}, {"internal": 80.0, "external": -1.0}]
)
def test_a_published_port_that_is_none_stops_no_rule(port: dict[str, float]) -> None:
    """A container's port out of bounds is a finding with its path."""
    stack = sound()
    stack.inputs("container", "loki")["ports"] = [port]
    assert _fails(stack, "loki") == []
    found = [each for each in stack.judge_alone() if each.rule == "known-properties"]
    assert [each.message.startswith("loki: ports[0].") for each in found] == [True]


@pytest.mark.parametrize("value", [5.0, {"tests": 5.0}, {"tests": [{}]}, {"x": 1.0}])
def test_a_health_check_of_another_kind_stops_no_rule(value: Any) -> None:
    """A health check that the provider does not take is a finding."""
    stack = sound()
    stack.inputs("container", "grafana")["healthcheck"] = value
    assert _fails(stack, "grafana") == []
    assert "known-properties" in {each.rule for each in stack.judge_alone()}


@pytest.mark.parametrize("trail", [("uploads", 99, "content"), ("uploads", "x"), ("envs", 0, "x")])
def test_a_secret_at_a_place_that_is_not_there_stops_no_rule(trail: tuple[str | int, ...]) -> None:
    """The path of a secret may lead nowhere, as after a change of a list."""
    stack = sound()
    stack.mark_secret("container", "loki", *trail)
    assert [each for each in stack.judge_changes().findings if "can't be judged" in str(each)] == []


@pytest.mark.parametrize("secret", [{"plaintext": "{"}, {"plaintext": "[" * 100_000}, {"plaintext": 5}, {}])
def test_a_secret_that_cannot_be_read_stays_hidden(secret: dict[str, Any]) -> None:
    """The engine's form of a secret may hold no value, or text that is no JSON."""
    marked = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", **secret}
    assert decode(urn="x", type="x", inputs=ParseDict({"a": marked}, Struct())).inputs == {"a": HIDDEN}


def test_answers_of_no_known_form_are_one_line() -> None:
    """What Pulumi, Docker and Proxmox answer in another form than theirs is told, and is no traceback."""
    with pytest.raises(ProbeError, match=r"^pulumi preview: answers in a form that is not known"):
        told({"steps": [{"op": "update", "newState": {"custom": True, "type": 5}}]})
    with pytest.raises(ProbeError, match=r"^pulumi stack export: answers in a form that is not known"):
        PulumiState.of({"deployment": {"resources": [{"urn": "x"}]}})
    report = checks.check_hosts(
        load(sound().config),
        PulumiState(),
        stack="dev",
        api=None,
        node=Answers({"nodes": [{"node": "pve1"}, 5]}),
    )
    assert [each.check for each in report.findings if each.check is Check.PROXMOX_SILENT] != []


def test_labels_ports_and_tags_out_of_bounds_stop_no_rule() -> None:
    """A label's port, a rule's port, a VLAN range and an interface that nothing has are findings."""
    stack = sound()
    edit(stack, "traefik", STATIC, lambda content: content["providers"].update(docker={}))
    label = {"label": "traefik.http.services.x.loadbalancer.server.port", "value": "99999"}
    stack.inputs("container", "loki")["labels"].append(label)
    stack.inputs("group", "site-1")["rules"][0]["dport"] = "²"
    stack.inputs("bridge", "vmbr1")["vids"] = "2-99999999"
    stack.inputs("network", "vlan10")["options"]["parent"] = "trunk.²"
    assert _fails(stack, "loki") == []
    messages = [str(finding) for finding in stack.judge_changes().findings]
    assert [message for message in messages if "can't be judged" in message] == []
    for name in ("loki", "site-1", "vmbr1", "vlan10"):
        assert [message for message in messages if message.startswith(f"{name}: ")] != []
