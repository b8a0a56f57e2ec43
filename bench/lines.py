"""How many lines a terminal shows of the commands of the first hour; brings the lab up and takes it down."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from bench.up import lab
from lab import paths

SCREEN: Final = 50
"""Lines of a screen."""
_BEFORE: Final = {"first": 960, "preview": 370}
"""Lines counted while these commands still passed Pulumi's own output on."""
_MAKE: Final = ("make", "--no-print-directory", "STACK=dev")
_BAD: Final = "    - traefik -> loki:3100/tcp\n"


def printed() -> Iterator[str]:
    """Yield the lines that a first and a second `make up`, a preview and a refusal print on a terminal."""
    with lab():
        rows = [
            ("a first `make up`", _BEFORE["first"], shown((*_MAKE, "up"))),
            ("a second `make up`, which changes nothing", None, shown((*_MAKE, "up"))),
        ]
    rows += [
        ("`make preview` of a stack that is not up", _BEFORE["preview"], shown((*_MAKE, "preview"))),
        ("a refused change", None, refusal()),
    ]
    yield "## Lines on a terminal"
    yield ""
    yield (
        "The dev stack, with the tool chain built before; a live line counts once. Target of a first `up`: "
        f"two screens of {SCREEN} lines; {'met' if rows[0][2] <= 2 * SCREEN else 'missed'}."
    )
    yield ""
    yield "| what | before | lines |"
    yield "|---|---|---|"
    for what, before, lines in rows:
        yield f"| {what} | {before or ''} | {lines} |"


def refusal() -> int:
    """Return the lines of the README's refused change."""
    file = paths.PROJECT / "Pulumi.bench-refused.yaml"
    text = (paths.PROJECT / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    first = "    - traefik -> grafana:3000/tcp\n"
    file.write_text(text.replace(first, first + _BAD, 1), encoding="utf-8")
    try:
        return shown((sys.executable, "-m", "commands", "judge", str(file)))
    finally:
        file.unlink()


def shown(words: Sequence[str]) -> int:
    """Return how many lines a terminal shows of a command; what is written over a line is that line."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, cwd=paths.PROJECT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs):
        os.close(theirs)
        said = b"".join(_chunks(ours))
    os.close(ours)
    return said.count(b"\n")


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: the last writer is gone
            return
        if not chunk:
            return
        yield chunk
