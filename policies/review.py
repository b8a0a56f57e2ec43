"""Renders a change for reviewers, as Markdown and SARIF: flows opened and closed, and findings.

Note: a declared flow never fails a review. One to a sensitive zone, or out of an egress zone, is marked, and
the pull request waits for a reviewer's label.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from policies.evaluate import Evaluation
from policies.rule import RULES, Finding, Rule, Severity
from reachability.engine import Reachability
from reachability.intent import diff
from reachability.result import Connection
from topology.model import INTERNET, ROLES, Container, Role, Topology
from topology.project import stack_name

LABEL: Final = "flows-reviewed"
"""Label of a pull request that opens a flow to a sensitive zone; the workflow looks for it in the comment."""
_SCORE: Final = {Severity.MEDIUM: "5.5", Severity.HIGH: "8.0", Severity.CRITICAL: "9.5"}
"""Scores by which code scanning sorts; its own thresholds are 4.0, 7.0 and 9.0."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A flow that was not possible before.

    `standing` is what permits or refuses it: `follows` is a flow that needs no declaration of its own
    (implied by a declared flow, or from a host). `zone` says why the flow is sensitive, if it is.
    """

    flow: Connection
    standing: str
    zone: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """A change of one stack file. `new`: the base does not have the file."""

    file: str
    new: bool
    opened: tuple[Opened, ...]
    closed: tuple[Connection, ...]
    findings: tuple[Finding, ...]


def review(
    file: str,
    before: Iterable[Connection] | None,
    after: Reachability,
    topology: Topology,
    verdict: Evaluation,
) -> Review:
    """Return the difference between a stack file's possible flows before, if it existed, and after."""
    change = diff(before or (), after.flows())
    standing = (
        dict.fromkeys(map(str, topology.flows), "declared")
        | {str(each.flow): f"declared until {each.until}" for each in topology.temporary}
        | dict.fromkeys((exemption.resource for exemption in verdict.in_force), "excepted")
        | dict.fromkeys((finding.subject for finding in verdict.findings), "**refused**")
    )
    return Review(
        file=file,
        new=before is None,
        opened=tuple(
            Opened(
                flow=flow,
                standing=standing.get(str(flow), "follows"),
                zone=sensitive(topology, flow.destination) or leaving(topology, flow),
            )
            for flow in change.opened
        ),
        closed=change.closed,
        findings=verdict.findings,
    )


def sensitive(topology: Topology, name: str) -> str:
    """Return why a destination is sensitive, by the roles of its zones; empty if it is not.

    A service on a frontend zone is meant for the ingress, so it is not sensitive, whatever it connects to. An
    undeclared destination is sensitive.
    """
    if name in {host.name for host in topology.hosts}:
        return "management host"
    if name == INTERNET:
        return ""
    if name in topology.zones:
        roles = {topology.zones[name].role}
    elif name in topology.services:
        roles = {topology.zones[zone].role for zone in topology.services[name].zones}
    else:
        return "not declared"
    traits = {role: ROLES[role] for role in roles}
    if any(each.routable and not each.sensitive for each in traits.values()):
        return ""
    return ", ".join(sorted(role for role, each in traits.items() if each.sensitive))


def leaving(topology: Topology, flow: Connection) -> str:
    """Return why a flow to the internet is sensitive, by the roles of its source's zones; empty if it is not.

    It is where it leaves by an egress zone: data of every network that the source is on may go that way.
    """
    source = topology.services.get(flow.source)
    if flow.destination != INTERNET or not isinstance(source, Container):
        return ""
    roles = {topology.zones[zone].role for zone in source.zones}
    if Role.EGRESS not in roles:
        return ""
    return ", ".join(sorted(role for role in roles if ROLES[role].sensitive))


def markdown(review: Review) -> Iterator[str]:
    """Yield the lines of the review, opened flows first."""
    stack = stack_name(review.file)
    yield (
        f"## Flows of stack {stack}: {len(review.opened)} opened, {len(review.closed)} closed;"
        f" findings: {len(review.findings)}"
    )
    if review.new:
        yield from ("", "The base has no such stack, so all of its flows are new.")
    if any(opened.zone for opened in review.opened):
        yield from ("", f"**A flow to a sensitive zone opens**: a reviewer sets the label `{LABEL}`.")
    if review.opened:
        yield from ("", "### Opened", "", "| flow | via | standing | sensitive |", "|---|---|---|---|")
    for each in review.opened:
        yield f"| {_code(each.flow)} | {_code(each.flow.trace)} | {each.standing} | {each.zone} |"
    if review.closed:
        yield from ("", "### Closed", "", "| flow | via |", "|---|---|")
    for flow in review.closed:
        yield f"| {_code(flow)} | {_code(flow.trace)} |"
    if review.findings:
        yield from ("", "### Findings", "", "| rule | severity | finding | remedy |", "|---|---|---|---|")
    for finding in review.findings:
        rule = RULES[finding.rule]
        yield f"| {rule.name} | {rule.severity} | {_code(finding)} | {rule.remedy} |"


def sarif(review: Review, text: str) -> str:
    """Return the findings as SARIF 2.1.0 for code scanning, each at its line in `text`, the stack file."""
    driver = {"name": "homelab-network", "rules": [_rule(rule) for rule in RULES.values()]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{review.file}/"},
        "results": [_result(finding, review.file, text) for finding in review.findings],
    }
    return json.dumps({"version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.obligation},
        "fullDescription": {"text": rule.obligation},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _level(rule)},
        "properties": {"tags": ["security"], "security-severity": _SCORE[rule.severity]},
    }


def _result(finding: Finding, file: str, text: str) -> dict[str, Any]:
    # A line can have many findings, so the fingerprint includes the message.
    fingerprint = hashlib.sha256(f"{finding.rule}\n{finding}".encode()).hexdigest()
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": _level(RULES[finding.rule]),
        "message": {"text": str(finding)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": file},
                    "region": {"startLine": line_of(finding.subject, text) or 1},
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
    }


def _level(rule: Rule) -> str:
    return "warning" if rule.severity is Severity.MEDIUM else "error"


def line_of(subject: str, text: str) -> int | None:
    """Return the line of a flow, else of the service or of the flow's destination; None if there is none."""
    name = re.escape(subject.rpartition(" -> ")[2].partition(":")[0])
    flow = rf"- \{{?(flow: )?[\"']?{re.escape(subject)}[\"']?(,.*)?$"
    for pattern in (flow, rf"\s+{name}:"):
        for number, line in enumerate(text.splitlines(), start=1):
            if re.match(rf"\s*{pattern}", line):
                return number
    return None


def _code(value: object) -> str:
    """Return a value as inline code, escaped for a table cell."""
    return f"`{' '.join(str(value).replace('`', chr(39)).replace('|', chr(92) + '|').split())}`"
