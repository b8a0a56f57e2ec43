"""A copy of the project with a state of its own, on Pulumi's real engine."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import toolchain
from lab.__main__ import PASSPHRASE
from tests.policies.sound import CANARY, Stack, sound
from topology.project import PROJECT

PACKAGES = ("topology", "rendered", "reachability", "resources", "components", "policies")
PARTS = ("__main__.py", *PACKAGES, "Pulumi.yaml", "Pulumi.dev.yaml")
HAND_WRITTEN = """
import json, pulumi
made = {}
for kind, name, inputs, secrets in json.load(open("resources.json")):
    for key in secrets:
        inputs[key] = pulumi.Output.secret(inputs[key])
    made[name] = pulumi.CustomResource(kind, name, inputs)
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A copy of the project in a folder of its own, with a state of its own."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `pulumi`; its output has joined lines and no colours."""
        done = subprocess.run(  # noqa: PLW1510  # the exit code is what is asked for
            ["pulumi", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        done.stdout += done.stderr
        return done

    def preview(self, *words: str, pack: str = "policies/serve") -> subprocess.CompletedProcess[str]:
        """Preview the dev stack with the pack."""
        return self.run("preview", "--stack", "dev", "--policy-pack", pack, "--suppress-outputs", *words)

    def yaml(self, old: str, new: str) -> None:
        """Change one line of the stack file."""
        file = self.folder / "Pulumi.dev.yaml"
        text = file.read_text()
        assert text.count(old) == 1, old
        file.write_text(text.replace(old, new))

    def write_by_hand(self, change: Callable[[Stack], None], more: str = "") -> Stack:
        """Replace the program by bare resources without components: the sound ones, changed."""
        stack = sound()
        change(stack)
        resources = [
            (r.type, r.name, r.inputs, sorted({str(trail[0]) for trail in r.secrets}))
            for r in stack.resources
            if r.provider
        ]
        (self.folder / "resources.json").write_text(json.dumps(resources))
        (self.folder / "__main__.py").write_text(HAND_WRITTEN + more)
        return stack


def copied(tmp_path: Path) -> Engine:
    """Return a new project and state."""
    toolchain.ensure(lambda _: None)
    folder = tmp_path / "project"
    folder.mkdir()
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    tls = tmp_path / "tls"
    tls.mkdir()
    for name in ("ingress.crt", "ca.crt"):
        (tls / name).write_text("-----BEGIN CERTIFICATE-----\n")
    (tls / "ingress.key").write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")
    (tmp_path / "state").mkdir()
    made = Engine(
        folder=folder,
        environment=dict(os.environ)
        | toolchain.environment()
        | {
            "HOMELAB_STATE": str(tmp_path),
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PROXMOX_VE_API_TOKEN": "root@pam!t=00000000-0000-0000-0000-000000000000",
        },
    )
    assert made.run("stack", "init", "dev").returncode == 0
    return made


def findings(text: str) -> set[str]:
    """Return the messages of mandatory violations, each of which follows its rule's obligation."""
    return set(re.findall(r"\[mandatory\].*\n.*\n +(.*)", text))
