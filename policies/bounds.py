"""Bounds what judging may cost, so that no input stalls the check of a pull request.

Note: the time is the process's own, so a busy machine takes none of it. A single call of a library in C, such
as the parsing of a file, is not interrupted; the bound on memory bounds those.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

SECONDS = 120.0
"""Processor time; 5,000 services take about 25 s."""
MEBIBYTES = 2048
"""Memory for data; 5,000 services take about 400 MiB."""


class GaveUpError(BaseException):
    """The time is spent. No handler of a rule's own errors catches this; `rule` is the one that ran."""

    rule = ""

    def __str__(self) -> str:
        at = f"in the rule {self.rule}" if self.rule else "outside the rules"
        return gave_up(f"{SECONDS:g} s of processor time, and gave up {at}")


def gave_up(what: str) -> str:
    """Return the violation of an evaluation that took more than a bound."""
    return (
        f"evaluation-ends: stack: it took more than {what}, so nothing about the stack is proved\n"
        "  Make the stack smaller, or report the input that takes so long."
    )


@contextmanager
def bounded() -> Iterator[None]:
    """Raise GaveUpError or MemoryError in the body once a bound is passed; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    data = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGPROF, _give_up)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (_least(MEBIBYTES * 2**20, data[0]), data[1]))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_DATA, data)


def _least(wanted: int, limit: int) -> int:
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit)


def _give_up(*_: object) -> Never:
    raise GaveUpError
