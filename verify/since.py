"""The runs that a file of the live probe holds, and what the run that follows them changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from verify.verdicts import ProbeFinding, Verdict

_KEPT: Final = 50
"""How many earlier runs a file keeps the summaries of."""
_SHOWN: Final = 8
"""How many changed answers a terminal shows."""
_WRONG: Final = (Verdict.DISAGREES, Verdict.INCONCLUSIVE)

_Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The runs that a file holds: a summary of each, the last one's answers by question, and its end."""

    when: str = ""
    summaries: Sequence[Mapping[str, Any]] = ()
    answers: Mapping[_Key, str] = field(default_factory=dict)

    def changes(self, findings: Sequence[ProbeFinding]) -> list[str]:
        """Return a line for each question with another answer than in the last run, wrong answers first."""
        lines: list[tuple[bool, str]] = []
        for finding in findings:
            cell = asdict(finding)
            now, before = _answer(cell), self.answers.get(_key(cell))
            if before not in (None, now):
                at = f" at {finding.where}" if finding.where else ""
                wrong = finding.verdict in _WRONG
                lines.append((not wrong, f"{'✗ ' if wrong else ''}{finding.what}{at}: {now}, was {before}"))
        return [line for _, line in sorted(lines, key=lambda each: each[0])]

    def told(self, findings: Sequence[ProbeFinding], file: Path) -> Iterator[str]:
        """Yield what differs from the last run in a few lines, none without one; `file` will hold all."""
        if not self.answers:
            return
        asked = {_key(asdict(finding)) for finding in findings}
        changes = self.changes(findings)
        new, gone = len(asked - self.answers.keys()), len(self.answers.keys() - asked)
        counted = [
            f"{what} {number}"
            for what, number in (("answers changed", len(changes)), ("new", new), ("no longer asked", gone))
            if number
        ]
        yield f"since the run of {self.when}: {', '.join(counted) or 'every answer is the same'}"
        yield from (f"  {line}" for line in changes[:_SHOWN])
        if len(changes) > _SHOWN:
            yield f"  and {len(changes) - _SHOWN} more, in {file}"


def read(file: Path, stack: str) -> Earlier:
    """Return the runs of a stack in a file that `verify.report.as_json` made; none from other files."""
    try:
        told = json.loads(file.read_bytes())
        when = f"{datetime.fromtimestamp(file.stat().st_mtime, tz=UTC):%Y-%m-%d %H:%M} UTC"
        its = {"when": when, "seconds": told["seconds"], "counts": told["counts"]}
        answers = {_key(cell): _answer(cell) for cell in told["cells"]}
        summaries = [*told.get("earlier", ()), its][-_KEPT:]
        owner = told["stack"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Earlier()
    return Earlier(when=when, summaries=summaries, answers=answers) if owner == stack else Earlier()


def _key(cell: Mapping[str, Any]) -> _Key:
    return cell["source"], cell["what"], cell["where"]


def _answer(cell: Mapping[str, Any]) -> str:
    """Return an answer without its circumstances: a denial is one, refused or silent."""
    if cell["verdict"] == Verdict.INCONCLUSIVE:
        return "inconclusive"
    return str(cell["got"].partition(" (")[0])
