"""What `make preview` and `make up` ask a person, on a real terminal and without one."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import __main__ as command
from lab import asking, paths, toolchain
from lab.errors import LabError
from topology.config import from_file
from topology.project import PROJECT

EXAMPLE = PROJECT / "docs/Pulumi.home.example.yaml"
LOCAL = {"PULUMI_BACKEND_URL": "file:///state"}
NEEDED = ["proxmoxve:apiToken", "grafana:adminPassword", "traefik:users", "ssh:privateKey"]


def on_terminal(code: str, *answers: str) -> list[str]:
    """Run Python with a terminal of its own on which a person types; returns the lines that it shows."""
    ours, theirs = os.openpty()
    head = (
        "import json, os\nfrom pathlib import Path\nfrom lab import asking\nfrom lab.errors import LabError\n"
    )
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", head + code],
        cwd=PROJECT, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    for answer in answers:
        shown = _until(ours, shown + "\0")
        os.write(ours, f"{answer}\n".encode())
    shown = _until(ours, shown, end=True)
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.replace("\0", "").splitlines()


def _until(terminal: int, shown: str, *, end: bool = False) -> str:
    """Read what is shown until a question waits for its answer, or until the end."""
    while end or not shown.endswith((": ", "] ")):
        try:
            shown += os.read(terminal, 1024).decode()
        except OSError:  # Linux's way to say that the other side is closed
            return shown
    return shown


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.parametrize(
    ("answer", "went"), [("y", True), ("YES", True), ("", False), ("n", False), ("yesterday", False)]
)
def test_only_a_yes_goes_on(answer: str, went: bool) -> None:
    """Return alone and every other word change nothing."""
    code = "try:\n asking.consent('it changes', 'again')\n print('on')\nexcept LabError as e:\n print(e)"
    shown = on_terminal(code, answer)
    assert shown == [f"it changes. Go on? [y/N] {answer}", "on" if went else "nothing was changed"]


@pytest.mark.usefixtures("nowhere")
def test_without_a_terminal_nothing_is_agreed_to() -> None:
    """A run by a timer or a pipe is refused, with the way to agree in advance."""
    with pytest.raises(LabError, match="add YES=1 to `make up STACK=home`"):
        asking.consent("stack home changes", "`make up STACK=home`")


def test_all_missing_secrets_are_asked_for_together(tmp_path: Path) -> None:
    """One question each, in one run, without an echo; a key is taken from its file; Return skips one."""
    key = tmp_path / "key"
    key.write_text("two\nlines\n")
    code = (
        f"asked = {{}}\nasking.secrets({NEEDED!r}, asked.__setitem__)\n"
        "print(json.dumps(asked))"
    )  # fmt: skip
    *questions, shown = on_terminal(code, "id=1", "a long one", "", f"@{key}")
    assert [line.partition(" (")[0].partition(": ")[0] for line in questions] == NEEDED
    assert "a long one" not in "".join(questions)
    assert json.loads(shown) == {NEEDED[0]: "id=1", NEEDED[1]: "a long one", NEEDED[3]: "two\nlines\n"}


def test_a_file_that_is_not_there_is_one_line() -> None:
    """A wrong path ends in path, fault and remedy."""
    code = "try:\n asking.secrets(['ssh:privateKey'], print)\nexcept LabError as e:\n print(e)"
    assert on_terminal(code, "@/none")[-1] == (
        "ssh:privateKey: /none: No such file or directory; name a text file that can be read"
    )


def test_what_a_stack_lacks_is_known(tmp_path: Path) -> None:
    """The example for real hosts lacks four secrets; one that is set, or in the environment, is not asked."""
    file, topology = tmp_path / "Pulumi.home.yaml", from_file(EXAMPLE)
    file.write_bytes(EXAMPLE.read_bytes())
    assert list(asking.missing(file, topology, {})) == NEEDED
    file.write_text(file.read_text().replace("config:\n", "config:\n  traefik:users: {secure: v1}\n", 1))
    there = {"PROXMOX_VE_API_TOKEN": "x"}
    assert list(asking.missing(file, topology, there)) == ["grafana:adminPassword", "ssh:privateKey"]


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("environment", "more", "wanted"),
    [
        (LOCAL, "", True),
        (LOCAL, "encryptionsalt: v1:x\n", True),
        (LOCAL | {"PULUMI_CONFIG_PASSPHRASE": ""}, "", False),
        (LOCAL | {"PULUMI_CONFIG_PASSPHRASE_FILE": "x"}, "", False),
        (LOCAL, "secretsprovider: awskms://x\n", False),
        ({"PULUMI_BACKEND_URL": "https://pulumi.example"}, "", False),
    ],
)
def test_a_passphrase_is_wanted_where_one_seals(
    tmp_path: Path, environment: dict[str, str], more: str, wanted: bool
) -> None:
    """A local state without another provider of secrets needs one; with no terminal its variable is told."""
    file = tmp_path / "Pulumi.home.yaml"
    file.write_text(more + EXAMPLE.read_text())
    if not wanted:
        assert asking.passphrase(file, environment) == {}
        return
    with pytest.raises(LabError) as told:
        asking.passphrase(file, environment)
    assert str(told.value) == (
        "Pulumi.home.yaml: its secrets are sealed by a passphrase; export PULUMI_CONFIG_PASSPHRASE"
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("one", "one"), "{'PULUMI_CONFIG_PASSPHRASE': 'one'}"),
        (("one", "two"), "Pulumi.home.yaml: the passphrases differ; nothing was changed"),
    ],
)
def test_a_new_passphrase_is_typed_twice(tmp_path: Path, typed: tuple[str, str], said: str) -> None:
    """A slip would seal the secrets for good, so the first passphrase of a stack is asked for twice."""
    file = tmp_path / "Pulumi.home.yaml"
    file.write_bytes(EXAMPLE.read_bytes())
    code = f"try:\n print(asking.passphrase(Path({str(file)!r}), {LOCAL}))\nexcept LabError as e:\n print(e)"
    assert on_terminal(code, *typed)[-1] == said


class Recorded:
    """A stack of real hosts on which every step succeeds and is written down."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def __getattr__(self, step: str) -> Callable[..., Any]:
        """Return a step that succeeds; `outputs` and `last_config` are empty."""

        def taken(*_: object) -> Any:
            self.steps.append(step)
            return {} if step in {"outputs", "last_config"} else 0

        return taken


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Return the stack `home` of the example, in the place of Pulumi."""
    stack, file = Recorded(), tmp_path / "Pulumi.home.yaml"
    file.write_bytes(EXAMPLE.read_bytes())
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(toolchain, "ensure", lambda _: None)
    for name in ("_selected", "_with_secrets"):
        monkeypatch.setattr(command, name, lambda *_: stack)
    for name in ("_preflight", "changes"):
        monkeypatch.setattr(command, name, lambda *_: None)
    return stack


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(("word", "step"), [("up", "up"), ("down", "destroy")])
def test_real_hosts_are_changed_after_consent_alone(
    home: Recorded, capsys: pytest.CaptureFixture[str], word: str, step: str
) -> None:
    """Without a terminal `make up` shows its plan and stops, and so does `make down`; YES=1 goes on."""
    assert command.main([word, "--stack", "home"]) == 1
    assert f"add YES=1 to `make {word} STACK=home`" in capsys.readouterr().err
    assert (step in home.steps, "preview" in home.steps) == (False, word == "up")
    with contextlib.suppress(KeyError):  # the outputs of no stack are what `up` prints last
        command.main([word, "--stack", "home", "--yes"])
    assert step in home.steps


@pytest.mark.usefixtures("nowhere", "home")
def test_what_stays_on_is_said_before_all_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    """`make down` says that Proxmox's firewall stays on before it asks for consent."""
    assert command.main(["down", "--stack", "home"]) == 1
    told = capsys.readouterr()
    assert "switch it off before, unless you need it: `pvesh set /cluster/firewall/options" in told.out
    assert "nothing was changed" in told.err


@pytest.mark.parametrize(
    ("given", "agreed"), [("YES=1", True), ("YES=no", False), ("YES=0", False), ("", False)]
)
def test_only_a_yes_of_make_agrees(given: str, agreed: bool) -> None:
    """`YES=1` is handed on, and a word that says no is not."""
    words = [word for word in ("make", "--dry-run", "up", "STACK=home", "READY=", given) if word]
    done = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True)
    assert ("--yes" in done.stdout) == agreed
