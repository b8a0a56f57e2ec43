"""Locks a stack for one command at a time; a second command waits and names the process it waits for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from lab import paths
from lab.errors import LabError

SECONDS = 180
"""How long a second command waits for the first."""


@contextlib.contextmanager
def held(stack: str, report: Callable[[str], None], seconds: float = SECONDS) -> Iterator[None]:
    """Hold the stack's lock; raises LabError naming the process that still holds it after `seconds`.

    The kernel releases the lock when the process ends, so no lock is ever stale.
    """
    paths.STATE.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(paths.STATE / f"{stack}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait(descriptor, stack, report, seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, stack: str, report: Callable[[str], None], seconds: float) -> None:
    limit, told = time.monotonic() + seconds, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode() or "that has just begun"
        else:
            return
        if time.monotonic() > limit:
            raise LabError(f"stack {stack}: process {owner} still works on it; wait for it, or end it")
        if not told:
            report(f"stack {stack}: waiting for process {owner}, which works on it")
            told = True
        time.sleep(0.2)
