"""Recipes of the tool chain's pieces: how each is fetched or built, one class per kind (`chain` selects).

Note: versions are in requirements.txt alone, because a plugin must have its wheel's version; go.mod pins the
sources of that version.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import files, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import cache
from lab.errors import LabError
from lab.toolchain import golang
from lab.toolchain.step import Report, Step

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 20
INSTALL = "import sys; from pulumi.automation import PulumiCommand; PulumiCommand.install(root=sys.argv[1])"


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A piece called `name`, in the version of the wheel `wheel`, built from our files `sources`.

    `minutes` is about how long a build takes on two cores from nothing.
    """

    name: str
    wheel: str
    sources: tuple[Path, ...]
    minutes: int = 0

    @property
    def version(self) -> str:
        """Return the version, without a `v`."""
        return version(self.wheel)

    @property
    def label(self) -> str:
        """Return the piece's name for messages."""
        return f"{self.name} {self.version}"

    @property
    def material(self) -> Any:
        """Return everything that the piece is made from."""
        return [self.version, platform.system(), platform.machine(), cache.digest(*self.sources)]

    def publish(self, part: Path, engine: Path | None, report: Report) -> None:
        """Fetch the published piece into `part`; raises LabError where it can't be fetched."""
        with TemporaryDirectory(dir=part) as name:
            folder = Path(name)
            step = Step(
                what=f"fetching {self.label}", report=report, watched=folder, patience=PATIENCE_SECONDS
            )
            for file in sorted(self.fetch(folder, engine, step).iterdir()):
                file.rename(part / file.name)

    @abstractmethod
    def fetch(self, folder: Path, engine: Path | None, step: Step) -> Path:
        """Run the step that fetches the published piece below `folder`; return the folder of its files."""

    @abstractmethod
    def build(self, part: Path, report: Report) -> None:
        """Build the piece in `part`; raises LabError that names the step."""


class Engine(Recipe):
    """The engine with the Python language host beside it, where the engine expects it."""

    def fetch(self, folder: Path, engine: Path | None, step: Step) -> Path:  # noqa: ARG002 - there is none yet
        """Have Pulumi's own library install the release of its version, in a process that can be killed."""
        step.run([sys.executable, "-c", INSTALL, str(folder)], env={"TMPDIR": str(folder)})
        return folder / "bin"

    def build(self, part: Path, report: Report) -> None:
        """Build the engine and the policy proxy; copy the host and the scripts that it starts."""
        module, *_ = self.sources
        sdk = "github.com/pulumi/pulumi/sdk/v3"
        golang.build(
            f"building {self.label}",
            module,
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            part / "pulumi",
            flags=["-ldflags", f"-s -w -X {sdk}/go/common/version.Version=v{self.version}"],
            report=report,
        )
        golang.build(
            "building the policy proxy",
            module,
            "./policy-proxy",
            part / "policy-proxy",
            flags=["-ldflags", "-s -w"],
            report=report,
        )
        python = golang.source(module, sdk, report) / "python"
        _program(HERE / "language_host.py", part / "pulumi-language-python")
        for script in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
            _program(python / script, part / Path(script).name)


class Plugin(Recipe):
    """A resource plugin."""

    @property
    def folder(self) -> str:
        """Return the plugin's folder below `plugins` in a Pulumi home."""
        return f"resource-{self.name}-v{self.version}"

    @property
    def program(self) -> str:
        """Return the file that the engine starts."""
        return f"pulumi-resource-{self.name}"

    def fetch(self, folder: Path, engine: Path | None, step: Step) -> Path:
        """Have the engine install the plugin from the source that its wheel names."""
        told = next(file for file in files(self.wheel) or () if file.name == "pulumi-plugin.json")
        server = json.loads(told.read_text()).get("server")
        command = [str(engine or "pulumi"), "plugin", "install", "resource", self.name, self.version]
        step.run(
            [*command, *(["--server", server] if server else [])],
            env={"PULUMI_HOME": str(folder), "TMPDIR": str(folder)},
        )
        installed = folder / "plugins" / self.folder
        if not (installed / self.program).is_file():
            raise LabError(f"{step.what}: it came without {self.program}")
        return installed


class Bridge(Plugin):
    """A plugin that wraps a Terraform provider; writes its schema once into files beside it."""

    def build(self, part: Path, report: Report) -> None:
        """Build the plugin and have it write its schema."""
        module, *_ = self.sources
        program = part / self.program
        flags = ["-tags", "no_compose", "-ldflags", f"-s -w -X main.version={self.version}"]
        golang.build(f"building {self.label}", module, ".", program, flags=flags, report=report)
        with TemporaryDirectory(dir=part) as folder:
            Step(what=f"describing {self.label}", report=report).run(
                [str(program), "schema", "--out", folder, "--skip-docs", "--skip-examples"],
                env={"PULUMI_SKIP_MISSING_MAPPING_ERROR": "true"},
            )
            for file in Path(folder).glob("*.json"):
                file.rename(part / file.name)


class StandIn(Plugin):
    """A small replacement of ours for a plugin whose sources can't be fetched."""

    def build(self, part: Path, report: Report) -> None:  # noqa: ARG002 - a copy is done before it could be told
        """Copy the stand-in."""
        source, *_ = self.sources
        _program(source, part / self.program)


def _program(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


ENGINE = Engine(
    name="pulumi", wheel="pulumi", sources=(HERE / "go/pulumi", HERE / "language_host.py"), minutes=3
)
PLUGINS: tuple[Plugin, ...] = (
    Bridge(name="docker", wheel="pulumi-docker", sources=(HERE / "go/docker",), minutes=2),
    Bridge(name="proxmoxve", wheel="pulumi-proxmoxve", sources=(HERE / "go/proxmoxve",), minutes=2),
    Bridge(name="tls", wheel="pulumi-tls", sources=(HERE / "go/tls",), minutes=1),
    StandIn(name="command", wheel="pulumi-command", sources=(HERE / "command_plugin.py",)),
)
