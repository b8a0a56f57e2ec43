"""Write a stack as one HTML page, or as a Mermaid flowchart.

`python -m commands report Pulumi.dev.yaml` writes report-dev.html; the input may also be a state that
`pulumi stack export` wrote. Exit status: 0 written, 2 bad input and nothing written.
Note: this command does not look at a running network. The last verification comes from the given file, or
from `verify-<stack>.json` beside the site's file if `make verify` left one.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import pulumi

from commands.arguments import parser
from commands.flows import site
from policies import rule as rules
from policies.evaluate import evaluate
from policies.rule import RULES, Severity
from report import verification
from report.errors import ReportError
from report.mermaid import flowchart
from report.model import Report, ReportFinding
from report.page import page, write
from resources.resource import Resource, StateError
from topology.config import ConfigError
from topology.model import Topology

_WORST: Final = tuple(reversed(Severity))


def main(arguments: Sequence[str]) -> int:
    """Write one report; returns the exit status."""
    given = parser().parse_args(["report", *arguments])
    gc.disable()  # a run ends after one page, as in commands.flows
    try:
        return _report(given)
    except (ConfigError, ReportError, StateError, pulumi.RunError) as error:
        print(error, file=sys.stderr)
        return 2


def judged(stack: str, day: date, resources: Sequence[Resource], topology: Topology) -> Report:
    """Return a stack's report with the policy pack's findings on a day."""
    verdict = evaluate(resources, topology, day)
    return Report(
        stack=stack,
        day=day,
        resources=resources,
        topology=topology,
        findings=tuple(map(_finding, sorted(verdict.findings, key=_rank))),
        in_force=verdict.in_force,
    )


def _rank(finding: rules.Finding) -> int:
    return _WORST.index(RULES[finding.rule].severity)


def _finding(finding: rules.Finding) -> ReportFinding:
    rule = RULES[finding.rule]
    return ReportFinding(
        rule=rule.name,
        subject=finding.subject,
        severity=str(rule.severity),
        message=finding.message,
        remedy=rule.remedy,
    )


def _report(given: argparse.Namespace) -> int:
    resources, topology = site(given.site, given.config)
    stack = resources[0].urn.split("::")[0].rpartition(":")[2]
    if given.mermaid:
        text = flowchart(topology)
        print(text, end="") if given.output is None else write(given.output, text)
        return 0
    report = judged(stack, datetime.now(tz=UTC).date(), resources, topology)
    left = given.site.with_name(f"verify-{stack}.json")
    file = given.verification or (left if left.is_file() else None)
    run = verification.read(file, stack, report.names) if file else None
    output = given.output or Path(f"report-{stack}.html")
    write(output, page(f"Network of stack {stack}", report.data(run)))
    print(output)
    return 0
