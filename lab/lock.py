"""Locks a stack or the lab for one command at a time; a second one names the process that it waits for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import paths
from lab.errors import LabError

SECONDS = 180
"""How long a second command waits for the first."""


@contextlib.contextmanager
def held(what: str, report: Callable[[str], None], seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lock of `stack dev` or `the lab`; raises LabError naming its holder after `seconds`.

    The kernel releases the lock when the process ends, so no lock is ever stale.
    """
    paths.STATE.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(
        paths.STATE / f"{what.rpartition(' ')[2]}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        _wait(descriptor, what, report, seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, what: str, report: Callable[[str], None], seconds: float) -> None:
    limit, told = time.monotonic() + seconds, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode() or "that has just begun"
        else:
            return
        if time.monotonic() > limit:
            raise LabError(f"{what}: process {_named(owner)} still works on it; wait for it, or end it")
        if not told:
            report(f"{what}: waiting for process {_named(owner)}, which works on it")
            told = True
        time.sleep(0.2)


def _named(owner: str) -> str:
    """Return a process id with the command of `lab` that the process runs, as a person wrote it."""
    try:
        words = Path(f"/proc/{owner}/cmdline").read_text(encoding="utf-8").split("\0")
    except OSError:
        return owner
    commands = [word for word in words if word in {"up", "down"}]
    return f"{owner} (make {commands[0]})" if commands else owner
