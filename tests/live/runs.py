"""Runs of `make up` that are stopped midway: killed, or interrupted as by Ctrl-C."""

import contextlib
import os
import signal
import subprocess
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


def read_until(run: Run, sign: str) -> str:
    """Return the run's output up to `sign`, which must appear."""
    assert run.stdout
    said = ""
    for line in run.stdout:
        said += line
        if sign in line:
            return said
    raise AssertionError(f"{sign!r} was never said:\n{said[-3000:]}")


def kill_up_at(sign: str) -> None:
    """Start `make up`, wait until it says `sign`, and kill all of it at once, Pulumi included."""
    with started_up() as run:
        try:
            read_until(run, sign)
        finally:
            groups = {run.pid, *engines_below(run.pid)}
            for group in groups:
                os.killpg(group, signal.SIGKILL)
    eventually(f"the end of process groups {groups}", lambda: not any(map(processes_of, groups)))


def engines_below(root: int) -> list[int]:
    """Return the process groups of Pulumi's engine among the descendants of a process."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            pid = int(stat.parent.name)
            parents[pid], names[pid] = int(rest.split()[1]), head.partition("(")[2]
    below, found = {root}, []
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
        found += [pid for pid in more if names[pid] == "pulumi" and os.getpgid(pid) == pid]
    return found


def processes_of(group: int) -> list[int]:
    """Return the ids of a process group's living processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(owner) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found
