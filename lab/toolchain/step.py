"""Runs one long step: shows progress, limits its time, keeps its output, and words its failure.

Note: a step ends with every process that it started, so that no build goes on after an interrupted run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.process import FULL, tail

Report = Callable[[str], None]

AGAIN = "run `make tools` again: finished pieces are kept, and a build goes on where it stopped"
# Lowest priority, and killed when this process ends.
NICE = ("setpriv", "--pdeathsig", "KILL", "nice")
NEED = "a build from nothing takes 7 GB, most of it in Go's own caches"
TELL_SECONDS = 10
LIMIT_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command called `what`; killed after an hour, or when `watched` stops growing for `patience` s."""

    what: str
    report: Report
    watched: Path | None = None
    patience: float = LIMIT_SECONDS

    def run(
        self, command: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        """Run the command to its end; raises LabError with the end of its output when it fails."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            child = subprocess.Popen(
                [*NICE, *command],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                self._wait(child)
            finally:
                if sys.stdout.isatty():
                    print("\r\033[K", end="", flush=True)
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        if child.returncode:
            raise self._fault(f"it ended with status {child.returncode}")

    @property
    def _log(self) -> Path:
        return paths.CACHE / "logs" / f"{self.what.replace(' ', '-')}.log"

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        began = told = grown = time.monotonic()
        size = 0
        while True:
            try:
                child.wait(timeout=1)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            else:
                return
            if sys.stdout.isatty():
                print(f"\r\033[K  {self.what}: {now - began:.0f} s", end="", flush=True)
            elif now - told >= TELL_SECONDS:
                told = now
                self.report(f"{self.what} … {now - began:.0f} s")
            if self.watched and (held := _size(self.watched)) > size:
                size, grown = held, now
            if now - grown >= self.patience or now - began >= LIMIT_SECONDS:
                raise self._fault(f"no end after {now - began:.0f} s")

    def _fault(self, why: str) -> LabError:
        said = self._log.read_text(errors="replace")
        if FULL in said.lower():
            return full(self.what)
        return LabError(f"{self.what}: {why}; the end of {self._log}:\n{tail(said)}\n{AGAIN}")


def full(what: str) -> LabError:
    """Return the error for a full disk, with the room left where a build writes."""
    places = (paths.CACHE, Path(tempfile.gettempdir()), Path.home())
    room = ", ".join(f"{place} {shutil.disk_usage(_there(place)).free // 2**20} MB" for place in places)
    return LabError(f"{what}: no space left on the disk ({room}); free some ({NEED}) and {AGAIN}")


def _there(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.exists())


def _size(folder: Path) -> int:
    """Return the bytes below a folder whose files may come and go."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total
