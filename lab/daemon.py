"""Daemons that outlive the command which started them: told apart by id *and* start time, ended by handle.

Owns a process's identity and the one-step replacement of a file. It deliberately starts nothing: each part of
the lab starts its own. What a reader would get wrong: ids are reused, so a recorded id alone proves nothing,
and `end` signals through a pidfd, never by name.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the file in one step, so that no reader and no kill ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        out.write(text)
    draft.replace(path)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that can be told from a later one with the same id."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/<pid>/stat

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that runs under this id; None when none does, or only an unreaped one."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else cls(pid=pid, started=int(fields[19]))

    @classmethod
    def recorded(cls, path: Path) -> Process | None:
        """Return the living process that `record` wrote to this file."""
        try:
            pid, started = (int(word) for word in path.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        known = cls(pid=pid, started=started)
        return known if known.alive() else None

    def record(self, path: Path) -> None:
        """Remember the process in a file for `recorded`."""
        write(path, f"{self.pid} {self.started}\n")

    def alive(self) -> bool:
        """Tell whether this very process still runs."""
        return Process.of(self.pid) == self

    def end(self, grace: float = 5.0) -> None:
        """Ask the process to stop, and after `grace` seconds make it."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle pins the process, so the id can't change hands after this check.
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
