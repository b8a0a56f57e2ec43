"""Runs one program to its end and reports its failure.

`run` collects the output within a time limit; `show` prints or logs it as it comes and forwards interrupts.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from lab.errors import LabError

TAIL = 15
FULL = "no space left on device"
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def tail(text: str, lines: int = TAIL) -> str:
    """Return the last `lines` lines of a program's output, indented for a message."""
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])


def run(
    argv: Sequence[str | Path],
    what: str,
    *,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Return the output of `argv`; `env` adds to the environment, `timeout` is in seconds.

    Raises LabError that begins with `what`: the program is missing, fails, fills the disk or takes too long.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout,
            env={**os.environ, **(env or {})}, cwd=cwd, input=stdin,
        )  # fmt: skip
    except FileNotFoundError as gone:
        raise LabError(f"{what}: {gone.filename} is missing; install it") from gone
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{what}: no end after {timeout:.0f} s; run it again") from late
    if done.returncode:
        said = done.stderr + done.stdout if done.stderr else done.stdout
        if FULL in said.lower():
            raise LabError(f"{what}: no space left on the disk; free some and run it again")
        raise LabError(f"{what}: `{command[0]}` ended with {done.returncode}; it said:\n{tail(said)}")
    return done.stdout


class Interrupted(Exception):  # noqa: N818  # no error: the user wished it
    """The user interrupted a program, which has since ended."""


def show(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: IO[bytes] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Return the exit status of a program that may be interrupted; `env` adds to the environment.

    Its output goes to `log`, else to the user. `meanwhile` is called five times a second until it ends.
    Ctrl-C, SIGTERM and SIGHUP reach the program as one SIGINT each, so that it can shut down in order. After
    its exit `Interrupted` is raised. A second Ctrl-C is forwarded as well: Pulumi then stops at once.
    """
    heard: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _frame: object) -> None:
        heard.append(number)
        for child in running:
            child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, hand_on) for number in _INTERRUPTS}
    try:
        # A separate process group: otherwise the terminal's Ctrl-C reaches the program a second time.
        child = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, process_group=0,
            env={**os.environ, **(env or {})}, cwd=cwd, stdout=log, stderr=log,
        )  # fmt: skip
        running.append(child)
        if heard:
            child.send_signal(signal.SIGINT)
        while (status := _ended(child)) is None:
            meanwhile()
    except BaseException:
        # The terminal may be gone, or the pipe that this command prints to; the program must not outlive it.
        for child in running:
            child.send_signal(signal.SIGINT)
            child.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Interrupted
    return status


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """Return the exit status of a process, or None if it still runs after a fifth of a second."""
    try:
        return child.wait(0.2)
    except subprocess.TimeoutExpired:
        return None
