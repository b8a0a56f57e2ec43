"""Mistakes in the order of commands, and in other stacks' files: one line with a remedy, no traceback."""

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands.__main__ import main as commands
from lab import __main__ as lab
from lab import engine, orphans, paths
from lab.errors import LabError
from tests.site import FILE, configuration
from topology.config import load
from topology.project import PROJECT

TEXT = FILE.read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the stack files of dev and seed, and an empty state beside it."""
    for stack in ("dev", "seed"):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    return tmp_path


def state(project: Path, stack: str, text: str) -> Path:
    """Write the state of a stack."""
    file = project / f"state/.pulumi/stacks/homelab-network/{stack}.json"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "stack=seed"], "stack=seed: variables of make are in upper case; write STACK=seed."),
        (["down", "stack=seed"], "stack=seed: variables of make are in upper case; write STACK=seed."),
        (["diff", "base=main"], "base=main: variables of make are in upper case; write BASE=main."),
    ],
)
def test_make_refuses_a_variable_in_lower_case(words: list[str], said: str) -> None:
    """`make up stack=seed` is refused before it touches dev."""
    done = subprocess.run(
        ["make", "--dry-run", *words, "READY="], cwd=PROJECT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_environment_behind_a_link_is_not_cleared(tmp_path: Path) -> None:
    """An environment that `.venv` links to is another tree's, and stays as it is."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "mine").touch()
    for file in ("Makefile", "requirements.txt"):
        (tmp_path / file).write_bytes((PROJECT / file).read_bytes())
    (tmp_path / ".venv").symlink_to(theirs)
    done = subprocess.run(["make", "tools"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert ".venv is a link, and what it leads to would be cleared; remove the link" in done.stderr
    assert [file.name for file in theirs.iterdir()] == ["mine"]


class Bare:
    """A stack whose state is empty, or has a resource."""

    def __init__(self, *resources: str) -> None:
        self.resources = resources
        self.destroyed = 0

    def deployment(self) -> dict[str, Any]:
        """Return the state."""
        return {"resources": self.resources}

    def destroy(self) -> int:
        """Remove everything."""
        self.destroyed += 1
        return 0


def test_what_no_state_knows_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make down` without the state that made the stack takes nothing of the lab away from below it."""
    assert project
    monkeypatch.setattr(engine, "is_ours", lambda: False)
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(engine, "endpoint", lambda: None)
    monkeypatch.setattr(orphans, "run", lambda words, *_, **__: "grafana\n" if "ps" in words else "query\n")
    with pytest.raises(
        LabError,
        match=r"dev: grafana, query have its label.* `docker rm --force grafana; docker network rm query; "
        r"nft 'add table inet homelab-network; delete table inet homelab-network'; .* -D DOCKER-USER ",
    ):
        lab._empty("dev", load(configuration()))
    monkeypatch.setattr(orphans, "run", lambda *_, **__: "")
    lab._empty("dev", load(configuration()))


def test_a_state_elsewhere_is_emptied(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PULUMI_BACKEND_URL the lab's own folder has no state, and the stack is removed all the same."""
    assert project
    bare = Bare("a resource")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///srv/state")
    monkeypatch.setattr(lab, "_selected", lambda _stack: bare)
    monkeypatch.setattr(lab, "_hosts_up", lambda _topology: None)
    monkeypatch.setattr(engine, "is_abandoned", lambda: False)
    lab._empty("dev", load(configuration()))
    assert bare.destroyed == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/var/x"),
            "up: /var/x: Read-only file system; mount it",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "up: a disk: No space left on device; free some"),
    ],
)
def test_a_disk_that_takes_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: OSError, said: str
) -> None:
    """A full disk, or one that is mounted read-only, ends a command with a line and no traceback."""

    def up(_stack: str) -> int:
        raise fault

    monkeypatch.setattr(lab, "_COMMANDS", {"up": up})
    assert lab.main(["up"]) == 1
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("command", ["preview", "up", "down", "env"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Pulumi.dev.yaml: is empty; write config:"),
        ("config:\n", "Pulumi.dev.yaml: has no mapping config;"),
        (TEXT.replace("config:\n", "config\n", 1), "Pulumi.dev.yaml:5: a colon stands where no key can be;"),
        (TEXT.replace("ports: [3000]", "ports: [3000"), "Pulumi.dev.yaml:38: a list is not closed;"),
    ],
)
def test_a_broken_stack_file_ends_each_command(
    project: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, said: str
) -> None:
    """A file that is empty, half written or no YAML is one line, before anything is looked at."""
    (project / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    assert lab.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize("command", ["preview", "up", "down", "env"])
def test_a_wrong_stack_is_named_with_the_nearest(
    project: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """STACK=sed names the file that is missing, and the stack that may be meant."""
    assert lab.main([command, "--stack", "sed"]) == 1
    assert "Pulumi.sed.yaml: no such stack file; STACK=seed is meant" in capsys.readouterr().err
    assert commands(["judge", str(project / "Pulumi.sed.yaml")]) == 2
    assert "STACK=seed is meant, or write the file.\n" in capsys.readouterr().err


def test_the_broken_file_of_a_stack_that_is_down_is_in_nobodys_way(project: Path) -> None:
    """Only a stack with resources in the lab's state is looked at."""
    (project / "Pulumi.seed.yaml").write_text("a: [", encoding="utf-8")
    lab._need_the_lab("dev")


def test_the_broken_file_of_a_stack_that_is_up_is_told(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack that is up, and whose file can't be read, stops another one's `up` by its name."""
    (project / "Pulumi.seed.yaml").write_text("a: [", encoding="utf-8")
    state(project, "seed", json.dumps({"checkpoint": {"latest": {"resources": [1]}}}))
    monkeypatch.setattr(lab, "_COMMANDS", {"up": lab._need_the_lab})
    assert lab.main(["up"]) == 2
    assert capsys.readouterr().err.startswith("Pulumi.seed.yaml:2: ends before its value;")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checkpoint": 1}', '{"checkpoint": {"latest": [1]}}'])
def test_a_state_that_is_none_is_told(project: Path, text: str) -> None:
    """A state that was cut off is named with the way out, and is not taken for an empty one."""
    file = state(project, "seed", text)
    with pytest.raises(LabError) as told:
        lab._need_the_lab("dev")
    assert str(told.value).startswith(f"{file}: is no state of Pulumi; put seed.json.bak in its place")


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_remedy_names_the_stack(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Without root the command is told with its stack, so that it can be pasted."""
    assert project
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert lab.main([command, "--stack", "seed"]) == 1
    assert f"run `sudo make {command} STACK=seed`" in capsys.readouterr().err


def test_no_remedy_forgets_the_stack() -> None:
    """Every message of the lab about `make up` or `make down` names the stack."""
    for file in ("lab/__main__.py", "lab/stack.py", "verify/drift.py", "verify/vantages.py"):
        lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if "run `make" in line and "STACK=" not in line] == [], file


def test_a_service_without_a_flow_is_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service that no flow names is a note with its line, and no finding."""
    wiki = "    wiki: {zone: apps, vmid: 203, address: 10.10.20.13, ports: [3000]}\n"
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(TEXT.replace("    jellyfin: {", f"{wiki}    jellyfin: {{"), encoding="utf-8")
    assert commands(["judge", str(file)]) == 0
    assert capsys.readouterr().out == (
        "note: Pulumi.x.yaml:83: services.wiki: no flow leads to it or from it, so nothing reaches it; "
        "declare one like management -> wiki:3000/tcp, or remove it.\n"
    )


def test_a_state_that_can_not_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make env` names the folder and the variable that chooses another."""
    monkeypatch.setattr(paths, "STATE", Path("/proc/none/state"))
    assert lab.main(["env"]) == 1
    said = "env: /proc/none/state: No such file or directory; name another folder with HOMELAB_STATE\n"
    assert capsys.readouterr() == ("", said)
