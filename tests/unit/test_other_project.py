"""Another project's stack: the pack takes what fills its slots, and refuses everything else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2 as pb
from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerStub

from policies.server import start
from tests.unit.test_slots import keys
from topology.config import load
from topology.outputs import outputs

SITE = "organization/homelab-network/dev"
TOLD: dict[str, Any] = json.loads(json.dumps(outputs(load(keys()))))
HOME = TOLD["slots"]["home"]
((NETWORK, PLACE),) = HOME["networks"].items()
CONTAINER, VOLUME = "docker:index/container:Container", "docker:index/volume:Volume"
DATA = HOME["container"] + "-data"
FILLED: dict[str, Any] = {
    "name": HOME["container"],
    "image": "nginx:1.27.1",
    "user": "65534:65534",
    "networkMode": "bridge",
    "networksAdvanced": [{"name": NETWORK, "ipv4Address": PLACE["address"]}],
    "dns": HOME["nameServers"],
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges:true"],
    "memory": 64,
    "memorySwap": 64,
    "uploads": [{"file": "/srv/index.html", "content": "<h1>Hello</h1>"}],
}
MOUNTED = {"volumes": [{"containerPath": "/data", "volumeName": DATA}]}


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a client of the pack, beside a `pulumi` that prints the outputs in the file `outputs`."""
    (tmp_path / "pulumi").write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\ncat {tmp_path}/outputs\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    server, port = start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield AnalyzerStub(channel)
    server.stop(0)


def struct(values: dict[str, Any]) -> Any:
    """Return properties in the engine's form."""
    made = Struct()
    made.update(values)
    return made


Shown = tuple[str, str, dict[str, Any]]
"""A resource's type, its name and its inputs."""


def said(pack: Any, *shown: Shown, site: str = SITE, told: Any = TOLD) -> set[tuple[str, str]]:
    """Return the rules and messages of all violations of a stack that the engine shows."""
    Path("outputs").write_text(told if isinstance(told, str) else json.dumps(told))
    config = {"start-page:image": "nginx:1", "start-page:site": site}
    pack.ConfigureStack(pb.AnalyzerStackConfigureRequest(stack="dev", project="start-page", config=config))
    found, together = [], []
    for kind, name, inputs in shown:
        urn = f"urn:pulumi:dev::start-page::{kind}::{name}"
        provider = pb.AnalyzerProviderResource(urn="p", type="p", name="p")
        known: dict[str, Any] = {"urn": urn, "type": kind, "name": name, "provider": provider}
        found += pack.Analyze(pb.AnalyzeRequest(properties=struct(inputs), **known)).diagnostics
        together.append(pb.AnalyzerResource(properties=struct(inputs), **known))
    stack = "pulumi:pulumi:Stack"
    together.append(pb.AnalyzerResource(urn=f"urn:pulumi:dev::start-page::{stack}::x", type=stack, name="x"))
    found += pack.AnalyzeStack(pb.AnalyzeStackRequest(resources=together)).diagnostics
    assert f"--stack {site}" in Path("asked").read_text()
    return {
        (each.policyName, each.message.partition("\n")[2])
        for each in found
        if each.enforcementLevel == pb.MANDATORY
    }


def test_a_container_in_its_slot_is_accepted(pack: Any) -> None:
    """A hardened container with the slot's name, network and address, and its own volume, passes."""
    volume = (VOLUME, "data", {"name": DATA, "driver": "local"})
    assert said(pack, (CONTAINER, "page", {**FILLED, **MOUNTED}), volume) == set()


def test_an_empty_stack_is_accepted(pack: Any) -> None:
    """A slot may be left empty."""
    assert said(pack) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": "other"}, "containers-have-a-role"),
        ({"name": "traefik"}, "containers-have-a-role"),
        ({"networksAdvanced": [{"name": NETWORK}]}, "containers-on-their-zones"),
        (
            {"networksAdvanced": [{"name": NETWORK, "ipv4Address": "172.30.1.99"}]},
            "containers-on-their-zones",
        ),
        ({"networksAdvanced": []}, "containers-on-their-zones"),
        (
            {"networksAdvanced": [*FILLED["networksAdvanced"], {"name": "backend"}]},
            "containers-on-their-zones",
        ),
        (
            {
                "networksAdvanced": [
                    {"name": NETWORK, "ipv4Address": "172.30.1.99"},
                    *FILLED["networksAdvanced"],
                ]
            },
            "containers-on-their-zones",
        ),
        (
            {"networksAdvanced": [{**FILLED["networksAdvanced"][0], "aliases": ["grafana"]}]},
            "names-are-the-engines",
        ),
        ({"dns": ["9.9.9.9"]}, "names-are-the-engines"),
        ({"dns": []}, "names-are-the-engines"),
        ({"hosts": [{"host": "grafana", "ip": "192.0.2.1"}]}, "names-are-the-engines"),
        ({"ports": [{"internal": 8080, "external": 8080}]}, "only-the-ingress-publishes"),
        ({"publishAllPorts": True}, "only-the-ingress-publishes"),
        ({"networkMode": "host"}, "own-namespaces"),
        ({"networkMode": "container:traefik"}, "own-namespaces"),
        ({"pidMode": "host"}, "own-namespaces"),
        ({"privileged": True}, "no-privileges"),
        ({"capabilities": {}}, "no-privileges"),
        ({"capabilities": {"adds": ["NET_ADMIN"], "drops": ["ALL"]}}, "no-privileges"),
        ({"securityOpts": []}, "no-privileges"),
        ({"securityOpts": ["no-new-privileges:true", "no-new-privileges:0"]}, "no-privileges"),
        ({"securityOpts": ["no-new-privileges:true", "label=type:spc_t"]}, "no-privileges"),
        (
            {"securityOpts": ["no-new-privileges:true", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']},
            "no-privileges",
        ),
        ({"devices": [{"hostPath": "/dev/net/tun"}]}, "no-devices"),
        ({"user": "0:0"}, "containers-not-root"),
        ({"memory": 0}, "memory-limited"),
        ({"image": "nginx"}, "images-pinned"),
        ({"colour": "red"}, "known-properties"),
        ({"envs": ["DOCKER_HOST=tcp://192.0.2.1"]}, "no-docker-socket"),
        (
            {"volumes": [{"containerPath": "/logs", "hostPath": "/srv/logs", "readOnly": True}]},
            "other-projects-fill-slots",
        ),
        (
            {"mounts": [{"type": "bind", "source": "/srv/x", "target": "/x", "readOnly": True}]},
            "other-projects-fill-slots",
        ),
        ({"volumes": [{"containerPath": "/data", "volumeName": "/srv/x"}]}, "other-projects-fill-slots"),
        ({"volumes": [{"containerPath": "/data", "volumeName": "grafana-data"}]}, "volumes-not-shared"),
        ({"volumes": [{"containerPath": "/usr/bin", "volumeName": DATA}]}, "programs-are-the-images"),
        ({"uploads": [{"file": "/etc/hosts", "content": "192.0.2.1 grafana"}]}, "names-are-the-engines"),
    ],
)
def test_a_container_beside_its_slot_is_refused(pack: Any, change: dict[str, Any], rule: str) -> None:
    """Another name, network or address, a published port, a privilege or a folder of the host is refused."""
    assert rule in {name for name, _ in said(pack, (CONTAINER, "page", {**FILLED, **change}))}


@pytest.mark.parametrize(
    ("kind", "inputs", "rule"),
    [
        ("docker:index/network:Network", {"name": NETWORK}, "other-projects-fill-slots"),
        ("docker:index/network:Network", {"name": "own"}, "other-projects-fill-slots"),
        ("docker:index/service:Service", {"name": "x"}, "other-projects-fill-slots"),
        ("proxmoxve:index/vmLegacy:VmLegacy", {"vmId": 999}, "other-projects-fill-slots"),
        ("command:local:Command", {"create": "iptables -F"}, "other-projects-fill-slots"),
        ("pulumi:providers:docker", {"host": "ssh://other"}, "engine-on-the-declared-host"),
        ("docker:index/plugin:Plugin", {"name": "x"}, "known-types"),
        (VOLUME, {"name": "homelab-grafana-data"}, "volumes-of-slots"),
        (VOLUME, {"name": f"{HOME['container']}-assistant-data"}, "volumes-of-slots"),
        (VOLUME, {"name": DATA, "driverOpts": {"device": "/", "o": "bind"}}, "volumes-are-local"),
    ],
)
def test_what_is_no_slot_is_refused(pack: Any, kind: str, inputs: dict[str, Any], rule: str) -> None:
    """Networks, guests, commands and volumes of others are refused, also beside a sound container."""
    assert rule in {name for name, _ in said(pack, (CONTAINER, "page", FILLED), (kind, "more", inputs))}


def test_two_containers_in_one_slot_are_refused(pack: Any) -> None:
    """Of two resources for one slot it is undefined which is in force."""
    found = said(pack, (CONTAINER, "page", FILLED), (CONTAINER, "again", FILLED))
    assert "one-resource-each" in {name for name, _ in found}


@pytest.mark.parametrize(
    ("site", "told", "fault"),
    [
        ("organization/elsewhere/dev", TOLD, "the configuration names 0 stacks of homelab-network; name"),
        (SITE, {**TOLD, "slots": {}}, "no slot is for project start-page; declare one"),
        (
            SITE,
            {**TOLD, "slots": {"home": {**HOME, "project": "other"}}},
            "no slot is for project start-page",
        ),
        (SITE, {**TOLD, "schemaVersion": 3}, "has no outputs of version 2; update"),
        (SITE, "[]", "has no outputs of version 2; update"),
        (SITE, "no JSON", "its outputs can't be read (JSONDecodeError); see"),
        (SITE, {**TOLD, "slots": {"home": {**HOME, "networks": {"x": {}}}}}, "can't be read; update"),
        (SITE, {**TOLD, "zones": {}}, "can't be read; update"),
    ],
)
def test_without_its_slots_nothing_is_accepted(pack: Any, site: str, told: Any, fault: str) -> None:
    """A stack without a site, without a slot of its own, or with unreadable outputs ends with the fault."""
    with pytest.raises(grpc.RpcError) as ended:
        said(pack, (CONTAINER, "page", FILLED), site=site, told=told)
    assert fault in str(ended.value)


def test_outputs_that_can_not_be_read_are_told(pack: Any) -> None:
    """Where Pulumi does not tell a stack's outputs, its reason is told, without a traceback."""
    Path("pulumi").write_text("#!/bin/sh\necho 'error: no stack named dev found' >&2\nexit 255\n")
    with pytest.raises(grpc.RpcError) as ended:
        said(pack, (CONTAINER, "page", FILLED))
    assert f"{SITE}: its outputs can't be read (no stack named dev found); see that" in str(ended.value)
