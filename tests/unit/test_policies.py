"""The pack without an engine: its protocol, its command, no secrets in messages, its table in the docs."""

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
import yaml
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2 as pb
from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerStub
from pulumi_policy import proxy

from commands import flows as command
from commands.report import judged
from commands.rules import table
from policies import review
from policies.evaluate import evaluate
from policies.rule import RULES
from policies.server import start
from resources import docker, proxmox, proxmox_guests
from resources.inputs import Inputs
from resources.resource import UNKNOWN, Resource, decode, from_state
from resources.site import Graph
from resources.typed import view
from tests.documents import blocks
from tests.policies.rejected import CASES, Case
from tests.policies.sound import CANARY, KINDS, TODAY, run, sound
from tests.site import FILE, configuration, loaded
from topology.certificates import FOLDER
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Flow, PolicyException, Port, Topology
from topology.outputs import outputs
from topology.project import PROJECT

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
URN = "urn:pulumi:dev::homelab-network::docker:index/container:Container::shell"


@pytest.fixture
def pack() -> Iterator[Any]:
    """Yield a client of the pack, like the engine."""
    server, port = start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield AnalyzerStub(channel)
    server.stop(0)


def test_the_pack_ends_with_a_killed_engine(tmp_path: Path) -> None:
    """The pack ends after its engine was killed, because it checks whether the engine still runs."""
    killed = tmp_path / "pid"
    engine = subprocess.Popen(
        ["sh", "-c", '"$0" & echo $! > "$1"; wait', PROJECT / "policies/serve", killed],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    with engine.stdout as said:
        assert int(said.readline())
        engine.kill()
        engine.wait()
        ended, _, _ = select.select([said], [], [], 120)
        if not ended:
            os.kill(int(killed.read_text()), signal.SIGKILL)
        assert ended


def test_an_interrupted_pack_ends_at_once(tmp_path: Path) -> None:
    """The engine interrupts the pack and waits for it, so the pack takes no time to clean up behind it."""
    log = tmp_path / "log"
    with (
        log.open("w") as writing,
        subprocess.Popen(
            [PROJECT / "policies/serve"],
            env=os.environ | {"PYTHONVERBOSE": "1"},  # the interpreter then writes what it cleans up
            stdout=subprocess.PIPE,
            stderr=writing,
        ) as served,
    ):
        assert served.stdout is not None
        assert int(served.stdout.readline())
        served.send_signal(signal.SIGINT)
    told = log.read_text()
    assert (served.returncode, "import 'policies.server'" in told) == (0, True)
    assert ("# cleanup" in told, "Traceback" in told) == (False, False)


def configured(pack: Any) -> Any:
    """Return the pack, configured with the dev stack as the engine does it."""
    config = {
        f"homelab-network:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in configuration().items()
    }
    pack.ConfigureStack(
        pb.AnalyzerStackConfigureRequest(stack="dev", project="homelab-network", config=config)
    )
    return pack


def struct(values: dict[str, Any]) -> Any:
    """Return inputs in the engine's form."""
    made = Struct()
    made.update(values)
    return made


def shown(pack: Any, inputs: dict[str, Any]) -> list[str]:
    """Return the pack's messages about one container."""
    kind = URN.split("::")[2]
    request = pb.AnalyzeRequest(urn=URN, type=kind, name="shell", properties=struct(inputs))
    return [each.message.partition("\n")[2] for each in pack.Analyze(request).diagnostics]


def about(diagnostic: Any) -> tuple[str, str]:
    """Return the rule of a diagnostic, and the resource that its message names."""
    return diagnostic.policyName, diagnostic.message.partition("\n")[2].partition(":")[0]


def test_a_resource_is_judged_before_it_is_created(pack: Any) -> None:
    """A resource's inputs are evaluated before it is created, and violations are mandatory."""
    inputs = {"name": "shell", "image": "busybox:1", "privileged": True}
    kind = URN.split("::")[2]
    request = pb.AnalyzeRequest(urn=URN, type=kind, name="shell", properties=struct(inputs))
    found = configured(pack).Analyze(request).diagnostics
    assert {each.enforcementLevel for each in found} == {pb.MANDATORY}
    assert ("no-privileges", "shell") in [about(each) for each in found]


@pytest.mark.parametrize(
    "sentinel",
    [getattr(proxy, name) for name in dir(proxy) if name.startswith("UNKNOWN_") and name.endswith("_VALUE")],
)
def test_every_kind_of_unknown_is_seen(pack: Any, sentinel: str) -> None:
    """Every kind of unknown value, at any depth, is a violation that names its path."""
    said = shown(configured(pack), {"name": "shell", "ports": [{"internal": 80, "external": sentinel}]})
    assert [line for line in said if line.startswith("shell: ports[0].external ")] != []


def test_a_secret_that_is_unknown_is_unknown() -> None:
    """A secret that is unknown is decoded as both."""
    inputs = {"envs": {**SECRET, "value": [proxy.UNKNOWN_STRING_VALUE]}}
    resource = decode(urn=URN, type="x", inputs=struct(inputs))
    assert (resource.inputs, resource.secrets) == ({"envs": [UNKNOWN]}, frozenset({("envs",)}))


def test_only_certificate_files_may_be_unknown() -> None:
    """In a first preview certificates that the stack makes may be unknown; any other file may not."""
    stack = sound()
    uploads = [u for r in stack.resources if r.name != "traefik" for u in r.inputs.get("uploads") or ()]
    made = [upload for upload in uploads if upload["file"].startswith(f"{FOLDER}/")]
    for upload in made:
        upload["content"] = UNKNOWN
    assert (len(made) > 20, stack.judge().findings) == (True, ())
    uploads[0]["content"] = UNKNOWN
    assert {finding.rule for finding in stack.judge().findings} >= {"known-values"}


def test_the_whole_stack_is_judged_by_the_inputs_that_were_shown(pack: Any) -> None:
    """Unknown outputs of a preview change nothing, because the inputs shown before are evaluated."""
    pack = configured(pack)
    resources = []
    for each in sound().resources:
        if not each.provider:
            continue
        provider = pb.AnalyzerProviderResource(urn="p", type="p", name="p")
        marked: dict[str, Any] = {"type": each.type, "urn": each.urn, "name": each.name, "provider": provider}
        pack.Analyze(pb.AnalyzeRequest(properties=struct(dict(each.inputs)), **marked))
        unknown = struct(dict.fromkeys(each.inputs, proxy.UNKNOWN_STRING_VALUE))
        resources.append(pb.AnalyzerResource(properties=unknown, **marked))
    said = pack.AnalyzeStack(pb.AnalyzeStackRequest(resources=resources)).diagnostics
    assert [each.message for each in said] == []


def test_a_resource_that_was_never_shown_is_judged_by_its_outputs(pack: Any) -> None:
    """A container that is only read is evaluated by its outputs."""
    resource = pb.AnalyzerResource(
        urn=URN, type=URN.split("::")[2], name="shell", properties=struct({"pidMode": "host"})
    )
    said = configured(pack).AnalyzeStack(pb.AnalyzeStackRequest(resources=[resource])).diagnostics
    assert ("own-namespaces", "shell") in [about(each) for each in said]


def test_every_rule_is_announced_in_full(pack: Any) -> None:
    """Level, severity, framework and remedy of each rule reach the engine."""
    told = pack.GetAnalyzerInfo(Empty()).policies
    assert {each.name for each in told} == set(RULES)
    for each in told:
        assert each.enforcementLevel == pb.MANDATORY
        assert each.severity != pb.POLICY_SEVERITY_UNSPECIFIED
        assert all((each.description, each.remediation_steps, each.framework.name))


@pytest.mark.parametrize(
    ("name", "level"),
    [("no-devises", pb.MANDATORY), ("no-devices", pb.ADVISORY), ("no-devices", pb.DISABLED)],
)
def test_configuration_can_change_no_rule(pack: Any, name: str, level: Any) -> None:
    """A policy configuration with an unknown rule or a lower level ends the call with the rule's name."""
    request = pb.ConfigureAnalyzerRequest(policyConfig={name: pb.PolicyConfig(enforcementLevel=level)})
    with pytest.raises(grpc.RpcError, match=name):
        pack.Configure(request)


def test_a_faulty_configuration_ends_the_call_with_its_path(pack: Any) -> None:
    """A faulty configuration ends the call with the path of the fault."""
    request = pb.AnalyzerStackConfigureRequest(stack="dev", config={"homelab-network:zonez": "{}"})
    with pytest.raises(grpc.RpcError, match="zonez"):
        pack.ConfigureStack(request)


def test_a_state_of_another_project_is_refused(pack: Any) -> None:
    """A resource of another project is refused, because its flows are declared elsewhere."""
    urn = URN.replace("homelab-network", "other")
    with pytest.raises(grpc.RpcError, match="other: is another project"):
        pack.Analyze(pb.AnalyzeRequest(urn=urn, type="x:y:z", name="x"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_finding_shows_a_secret(case: Case) -> None:
    """No message of any rule shows a planted secret."""
    stack = sound()
    case.change(stack)
    assert [finding for finding in stack.judge_changes().findings if CANARY in finding.message] == []


def test_a_rule_that_fails_is_a_violation_without_its_words() -> None:
    """An exception inside a rule is a violation, and its text, which may hold a secret, is not shown."""

    def check(*_: object) -> Iterator[str]:
        raise ValueError(CANARY)
        yield ""

    names = ("no-devices", "roles-hold")
    rules = {name: replace(RULES[name], check=check) for name in names}
    said = {finding.message for finding in sound().judge(rules).findings}
    assert "traefik: can't be judged (ValueError), so nothing about it can be proved" in said
    assert "stack: can't be judged (ValueError), so nothing about it can be proved" in said
    assert [message for message in said if CANARY in message] == []


def test_an_exception_may_name_a_flow_to_any_port() -> None:
    """An exception for `a -> b:*` sets aside that flow only; the star is not a wildcard."""
    stack = sound()
    stack.remove("command", "host-rules")
    flows = tuple(
        PolicyException(
            rule="undeclared-flows",
            resource=f"{source} -> docker-srv:*",
            reason="until rules are there",
            owner="me",
            expires=date(2027, 1, 1),
        )
        for source in ("traefik", "prometheus", "blackbox-exporter")
    )
    stack.topology = load(stack.config).model_copy(update={"exceptions": flows})
    verdict = stack.judge()
    left = {finding.subject for finding in verdict.findings if finding.rule == "undeclared-flows"}
    assert left
    assert not any(subject.endswith("docker-srv:*") for subject in left)
    assert verdict.in_force == flows


def test_the_search_for_secrets_finds_one_that_is_shown() -> None:
    """The canary is in the inputs that the rules read."""
    assert CANARY in json.dumps([dict(each.inputs) for each in sound().resources])


def test_the_table_in_the_docs_is_current() -> None:
    """docs/policies.md ends with what the command writes."""
    text = (PROJECT / "docs" / "policies.md").read_text(encoding="utf-8")
    assert text.endswith("\n".join(table()) + "\n")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (docker.DockerContainer, "pulumi_docker.Container"),
        (docker.DockerNetwork, "pulumi_docker.Network"),
        (proxmox_guests.VirtualMachine, "pulumi_proxmoxve.VmLegacy"),
        (proxmox_guests.SystemContainer, "pulumi_proxmoxve.ContainerLegacy"),
        (proxmox_guests.Features, "pulumi_proxmoxve.ContainerLegacyFeaturesArgs"),
        (proxmox_guests.Passthrough, "pulumi_proxmoxve.ContainerLegacyDevicePassthroughArgs"),
        (proxmox.FirewallOptions, "pulumi_proxmoxve.firewall.OptionsLegacy"),
        (proxmox.FirewallRules, "pulumi_proxmoxve.firewall.RulesLegacy"),
    ],
)
def test_what_is_read_exists_in_the_provider(model: type[Inputs], name: str) -> None:
    """Every property that the pack reads exists in the provider under that name."""
    import importlib  # noqa: PLC0415  # the providers' packages are large
    import inspect  # noqa: PLC0415

    module, _, made = name.rpartition(".")
    kind = getattr(importlib.import_module(module), made)
    known = set(inspect.signature(getattr(kind, "_internal_init", kind.__init__)).parameters)
    assert set(model.model_fields) - known == set()


# --------------------------------------------------------------------------------------------- command

SITE = str(FILE)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["explain", SITE, "internet", "grafana:3000"], 0, "ALLOWED via traefik -> frontend -> grafana"),
        (["explain", SITE, "internet", "loki:3100/tcp"], 1, "internet -> loki:3100/tcp: DENIED"),
        (["eval", SITE, "promtail", "loki-gateway:3100"], 0, "promtail -> loki-gateway:3100/tcp: ALLOWED"),
        (["eval", SITE, "site-1", "vaultwarden:80"], 1, "site-1 -> vaultwarden:80/tcp: DENIED"),
        (["list", SITE], 0, "promtail => loki-gateway : 3100/tcp"),
        (["diff", SITE, SITE], 0, ""),
        (["judge", SITE], 0, ""),
    ],
)
def test_the_command_answers(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Questions about a stack file are answered on stdout and by the exit code."""
    assert command.main(words) == code
    assert said in capsys.readouterr().out


def test_what_follows_is_listed_below_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line that is not indented is a declared flow, hosts' lines at the end apart."""
    assert command.main(["list", SITE]) == 0
    lines = capsys.readouterr().out.partition("# from hosts")[0].splitlines()
    listed = {
        Flow.parse(f"{ends.replace('=>', '->')}:{port}")
        for line in lines
        if not line.startswith(" ")
        for ends, _, ports in [line.partition(" : ")]
        for port in ports.split(", ")
    }
    assert listed == set(loaded().flows)
    proxied = lines.index("traefik => grafana : 3000/tcp")
    assert lines[proxied + 1].startswith("  internet, ")


def test_a_stack_file_may_have_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception with an unquoted date is read as the engine reads it."""
    keys = "{rule: no-devices, resource: loki, reason: a test of dates, owner: me, expires: 2999-01-01}"
    text = Path(SITE).read_text(encoding="utf-8")
    file = tmp_path / "Pulumi.dated.yaml"
    file.write_text(text.replace("config:", f"config:\n  homelab-network:exceptions: [{keys}]", 1))
    assert command.main(["judge", str(file)]) == 1
    assert "no-devices for loki: sets nothing aside" in capsys.readouterr().out


def test_a_finding_is_told_with_its_remedy_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate` prints the rule and the finding, then the line of the stack file and the remedy."""
    text = Path(SITE).read_text(encoding="utf-8")
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text.replace("homelab-lab/promtail", "grafana/promtail"))
    assert command.main(["judge", str(file)]) == 1
    finding, remedy = capsys.readouterr().out.splitlines()
    number = text.splitlines().index("    promtail:") + 1
    assert finding.startswith("images-not-known-broken: promtail: ")
    assert remedy == f"  {file}:{number}: {RULES['images-not-known-broken'].remedy}"


def test_missing_secrets_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All secrets that a site needs are named at once."""
    text = Path(SITE).read_text(encoding="utf-8")
    ssh = "      ssh: {address: docker-srv, host-key: ssh-ed25519 AAAA}\n      trunk: trunk\n"
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text.partition("  grafana:adminPassword:")[0].replace("      trunk: trunk\n", ssh))
    assert command.main(["judge", str(file)]) == 2
    keys = [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()]
    assert keys == ["grafana:adminPassword", "traefik:users", "ssh:privateKey"]


def state(folder: Path, *, project: str = "homelab-network", leave_out: str = "") -> Path:
    """Return an exported state of the sound stack, without one resource if one is given."""
    resources = [
        {"urn": each.urn.replace("homelab-network", project, 1), "type": each.type, "inputs": each.inputs}
        | {"provider": f"{each.provider}::1" if each.provider else ""}
        for each in sound().resources
        if each.name != leave_out
    ]
    file = folder / f"state-{leave_out}.json"
    file.write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))
    return file


def test_a_difference_between_states_is_told_flow_by_flow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each flow that one state opens or closes against another is printed with its trace."""
    assert command.main(["diff", str(state(tmp_path)), str(state(tmp_path, leave_out="host-rules"))]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "+ cadvisor -> loki-gateway:* via backend -> loki-gateway" in said
    assert sorted(line for line in said if line.endswith("docker-srv")) == [
        "+ blackbox-exporter -> docker-srv:* via probe -> docker-srv",
        "+ prometheus -> docker-srv:* via probe -> docker-srv",
        "+ traefik -> docker-srv:* via edge -> docker-srv",
    ]


def test_a_state_reads_like_the_program(tmp_path: Path) -> None:
    """Exported and registered resources get the same findings."""
    assert {r.urn: r.inputs for r in from_state(state(tmp_path))} == {
        r.urn: r.inputs for r in sound().resources
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["judge", "missing.json"], "missing.json: No such file or directory"),
        (["judge", "broken.json"], "broken.json: line 1: no exported state"),
        (["judge", "other.json"], "other.json: no exported state"),
        (["judge", "foreign.json"], "is a state of project other"),
        (["judge", "typo.yaml"], "zonez"),
        (["list", "missing.yaml"], "missing.yaml: cannot be read"),
        (
            ["eval", SITE, "internet", "nobody:80"],
            "nobody: no container, guest, host or outside has this name",
        ),
        (["eval", SITE, "internet", "loki"], "loki: is no destination"),
        (["explain", SITE, "Internet", "loki:3100"], "Internet: is no source; write a service,"),
        (["judge", SITE, "--config", "nosuch.yaml"], "nosuch.yaml: only an exported state takes --config"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input ends with exit code 2 and one line that names the mistake, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"deployment": []}')
    state(tmp_path, project="other").rename(tmp_path / "foreign.json")
    (tmp_path / "typo.yaml").write_text("config:\n  homelab-network:zonez: {}\n")
    before = sorted(tmp_path.iterdir())
    assert command.main(words) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_bridge_is_named_and_not_made() -> None:
    """With an existing bridge the stack is sound without one of its own, and each guest uses the node's."""
    config = configuration()
    config["hosts"]["proxmox-srv"] |= {"bridge": "vmbr0", "existing-bridge": True}
    resources = run(config)
    assert [each.name for each in resources if each.type == KINDS["bridge"]] == []
    assert evaluate(resources, load(config), TODAY).findings == ()
    machines = [each.inputs for each in resources if each.type == KINDS["vm"]]
    assert {card["bridge"] for machine in machines for card in machine["networkDevices"]} == {"vmbr0"}


def test_a_guest_that_exists_is_not_made_anew() -> None:
    """A guest with `existing-mac` is sound without a template, on its own disk and with its own card."""
    config = configuration()
    config["services"]["site-1"]["existing-mac"] = "aa:bb:cc:00:11:22"
    stack = sound()
    stack.config["services"]["site-1"]["existing-mac"] = "aa:bb:cc:00:11:22"
    (made,) = (each for each in run(config) if (each.type, each.name) == (KINDS["vm"], "site-1"))
    assert ("clone" in made.inputs, made.inputs["rebootAfterUpdate"]) == (False, False)
    assert made.inputs["networkDevices"][0]["macAddress"] == "AA:BB:CC:00:11:22"
    of_folders = ("101/vm-101-disk-0.qcow2", "9000/base-9000-disk-0.qcow2/101/vm-101-disk-0.qcow2")
    disks = ("vm-101-disk-0", "base-9000-disk-0/vm-101-disk-0", *of_folders)
    for inputs in (made.inputs, *({**made.inputs, "disks": [{"pathInDatastore": disk}]} for disk in disks)):
        stack.inputs("vm", "site-1").clear()
        stack.inputs("vm", "site-1").update(inputs)
        assert evaluate(stack.resources, load(stack.config), TODAY).findings == ()


@pytest.mark.parametrize("existing", [True, False])
def test_the_node_is_on_its_own_bridge(existing: bool) -> None:
    """An unfiltered, untagged card reaches the node only on a bridge that the node already has."""
    stack = sound()
    stack.config["hosts"]["proxmox-srv"]["existing-bridge"] = existing
    if existing:
        stack.remove("bridge", "vmbr1")
    card = stack.inputs("vm", "site-1")["networkDevices"][0]
    card["firewall"] = False
    del card["vlanId"]
    said = {finding.subject for finding in stack.judge().findings}
    assert ("site-1 -> proxmox-srv:8006/tcp" in said) is existing


EGRESS = {"flow": "site-1 -> internet:443/tcp", "until": "2027-01-31", "reason": "updates of Debian"}


def egress(*flows: object) -> tuple[list[Resource], Topology]:
    """Return the stack with more flows, and 22 among the ports of site-1."""
    config = configuration()
    config["services"]["site-1"]["ports"] = [443, 22]
    config["flows"] += flows
    return run(config), load(config)


def test_a_guests_flows_beyond_its_vlan_go_by_the_router() -> None:
    """Declared egress and management flows pass the router; other guests get no gateway and no new flow."""
    resources, topology = egress(EGRESS, "management -> site-1:22/tcp", "jellyfin -> internet:53/udp")
    assert evaluate(resources, topology, TODAY).findings == ()
    gateways = {
        each.name: each.inputs["initialization"]["ipConfigs"][0]["ipv4"].get("gateway")
        for each in resources
        if each.type == KINDS["vm"]
    }
    routed = {"site-1": "10.10.10.1", "jellyfin": "10.10.20.1"}
    assert {name: gateway for name, gateway in gateways.items() if gateway} == routed
    reachability = Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability
    for source, destination, port in (
        ("site-1", "internet", "443"),
        ("management", "site-1", "22"),
        ("jellyfin", "internet", "53/udp"),
    ):
        trace = reachability.evaluate(source, destination, Port.parse(port)).trace
        assert trace
        assert "router" in trace.hops
    for source, destination, port in (
        ("site-1", "internet", "80"),
        ("site-2", "internet", "443"),
        ("internet", "site-1", "22"),
        ("site-1", "jellyfin", "443"),
        ("management", "jellyfin", "8920"),
    ):
        assert not reachability.evaluate(source, destination, Port.parse(port)).allowed


@pytest.mark.parametrize(("day", "findings"), [(date(2027, 1, 31), 0), (date(2027, 2, 1), 1)])
def test_a_flow_ends_with_its_day(day: date, findings: int) -> None:
    """A flow is valid on its last day; from the next day the stack is refused."""
    resources, topology = egress(EGRESS)
    assert len(evaluate(resources, topology, day).findings) == findings


def test_a_flow_with_an_end_is_told_with_it() -> None:
    """A flow's end is in the outputs, the review, its line of the stack file, and the report."""
    resources, topology = egress(EGRESS)
    (told,) = [flow for flow in outputs(topology)["flows"].values() if flow["until"]]
    assert (told["source"], told["until"]) == ("site-1", "2027-01-31")
    report = judged("dev", TODAY, resources, topology)
    assert report._notes["site-1 -> internet:443/tcp"] == ["until 2027-01-31: updates of Debian"]
    verdict = evaluate(resources, topology, TODAY)
    after = Graph(tuple(map(view, resources)), TopologyIndex.of(topology))
    (opened,) = [
        each for each in review.review("f", None, after, {}, verdict).opened if "until" in each.standing
    ]
    assert (str(opened.flow), opened.standing) == ("site-1 -> internet:443/tcp", "declared until 2027-01-31")
    flow = "site-1 -> internet:443/tcp"
    for text in (f"x:\n  - {flow}\n", f"x:\n  - {{flow: '{flow}', until: x}}\n", f"x:\n  - flow: {flow}\n"):
        assert review.line_of(flow, text) == 2


def test_the_documents_ways_out_are_sound() -> None:
    """The examples of egress and ACME in docs/configuration.md pass on the default stack."""
    examples = blocks(PROJECT / "docs" / "configuration.md", "yaml", "#### Egress")
    assert len(examples) == 4
    for example in examples:
        config, change = configuration(), yaml.safe_load(example)
        config["services"] |= change.get("services", {})
        config["zones"] |= change.get("zones", {})
        config["hosts"]["docker-srv"] |= change.get("hosts", {}).get("docker-srv", {})
        config["flows"] += change["flows"]
        config["tls"] = change.get("tls", config["tls"])
        assert evaluate(run(config), load(config), TODAY).findings == ()


def test_a_pack_without_its_environment_says_so(tmp_path: Path) -> None:
    """In a clone in which nothing was made, plain Pulumi is told how to make what the pack runs in."""
    (tmp_path / "policies").mkdir()
    copy = shutil.copy2(PROJECT / "policies/serve", tmp_path / "policies")
    done = subprocess.run([copy], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "policies/serve: there is no .venv; make it by `make tools` or `pulumi install`\n",
    )
