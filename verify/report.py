"""The output of a run: the matrix, a line for each disagreement, JSON, JUnit and metrics.

Note: a square of the matrix stands for all cells of one pair and shows the worst of them; the counts below it
are of cells.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from xml.etree import ElementTree as ET

from verify.expect import Expected
from verify.since import Earlier
from verify.verdicts import ProbeFinding, Verdict

SCHEMA_VERSION = 1
_LEGEND = "● possible  ◐ through the ingress  · denied  ○ possible, not judged  ✗ disagrees  ? inconclusive"
"""The signs that the report page has for the same things."""
_COUNTED = {
    Verdict.AGREES: "as declared",
    Verdict.DISAGREES: "not as declared",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.FREE: "not judged",
}
_TOGETHER = 4
"""From how many disagreements on a cause is told once, with its places below it."""


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """One finished run.

    `left_out` lists what was not asked, and why; `pairs` counts those compared with the proof; `notes` name
    what enforces a result if it is not the expected mechanism.
    """

    stack: str
    seconds: float
    findings: Sequence[ProbeFinding]
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    pairs: int = 0
    published: Mapping[str, str] = field(default_factory=dict)
    """Docker-SRV's published ports as `docker-srv:443/tcp` -> the service that answers there."""

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of cells by verdict."""
        counted = Counter(finding.verdict for finding in self.findings)
        return {str(verdict): counted[verdict] for verdict in Verdict}

    @property
    def wrong(self) -> list[ProbeFinding]:
        """Findings that disagree or are inconclusive."""
        return [f for f in self.findings if f.verdict in {Verdict.DISAGREES, Verdict.INCONCLUSIVE}]

    @property
    def good(self) -> bool:
        """Whether there are findings and none of them is wrong."""
        return bool(self.findings) and not self.wrong


def text(report: ProbeReport) -> str:
    """Return the matrix, the disagreements and the counts as text."""
    pairs: dict[tuple[str, str], list[ProbeFinding]] = {}
    for finding in report.findings:
        answers = report.published.get(finding.what.partition(" -> ")[2], finding.destination)
        if finding.where or (answers and answers != finding.source):
            pairs.setdefault((finding.source, answers), []).append(finding)
    sources = list(dict.fromkeys(source for source, _ in pairs))
    destinations = list(dict.fromkeys(destination for _, destination in pairs))
    width = max((len(name) for name in (*sources, *destinations)), default=0)
    lines = [f"Who reaches whom, as it is (rows: from; columns: to, by number)   {_LEGEND}", ""]
    numbers = {name: f"{number}" for number, name in enumerate(destinations, 1)}
    lines += [" " * (width + 5) + "".join(f"{number:>3}" for number in numbers.values())]
    for name in dict.fromkeys((*sources, *destinations)):
        marks = (f"  {_mark(pairs.get((name, to), []))}" for to in destinations)
        lines.append(f"  {numbers.get(name, ''):>2} {name:<{width}}{''.join(marks)}".rstrip())
    lines += ["", *(f"{_square(f)} {f.what}  {f.got}" for f in report.findings if not f.where)]
    lines += ["", *_disagreeing(report.wrong)]
    lines += _inconclusive(report.wrong)
    lines += [f"not asked: {reason}" for reason in report.left_out]
    lines += [f"note: {note}" for note in report.notes]
    counts = ", ".join(
        f"{report.counts[verdict]} {word}" for verdict, word in _COUNTED.items() if report.counts[verdict]
    )
    lines.append(f"{len(report.findings)} cells in {report.seconds:.1f} s: {counts or 'nothing was asked'}")
    odd = Counter(finding.odd for finding in report.wrong if finding.odd)
    disagreement = ", ".join(f"{who} differs from the other two in {number}" for who, number in odd.items())
    if report.pairs:
        agreed = disagreement or "declared, proved and live agree"
        lines.append(f"{report.pairs} pairs asked of the proof as well: {agreed}")
    return "\n".join(lines)


def _mark(findings: Iterable[ProbeFinding]) -> str:
    marks = {_square(finding) for finding in findings}
    return next((mark for mark in "✗?●◐○·" if mark in marks), " ")


def _square(finding: ProbeFinding) -> str:
    match finding.verdict:
        case Verdict.DISAGREES:
            return "✗"
        case Verdict.INCONCLUSIVE:
            return "?"
        case Verdict.FREE:
            return "○" if finding.got == Expected.ALLOWED else "·"
        case Verdict.AGREES if not finding.where:
            return "◐"  # a route, whose evidence is a page
        case _:
            return "·" if finding.expected == Expected.DENIED else "●"


def _disagreeing(findings: Iterable[ProbeFinding]) -> Iterator[str]:
    """Yield a line for each disagreement; many of one cause are one line, and their places below it."""
    causes: dict[str, list[ProbeFinding]] = {}
    for finding in findings:
        if finding.verdict is Verdict.DISAGREES:
            causes.setdefault(finding.cause, []).append(finding)
    for cause, all_ in causes.items():
        if not cause or len(all_) < _TOGETHER:
            yield from (f"✗ {finding}" for finding in all_)
            continue
        yield f"✗ {len(all_)} disagree, with one likely cause: {cause}"
        yield from (f"    {replace(finding, cause='')}" for finding in all_)


def _inconclusive(findings: Iterable[ProbeFinding]) -> list[str]:
    """Return a line for each cause, since one unreachable endpoint makes all its cells inconclusive."""
    causes: dict[str, list[ProbeFinding]] = {}
    for finding in findings:
        if finding.verdict is Verdict.INCONCLUSIVE:
            causes.setdefault(finding.cause, []).append(finding)
    return [f"? {len(all_)} inconclusive, like {all_[0].what}: {cause}" for cause, all_ in causes.items()]


def as_json(report: ProbeReport, earlier: Earlier | None = None) -> str:
    """Return the whole run as JSON, with what differs from earlier ones; docs/verify.md has its shape."""
    earlier = earlier or Earlier()
    return json.dumps(
        {
            "schemaVersion": SCHEMA_VERSION,
            "stack": report.stack,
            "good": report.good,
            "seconds": round(report.seconds, 2),
            "counts": report.counts,
            "leftOut": list(report.left_out),
            "notes": list(report.notes),
            "pairs": report.pairs,
            "earlier": list(earlier.summaries),
            "changes": earlier.changes(report.findings),
            "cells": [asdict(finding) for finding in report.findings],
        },
        indent=1,
    )


def as_metrics(report: ProbeReport, now: float) -> str:
    """Return the run's figures in Prometheus's text format; `now` is its end in seconds of Unix time."""
    stack = f'stack="{report.stack}"'
    figures: dict[str, tuple[str, dict[str, float]]] = {
        "timestamp_seconds": ("When the last run of the live probe ended.", {stack: round(now)}),
        "duration_seconds": ("How long it took.", {stack: round(report.seconds, 2)}),
        "good": ("Whether every cell agreed.", {stack: int(report.good)}),
        "cells": (
            "Its cells by verdict.",
            {f'{stack},verdict="{verdict}"': number for verdict, number in report.counts.items()},
        ),
    }
    lines = []
    for name, (words, samples) in figures.items():
        metric = f"verify_last_run_{name}"
        lines += [f"# HELP {metric} {words}", f"# TYPE {metric} gauge"]
        lines += [f"{metric}{{{labels}}} {value}" for labels, value in samples.items()]
    return "\n".join([*lines, ""])


def as_junit(report: ProbeReport) -> str:
    """Return one test case per cell: disagreements fail, inconclusive ones are errors, free ones skipped."""
    counts = report.counts
    suite = ET.Element(
        "testsuite",
        name=f"verify {report.stack}",
        tests=str(len(report.findings)),
        failures=str(counts[Verdict.DISAGREES]),
        errors=str(counts[Verdict.INCONCLUSIVE]),
        skipped=str(counts[Verdict.FREE]),
        time=f"{report.seconds:.2f}",
    )
    kinds = {Verdict.DISAGREES: "failure", Verdict.INCONCLUSIVE: "error", Verdict.FREE: "skipped"}
    for finding in report.findings:
        name = f"{finding.what} at {finding.where}" if finding.where else finding.what
        case = ET.SubElement(suite, "testcase", classname=finding.source, name=name)
        if kind := kinds.get(finding.verdict):
            ET.SubElement(case, kind, message=str(finding))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
