"""Runs of `make up` that are stopped midway: killed, or interrupted as by Ctrl-C."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.live.site import PROJECT, eventually

Run = subprocess.Popen[str]


def started_up() -> Run:
    """Start `make up` in a process group of its own."""
    return subprocess.Popen(
        ["make", "up"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(run: Run, pattern: str) -> str:
    """Return the run's output up to the first line with the pattern, which must appear."""
    assert run.stdout
    said = ""
    for line in run.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"{pattern!r} was never said:\n{said[-3000:]}")


def kill_up_at(pattern: str) -> None:
    """Start `make up`, wait until it says the pattern, and kill it and Pulumi's process group at once.

    Every Pulumi is the run's, since the namespace of processes is the test's own.
    """
    with started_up() as run:
        try:
            read_until(run, pattern)
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
