"""The recorded program is the SDK's; what it, YAML files and usage errors do without."""

import gc
import subprocess
import sys
import textwrap
import threading
import traceback
from contextlib import nullcontext
from operator import attrgetter
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components import sdk
from resources import program
from resources.resource import Resource
from tests import mocks
from tests.policies.generate import topology
from tests.policies.sound import run
from tests.site import FILE, configuration
from topology.fast_yaml import Loader
from topology.project import PROJECT


@pytest.mark.parametrize("number", [None, 0, 1, 2, 5, 14])
def test_resources_are_recorded_as_the_sdk_registers_them(number: int | None) -> None:
    """The recorder returns what the SDK's mocks return: URNs, inputs, secrets, providers and protection."""
    config = configuration() if number is None else topology(number)
    gc_was = gc.isenabled()
    try:
        wanted = sorted(run(config, program=mocks.resources), key=attrgetter("urn"))
    finally:
        (gc.enable if gc_was else gc.disable)()
    assert sorted(run(config), key=attrgetter("urn")) == wanted
    assert any(each.secrets for each in wanted)


def test_a_fault_is_told_as_by_the_sdk() -> None:
    """The program's errors are the same as with the SDK, and the SDK is as before afterwards."""
    config = {**configuration(), "domain": "no domain"}
    before = (vars(pulumi.Output)["from_input"], pulumi.runtime.invoke)
    with pytest.raises(pulumi.RunError) as wanted:
        run(config, program=mocks.resources)
    with pytest.raises(pulumi.RunError) as found:
        run(config)
    assert str(found.value) == str(wanted.value)
    assert (vars(pulumi.Output)["from_input"], pulumi.runtime.invoke) == before


@pytest.mark.parametrize(
    ("engine", "refused"),
    [
        ("ssh://you@docker-srv", True),
        ("tcp://10.10.1.9:2375", True),
        ("tcp://127.0.0.1:2375", False),
        ("unix:///run/docker.sock", False),
        ("", False),
    ],
)
def test_another_machines_engine_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], engine: str, refused: bool
) -> None:
    """Docker's plugin would make the containers there, and the rules of the host would be on this machine."""
    monkeypatch.setattr(sdk, "mend", lambda: None)  # it would last as long as this process
    monkeypatch.setenv("DOCKER_HOST", engine)
    assert run(configuration())  # `commands judge` makes nothing
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", "[]")
    with pytest.raises(SystemExit) if refused else nullcontext():
        run(configuration())
    told = "hosts.docker-srv.ssh: is missing, while DOCKER_HOST is another machine; "
    assert (told in capsys.readouterr().err) == refused
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    assert run(configuration())  # nor does a preview, as of `make drift` from a workstation


def recorded(folder: Path, body: str) -> list[Resource]:
    """Return the resources of a program of these lines."""
    text = f"import pulumi\nimport pulumi_docker as docker\nimport pulumi_tls as tls\n{textwrap.dedent(body)}"
    (folder / "__main__.py").write_text(text, encoding="utf-8")
    return program.resources({}, program=folder)[1:]


def test_outputs_of_a_recorded_resource_are_its_inputs(tmp_path: Path) -> None:
    """Outputs are combined at once, and what is made of a secret is secret."""
    body = """
        key = tls.PrivateKey("key", algorithm="ED25519")
        first = docker.Volume("first", name=pulumi.Output.concat("a-", 1))
        docker.Volume("second", name=first.name.apply(str.upper), driver_opts={"o": key.private_key_pem})
        every = pulumi.Output.all(first.name, "b")
        docker.Volume("third", name=every.apply("+".join), driver=pulumi.Output.unsecret(key.private_key_pem))
    """
    _, first, second, third = recorded(tmp_path, body)
    pem = "-----BEGIN PRIVATE KEY-----\nkey\n"
    assert first.inputs == {"name": "a-1"}
    assert second.inputs == {"name": "A-1", "driverOpts": {"o": pem}}
    assert second.secrets == {("driverOpts", "o")}
    assert (third.inputs, third.secrets) == ({"name": "a-1+b", "driver": pem}, frozenset())


@pytest.mark.parametrize(
    "body",
    ["docker.get_network(name='x')", "docker.get_network_output(name='x')", "docker.Volume.get('x', 'y')"],
)
def test_what_only_a_provider_knows_ends_the_program(tmp_path: Path, body: str) -> None:
    """A program that asks a provider is refused, because no provider is there to answer."""
    with pytest.raises(pulumi.RunError, match="a provider can't be known"):
        recorded(tmp_path, body)


def test_a_registration_needs_no_thread_and_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No registration starts a thread or looks for its place in the program; a new SDK may need a new way."""
    traces, extract, before = [], traceback.extract_stack, set(threading.enumerate())

    def counted(*words: Any, **more: Any) -> Any:
        traces.append(words)
        return extract(*words, **more)

    monkeypatch.setattr(traceback, "extract_stack", counted)
    assert run(configuration())
    assert (traces, set(threading.enumerate()) - before) == ([], set())


@pytest.mark.parametrize(
    "words", [["explain"], ["judge", "--unknown"], ["list", "--help"], ["report", "--unknown"]]
)
def test_usage_is_told_before_the_import(words: list[str]) -> None:
    """A usage error and help end before what the command needs is imported."""
    code = f"import sys; from commands.__main__ import main; main({words!r})"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ("usage:" in ended.stdout + ended.stderr, "policies.evaluate" in ended.stderr) == (True, False)


def test_the_table_of_rules_needs_no_program() -> None:
    """The table of rules is printed without the SDK, the providers' packages and cryptography."""
    code = "import sys; from commands.__main__ import main; main(['rules']); print(*sys.modules, sep='\\n')"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    modules = {*told.stdout.splitlines()}
    assert "policies.rule" in modules
    assert not modules & {"pulumi", "pulumi_docker", "pulumi_proxmoxve", "grpc", "cryptography"}


def test_the_dumper_writes_as_pyyamls() -> None:
    """Files in containers are written as PyYAML's SafeDumper writes them, whether libyaml is there or not."""
    files = [file for each in run(configuration()) for file in each.inputs.get("uploads", ())]
    texts = [file["content"] for file in files if file["file"].endswith((".yml", ".yaml"))]
    assert len(texts) > 8
    assert [yaml.safe_dump(yaml.safe_load(text), sort_keys=False, width=1000) for text in texts] == texts


def test_the_loader_reads_as_pyyamls() -> None:
    """The loader returns what PyYAML's SafeLoader returns."""
    text = FILE.read_text(encoding="utf-8")
    assert yaml.load(text, Loader=Loader) == yaml.safe_load(text)  # noqa: S506  # a safe loader
