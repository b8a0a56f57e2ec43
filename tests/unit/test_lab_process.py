"""An interrupt reaches the program once, and the command waits; commands on one stack take turns."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import __main__ as command
from lab import lock, paths
from lab.errors import LabError
from lab.process import show

PROJECT = Path(__file__).resolve().parents[2]
PULUMI = """\
import os, signal
heard = []
def hear(*_):
    heard.append(1)
    print("heard", flush=True)
    if len(heard) == int(os.environ["ENOUGH"]):
        print("ended in order", flush=True)
        os._exit(3)
signal.signal(signal.SIGINT, hear)
signal.alarm(60)
print("working", flush=True)
while True:
    signal.pause()
"""
PARENT = """\
import sys
from lab.process import Interrupted, show
try:
    print("status", show([sys.executable, "-c", sys.argv[1]]))
except Interrupted:
    print("interrupted")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_is_handed_on(number: signal.Signals, times: int) -> None:
    """Each Ctrl-C, SIGTERM or hang-up is one SIGINT for the program, which ends before the command."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT, PULUMI],
        cwd=PROJECT,
        env={**os.environ, "ENOUGH": str(times)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        said = []
        for line in parent.stdout:
            said.append(line.strip())
            if said[-1] == "working" or (said[-1] == "heard" and said.count("heard") < times):
                parent.send_signal(number)
    assert said == ["working", *["heard"] * times, "ended in order", "interrupted"]


def test_a_program_that_ends_by_itself() -> None:
    """Without an interrupt the exit status is the program's, and the signal handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    assert show(["sh", "-c", "exit 4"]) == 4
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_program_outlives_a_fault(tmp_path: Path) -> None:
    """If its progress can't be printed, for lack of a terminal, the program is interrupted and waited for."""
    log = tmp_path / "log"

    def look() -> None:
        if "working" in log.read_text():
            raise BrokenPipeError

    with log.open("wb") as file, pytest.raises(BrokenPipeError):
        show([sys.executable, "-c", PULUMI], env={"ENOUGH": "1"}, log=file, meanwhile=look)
    assert log.read_text().splitlines() == ["working", "heard", "ended in order"]


def test_a_second_command_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second command names the process that it waits for, and gives up in time; other stacks are free."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    said: list[str] = []
    with lock.held("stack dev", said.append), lock.held("stack home", said.append):
        assert said == []
        with (
            pytest.raises(LabError, match=rf"^stack dev: process {os.getpid()} still works on it; wait for"),
            lock.held("stack dev", said.append, seconds=0.1),
        ):
            pass
    assert said == [f"stack dev: waiting for process {os.getpid()}, which works on it"]
    with lock.held("stack dev", said.append, seconds=0.1):
        assert len(said) == 1


def test_stacks_of_the_lab_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All stacks that the lab serves have one lock; a stack with hosts of its own has another."""
    monkeypatch.setattr(command, "serves", lambda stack: stack in {"dev", "seed"})
    monkeypatch.setattr(lock, "held", lambda what, _report: what)
    locks = [str(command._alone(stack)) for stack in ("dev", "seed", "home")]
    assert locks == ["the lab", "the lab", "stack home"]


def test_an_interrupted_command_is_silent(tmp_path: Path) -> None:
    """Ctrl-C ends `python -m commands` with status 130 and no traceback."""
    # A shell's background job ignores the signal, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = tmp_path / "Pulumi.x.yaml"
    os.mkfifo(file)
    words = [sys.executable, "-m", "commands", "judge", str(file)]
    with (
        subprocess.Popen(words, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as child,
        file.open("w"),  # opens as soon as the command reads the file
    ):
        child.send_signal(signal.SIGINT)
        assert (child.communicate()[1], child.returncode) == ("", 130)


def test_who_is_waited_for_is_named_by_its_command() -> None:
    """Another `make down` in the way is told as such, a process without such a word by its id alone."""
    for words, said in ((["down", "--stack", "dev"], " (make down)"), ([], "")):
        told: list[str] = ["sh", "-c", "echo; read line", "lab", *words]
        with subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout
            other.stdout.readline()  # a process that is just being started has no words yet
            assert lock._named(str(other.pid)) == f"{other.pid}{said}"
    assert lock._named("none") == "none"
