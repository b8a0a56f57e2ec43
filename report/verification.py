"""The last run of the live probe, read from the file that `python -m commands verify --json` wrote.

The file does not hold the stack's resources, so the page can't say whether the run still applies and shows
the file's day instead. A cell of the probe is one address and port, so a cell of the matrix has several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from report.errors import ReportError


class Probe(BaseModel):
    """One question and its answer, in the terms of docs/verify.md."""

    source: str
    destination: str
    what: str
    where: str
    expected: str
    got: str
    verdict: Literal["agrees", "disagrees", "inconclusive", "free"]
    cause: str
    control: str


class Summary(BaseModel):
    """An earlier run: when its file was written, how long it took, and its cells by verdict."""

    when: str
    seconds: float
    counts: dict[str, int]


class _File(BaseModel):
    version: Literal[1] = Field(alias="schemaVersion")
    stack: str
    seconds: float
    left_out: list[str] = Field(alias="leftOut")
    notes: list[str] = []
    changes: list[str] = []
    earlier: list[Summary] = []
    cells: list[Probe]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A run; `cells` belong to pairs of the matrix, routes to the service's; `others` (newcomers) to none.

    `notes` are about the host and about what else runs on it; `changes` are new answers.
    """

    when: str
    seconds: float
    counts: Mapping[str, int]
    left_out: tuple[str, ...]
    cells: Mapping[tuple[str, str], list[Probe]]
    others: tuple[Probe, ...]
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    earlier: tuple[Summary, ...] = ()


def read(path: Path, stack: str, names: Container[str]) -> Verification:
    """Return a run of this stack from a file; raises ReportError if the file holds none."""
    try:
        file = _File.model_validate_json(path.read_bytes())
        written = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; name a file that `make verify` wrote.") from None
    except ValidationError:
        raise ReportError(f"{path}: is no run of the live probe; write one with `make verify`.") from None
    if file.stack != stack:
        raise ReportError(f"{path}: is of another stack; name a run of {stack}.")
    cells, others = defaultdict(list), []
    counts = dict.fromkeys(("agrees", "disagrees", "inconclusive", "free"), 0)
    for probe in file.cells:
        counts[probe.verdict] += 1
        routed = probe.what.startswith("http")  # a page of a service, by its host name
        if (probe.where or routed) and probe.source in names and probe.destination in names:
            cells[probe.source, probe.destination].append(probe)
        else:
            others.append(probe)
    return Verification(
        when=f"{written:%Y-%m-%d %H:%M} UTC",
        seconds=file.seconds,
        counts=counts,
        left_out=tuple(file.left_out),
        cells=cells,
        others=tuple(others),
        notes=tuple(file.notes),
        changes=tuple(file.changes),
        earlier=tuple(file.earlier),
    )
