"""Running one program to its end, within a bound, and naming what went wrong when it fails.

Owns no long-lived process: the engine and the Proxmox lab keep their own. Output is collected, not shown, so
a caller that makes people wait says so itself.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

TAIL = 15
FULL = "no space left on device"


def tail(text: str, lines: int = TAIL) -> str:
    """Return the last `lines` lines of a program's output, indented under a message."""
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])


def run(
    argv: Sequence[str | Path],
    what: str,
    *,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Return what `argv` prints; `env` adds to the environment, `timeout` is in seconds.

    Raises LabError that begins with `what`: the program is missing, fails, fills the disk or takes too long.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout,
            env={**os.environ, **(env or {})}, cwd=cwd, input=stdin,
        )  # fmt: skip
    except FileNotFoundError as gone:
        raise LabError(f"{what}: {gone.filename} is missing; install it") from gone
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{what}: no end after {timeout:.0f} s; run it again") from late
    if done.returncode:
        said = done.stderr + done.stdout if done.stderr else done.stdout
        if FULL in said.lower():
            raise LabError(f"{what}: no space left on the disk; free some and run it again")
        raise LabError(f"{what}: `{command[0]}` ended with {done.returncode}; it said:\n{tail(said)}")
    return done.stdout
