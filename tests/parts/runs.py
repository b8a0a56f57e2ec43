"""Runs of `make up` that are stopped midway: killed, or interrupted as by Ctrl-C."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lab import paths
from tests.live.site import PROJECT, eventually

Run = subprocess.Popen[bytes]
OUTPUT = paths.STATE / "make-up.out"
PULUMIS = paths.STATE / "log/dev-up.log"


def started_up() -> Run:
    """Start `make up` in a process group of its own, with its output in a file."""
    PULUMIS.unlink(missing_ok=True)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with OUTPUT.open("wb") as output:
        return subprocess.Popen(
            ["make", "up"], cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def said() -> str:
    """Return what the last run has said so far, and what its `pulumi up` has."""
    return "".join(file.read_text(errors="replace") for file in (OUTPUT, PULUMIS) if file.exists())


def wait_until(run: Run, pattern: str) -> None:
    """Wait until the run or its `pulumi up` says the pattern, which must come before the run's end."""
    while not re.search(pattern, said()):
        assert run.poll() is None, f"{pattern!r} was never said:\n{said()[-3000:]}"
        time.sleep(0.02)


def kill_up_at(pattern: str) -> None:
    """Start `make up`, wait until it says the pattern, and kill it and Pulumi's process group at once.

    Every Pulumi is the run's, since the namespace of processes is the test's own.
    """
    with started_up() as run:
        try:
            wait_until(run, pattern)
        finally:
            groups = {run.pid, *(group for name, group in _processes() if name == "pulumi")}
            for group in groups:
                os.killpg(group, signal.SIGKILL)
    eventually(f"the end of {groups}", lambda: not any(group in groups for _, group in _processes()))


def _processes() -> Iterator[tuple[str, int]]:
    """Yield the name and the process group of each living process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            state, _, group = rest.split()[:3]
            if state != "Z":
                yield head.partition("(")[2], int(group)
