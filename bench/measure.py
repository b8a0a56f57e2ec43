"""Seconds and memory of one command, including the processes that it starts.

Note: memory is the proportional set size (pages that two processes share count once) of all processes of the
command's session, sampled five times a second; a peak between two samples is missed.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.2
"""Seconds between two samples."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The cost of one command; `memory` is the peak in MiB."""

    seconds: float
    memory: float


def measured(words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Run:
    """Run a command and return its cost; raises SystemExit with its output if it fails."""
    started = time.perf_counter()
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        peak = [0.0]
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, ended, peak))
        sampler.start()
        said, _ = process.communicate()
        took = time.perf_counter() - started
        ended.set()
        sampler.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(words[:3])} failed:\n{said[-3000:]}")
    return Run(seconds=took, memory=peak[0])


def best(runs: Sequence[Run]) -> Run:
    """Return the fastest run's seconds and the largest memory."""
    return Run(seconds=min(run.seconds for run in runs), memory=max(run.memory for run in runs))


def _sample(session: int, ended: threading.Event, peak: list[float]) -> None:
    while not ended.wait(_EVERY):
        peak[0] = max(peak[0], sum(_proportional(process) for process in _members(session)) / 1024)


def _members(session: int) -> Iterator[Path]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                yield folder


def _proportional(process: Path) -> int:
    """Return a process's proportional set size in KiB."""
    with contextlib.suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
