"""Processor time and memory of the commands that people wait for, on the dev stack and on large sites.

Each function yields lines of Markdown.
Note: processor time of one process, the fastest of some runs; memory is the largest resident size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.sites import keys
from topology.project import PROJECT

_RUNS = 3
_KNOWN = (0, 1)
"""Exit statuses of a command that answered."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command on a site of some services beside the dev stack's; limits in seconds and MiB, if any."""

    words: tuple[str, ...]
    services: int = 0
    seconds: float | None = None
    memory: int = 1024


_LARGE = 5000
ASKED = (
    Asked(words=("rules",), seconds=0.3),
    Asked(words=("explain", "{file}", "internet", "loki:3100/tcp"), seconds=0.7),
    Asked(words=("judge", "{file}"), seconds=0.7),
    Asked(words=("judge", "{file}"), services=1000, seconds=3.0, memory=200),
    *(
        Asked(words=words, services=_LARGE)
        for words in (
            ("judge", "{file}"),
            ("list", "{file}"),
            ("list", "--json", "{file}"),
            ("describe", "{file}"),
            ("changes", "{file}", "{file}"),
            ("report", "{file}", "--output", "{folder}/report.html"),
        )
    ),
)


def commands() -> Iterator[str]:
    """Yield the cost of each command; raises SystemExit for one that fails."""
    yield "## The commands"
    yield ""
    yield f"Processor time of one process, the fastest of {_RUNS} runs on small sites, and its peak memory."
    yield ""
    yield "| command | services besides the dev stack's | time | limit | memory | limit |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = {each.services: stack_file(folder, each.services) for each in ASKED}
        for each in ASKED:
            words = [word.format(file=files[each.services], folder=folder) for word in each.words]
            runs = [cost(words, folder) for _ in range(1 if each.services else _RUNS)]
            seconds, memory = min(run[0] for run in runs), max(run[1] for run in runs)
            yield (
                f"| `{each.words[0]}{' --json' if '--json' in each.words else ''}` | {each.services:,} | "
                f"{seconds:.2f} s | {_limit(each.seconds, seconds, 's')} | "
                f"{memory:.0f} MiB | {_limit(each.memory, memory, 'MiB')} |"
            )


def _limit(limit: float | None, found: float, unit: str) -> str:
    return f"{limit} {unit}: {'met' if found <= limit else 'missed'}" if limit else "-"


def stack_file(folder: Path, services: int) -> Path:
    """Write the dev stack with that many services added; returns its file."""
    file = folder / f"Pulumi.n{services}.yaml"
    text = (PROJECT / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    if services:
        document = yaml.safe_load(text)
        nothing = {"certificate": os.devnull, "key": os.devnull}
        added = {f"homelab-network:{key}": value for key, value in keys(services).items()}
        document["config"] |= added | {"homelab-network:tls": nothing}
        text = yaml.safe_dump(document, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    return file


def cost(words: Sequence[str], compiled: Path) -> tuple[float, float]:
    """Run one command; returns seconds of processor time and MiB of memory, or raises SystemExit.

    Compiled files are kept in a folder, as for a user, whose second run finds them.
    """
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-m", "commands", *words],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=said,
        ) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode not in _KNOWN:
            raise SystemExit(f"commands {words[0]} failed:\n{said.read().decode()[-3000:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
