"""Identifies daemons that outlive their starting command, by process id and start time, and ends them.

Also replaces files atomically. Each part of the lab starts its own daemons.
Note: process ids are reused, so a recorded id alone is not proof; `end` signals through a pidfd.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the file atomically, so that neither a reader nor a kill sees part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        out.write(text)
    draft.replace(path)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, distinguishable from a later one with the same id."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/<pid>/stat

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process with this id; None where none runs or it is a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else cls(pid=pid, started=int(fields[19]))

    @classmethod
    def recorded(cls, path: Path) -> Process | None:
        """Return the process that `record` wrote to this file; None where it no longer runs."""
        try:
            pid, started = (int(word) for word in path.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        known = cls(pid=pid, started=started)
        return known if known.alive() else None

    def record(self, path: Path) -> None:
        """Write the process to a file for `recorded`."""
        write(path, f"{self.pid} {self.started}\n")

    def alive(self) -> bool:
        """Whether this process, and not a later one with its id, still runs."""
        return Process.of(self.pid) == self

    def end(self, grace: float = 5.0) -> None:
        """Send SIGTERM, then SIGKILL after `grace` seconds."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The pidfd pins the process, so the id can't be reused after this check.
            if not self.alive():
                return
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], grace)[0]:
                    return
        except ProcessLookupError:
            return
        finally:
            os.close(handle)
        raise LabError(f"process {self.pid}: still there {grace:g} s after SIGKILL; see its state in ps")
