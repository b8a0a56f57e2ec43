"""The tool chain at work: plain Pulumi commands in a project of a few lines, without the lab."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pkgutil
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pulumi
import pytest

from lab import toolchain
from lab.toolchain.recipes import PLUGINS

PROJECT = """
name: scratch
runtime: {name: python, options: {virtualenv: .venv}}
"""
PACK = """
runtime: {name: python, options: {virtualenv: ../.venv}}
version: 0.0.1
"""
# Refuses a resource whose name is the stack's config value `refused`.
RULE = """
import pulumi
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

def validate(args, report):
    if args.name == pulumi.Config().get("refused"):
        report(f"{args.name} is refused")

rule = ResourceValidationPolicy(name="refused", description="d", validate=validate)
PolicyPack("scratch", [rule], enforcement_level=EnforcementLevel.MANDATORY)
"""
EVERYTHING = """
import pulumi
import pulumi_command
import pulumi_docker
import pulumi_proxmoxve
import pulumi_tls

pulumi_tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256")
network = pulumi_docker.Network("network", name="scratch", internal=True)
advanced = pulumi_docker.ContainerNetworksAdvancedArgs(name=network.name)
pulumi_docker.Container("container", name="scratch", image="none", networks_advanced=[advanced])
# 192.0.2.0/24 is assigned to no machine (RFC 5737).
token = "root@pam!t=00000000-0000-0000-0000-000000000000"
provider = pulumi_proxmoxve.Provider("provider", endpoint="https://192.0.2.1:8006/", api_token=token)
opts = pulumi.ResourceOptions(provider=provider)
pulumi_proxmoxve.VmLegacy("legacy", node_name="pve", name="legacy", opts=opts)
pulumi_proxmoxve.network.linux.Bridge("bridge", node_name="pve", name="vmbr9", opts=opts)
pulumi_command.local.Command("command", create="true")
"""
COMMANDS = """
import pulumi
from pulumi_command.local import Command

first = Command("first", create="echo made $NAME", environment={"NAME": "one"}, triggers=["a"])
second = Command("second", create="cat", stdin=first.stdout)
pulumi.export("said", second.stdout)
"""


@dataclass(frozen=True)
class Scratch:
    """A project in a folder of its own, with a file backend inside it."""

    folder: Path
    environment: dict[str, str]

    def pulumi(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Pulumi as a user would; stdout and stderr are one stream."""
        return subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def program(self, text: str) -> None:
        """Replace the program."""
        (self.folder / "__main__.py").write_text(text)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """Yield an empty project with a stack and a pack; destroys its resources at the end."""
    toolchain.ensure()
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/PulumiPolicy.yaml").write_text(PACK)
    (tmp_path / "pack/__main__.py").write_text(RULE)
    (tmp_path / "state").mkdir()
    own = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "DOCKER_HOST": f"unix://{tmp_path}/nothing-listens-here",
    }
    project = Scratch(tmp_path, {**os.environ, **toolchain.environment(), **own})
    done = project.pulumi("stack", "init", "dev")
    assert done.returncode == 0, done.stdout
    yield project
    done = project.pulumi("destroy", "--yes")
    assert done.returncode == 0, done.stdout


def test_preview_of_everything(scratch: Scratch) -> None:
    """Plain `pulumi preview` accepts resources of all four plugins, without Docker, Proxmox or a warning."""
    scratch.program(EVERYTHING)
    done = scratch.pulumi("preview")
    assert done.returncode == 0, done.stdout
    assert "+ 8 to create" in done.stdout
    assert "warning" not in done.stdout


def test_policy_pack(scratch: Scratch) -> None:
    """`--policy-pack` lets a good stack pass and refuses the same stack when its config asks for that."""
    scratch.program(EVERYTHING)
    good = scratch.pulumi("preview", "--policy-pack", "pack")
    scratch.pulumi("config", "set", "refused", "legacy")
    bad = scratch.pulumi("preview", "--policy-pack", "pack")
    assert (good.returncode, "legacy is refused" in good.stdout) == (0, False), good.stdout
    assert (bad.returncode != 0, "legacy is refused" in bad.stdout) == (True, True), bad.stdout


def test_the_engine_keeps_no_log(scratch: Scratch) -> None:
    """In the lab's Pulumi home, the engine writes no log of its own."""
    scratch.program(COMMANDS)
    assert scratch.pulumi("preview").returncode == 0
    home = toolchain.environment().get("PULUMI_HOME")
    assert home is None or not (Path(home) / "logs").is_dir()


def test_up_and_analyze(scratch: Scratch) -> None:
    """`pulumi up` runs commands, a second preview shows no change, and `policy analyze` checks the result."""
    scratch.program(COMMANDS)
    done = scratch.pulumi("up", "--yes", "--policy-pack", "pack")
    assert done.returncode == 0, done.stdout
    assert scratch.pulumi("stack", "output", "said").stdout == "made one\n"
    assert "3 unchanged" in scratch.pulumi("preview").stdout
    scratch.program(COMMANDS.replace('"a"', '"b"'))
    assert "replace" in scratch.pulumi("preview").stdout
    (scratch.folder / "state.json").write_text(scratch.pulumi("stack", "export").stdout)
    (scratch.folder / "pack/__main__.py").write_text(
        RULE.replace('pulumi.Config().get("refused")', '"second"')
    )
    judged = scratch.pulumi("policy", "analyze", "--file", "state.json", "--policy-pack", "pack")
    assert (judged.returncode != 0, "second is refused" in judged.stdout) == (True, True), judged.stdout


@pytest.mark.parametrize(
    ("program", "said", "traceback"),
    [
        (
            "import pulumi; raise pulumi.RunError('zones.apps: fault; remedy')",
            "zones.apps: fault; remedy",
            False,
        ),
        ("1 / 0", "ZeroDivisionError", True),
        ("import sys; sys.exit(7)", "7", False),
    ],
)
def test_program_that_fails(scratch: Scratch, program: str, said: str, traceback: bool) -> None:
    """A failing program fails the preview; an operator's mistake is reported without a traceback."""
    scratch.program(program)
    done = scratch.pulumi("preview")
    assert done.returncode != 0
    assert said in done.stdout
    assert ("Traceback" in done.stdout) == traceback


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("docker", {"docker:index/image:Image"}), ("proxmoxve", set[str]()), ("tls", set[str]())],
)
def test_names(scratch: Scratch, name: str, lacking: set[str]) -> None:
    """The plugins know every resource and property of their wheels, except Docker image builds."""
    schema = json.loads(scratch.pulumi("package", "get-schema", name).stdout)["resources"]
    walk = "import sys; from tests.parts import test_pulumi; print(test_pulumi.resources(sys.argv[1]))"
    # In a subprocess, because importing modules in this order leaves packages broken.
    words = [sys.executable, "-c", walk, f"pulumi_{name}"]
    wheel = ast.literal_eval(subprocess.check_output(words, cwd=Path(__file__).parents[2], text=True))
    assert len(wheel) > 3
    assert wheel.keys() - schema.keys() <= lacking
    for token in wheel.keys() & schema.keys():
        assert wheel[token] - schema[token]["properties"].keys() == set(), token


def test_published_plugin(scratch: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine installs a downloadable plugin completely, and only in its cache entry."""
    plugin = PLUGINS[-1]
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / plugin.program).write_text("published")
    kind = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    archive = shelf / f"{plugin.program}-v{plugin.version}-linux-{kind}.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(shelf / plugin.program, plugin.program)
    handler = partial(SimpleHTTPRequestHandler, directory=str(shelf))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(
            "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES", f".*=http://127.0.0.1:{server.server_port}"
        )
        (tmp_path / "part").mkdir()
        engine = shutil.which("pulumi", path=scratch.environment["PATH"])
        plugin.publish(tmp_path / "part", Path(engine or ""), print)
        server.shutdown()
    assert [file.name for file in (tmp_path / "part").iterdir()] == [plugin.program]
    assert (tmp_path / "part" / plugin.program).read_text() == "published"


def resources(package: str) -> dict[str, set[str]]:
    """Map each resource's token in a wheel to its properties' names in the protocol."""
    found = {}
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        if module.name.endswith(".vars"):
            continue  # fails with a circular import when imported first
        for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if not issubclass(one, pulumi.CustomResource) or issubclass(one, pulumi.ProviderResource):
                continue
            if one.__module__ == module.name:
                kind: Any = one
                getters = [value.fget for value in vars(one).values() if isinstance(value, property)]
                names = {
                    getattr(getter, "_pulumi_name", None) or getter.__name__ for getter in getters if getter
                }
                name = kind.__name__
                of_old = f"{package[7:]}:index/{name[0].lower()}{name[1:]}:{name}"  # no pulumi_type
                found[getattr(kind, "pulumi_type", of_old)] = names
    return found
