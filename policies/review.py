"""What a change opens, closes and alters, for its reviewer; and its findings as SARIF.

Note: a declared flow never fails a review. One to a sensitive zone, or out of an egress zone, is marked, and
the pull request waits for a reviewer's label.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from policies.changes import Change, changes
from policies.evaluate import Evaluation
from policies.rule import RULES, Finding, Rule, Severity
from reachability.engine import Reachability
from reachability.intent import diff
from reachability.result import Connection, EdgeKind
from resources.inventory import Inventory, Kind, inventory
from resources.site import Graph
from topology.model import INTERNET, ROLES, Container, Role, Topology

LABEL: Final = "flows-reviewed"
"""Label of a pull request that opens a flow to a sensitive zone; the workflow looks for it in the comment."""
DECLARED, FOLLOWS, EXCEPTED, REFUSED = "declared", "follows", "excepted", "**refused**"
OBSERVED: Final = "observed"
_SCORE: Final = {Severity.MEDIUM: "5.5", Severity.HIGH: "8.0", Severity.CRITICAL: "9.5"}
"""Scores by which code scanning sorts; its own thresholds are 4.0, 7.0 and 9.0."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A site before the change, its flows by each way; where `items` is None, by one way of each alone."""

    flows: tuple[Connection, ...]
    items: Inventory | None


@dataclass(frozen=True, kw_only=True)
class FlowChange:
    """A flow that opens or closes.

    `standing` is what permits or refuses it: `follows` is a flow that needs no declaration of its own
    (implied by a declared flow, or from a host), `observed` one that ends when a guest is enforced.
    `sensitive` says why a reviewer's label is needed, if it is.
    """

    flow: Connection
    standing: str
    sensitive: str = ""


@dataclass(frozen=True, kw_only=True)
class Review:
    """A change of one stack file.

    `new`: the base does not have the file. `other` are effects that are no flows; None where the base can't
    tell what it has besides flows.
    """

    file: str
    new: bool
    opened: tuple[FlowChange, ...]
    closed: tuple[FlowChange, ...]
    findings: tuple[Finding, ...]
    other: tuple[Change, ...] | None = ()


def review(
    file: str, before: Base | None, graph: Graph, config: Mapping[str, object], verdict: Evaluation
) -> Review:
    """Return the difference between a stack file's site before, if it existed, and after.

    `graph` and `config`, the stack file's keys, are those of after.
    """
    topology = graph.topology
    opened, closed = _difference(before, graph.reachability)
    observed = ways(graph.reachability).keys() - ways(graph.enforced) if topology.observed_guests else ()
    standing = (
        dict.fromkeys(map(str, topology.flows), DECLARED)
        | {str(each.flow): f"declared until {each.until}" for each in topology.temporary}
        | dict.fromkeys((exemption.resource for exemption in verdict.in_force), EXCEPTED)
        | dict.fromkeys((finding.subject for finding in verdict.findings), REFUSED)
    )
    other: tuple[Change, ...] | None = ()
    if before:
        other = None if before.items is None else changes(before.items, inventory(graph, config))
    return Review(
        file=file,
        new=before is None,
        opened=tuple(
            FlowChange(
                flow=flow,
                standing=standing.get(str(flow), OBSERVED if _way(flow) in observed else FOLLOWS),
                sensitive=sensitive(topology, flow.source, flow.destination),
            )
            for flow in opened
        ),
        closed=tuple(FlowChange(flow=flow, standing=_former(before, flow)) for flow in closed),
        findings=verdict.findings,
        other=other,
    )


def base_of(graph: Graph, config: Mapping[str, object]) -> Base:
    """Return a site as the base of a review; `config` has its stack file's keys, its secrets unknown."""
    items = {kind: each for kind, each in inventory(graph, config).items() if kind != Kind.SECRET}
    return Base(flows=tuple(ways(graph.reachability).values()), items=items)


def ways(reachability: Reachability) -> dict[tuple[object, ...], Connection]:
    """Return the first way of each connection, and the first through a proxy where there is one, too.

    The key tells them apart: a service that a proxy asks for others is not yet one that they reach.
    """
    found: dict[tuple[object, ...], Connection] = {}
    for bundle in reachability.connection_sets():
        for source in bundle.sources:
            if source != bundle.destination:
                one = bundle.one(source)
                found.setdefault(_way(one), one)
    return found


def _way(flow: Connection) -> tuple[object, ...]:
    return *flow.key, flow.how is EdgeKind.PROXIED


def _difference(before: Base | None, after: Reachability) -> tuple[list[Connection], list[Connection]]:
    """Return the connections that open and close; an older base tells only one way of each."""
    if before and before.items is None:
        change = diff(before.flows, after.flows())
        return [*change.opened], [*change.closed]
    old, new = {_way(flow): flow for flow in before.flows} if before else {}, ways(after)
    return (
        [flow for way, flow in new.items() if way not in old],
        [flow for way, flow in old.items() if way not in new],
    )


def _former(before: Base | None, flow: Connection) -> str:
    """Return what permitted a flow before; empty where the base does not tell."""
    if before is None or before.items is None:
        return FOLLOWS if flow.how is EdgeKind.PROXIED else ""
    return DECLARED if str(flow) in before.items[Kind.FLOW] else FOLLOWS


def sensitive(topology: Topology, source: str, destination: str) -> str:
    """Return why a flow is sensitive, by the roles of the zones at its ends; empty if it is not.

    A service on a frontend zone is meant for the ingress, so it is not sensitive. An
    undeclared destination is sensitive, and so is every way out of a guest that has a zone for itself.
    """
    if any(ROLES[role].alone for role in _roles(topology, source)):
        return "egress of an isolated guest"
    if destination in {host.name for host in topology.hosts}:
        return "management host"
    roles = _roles(topology, destination)
    if destination == INTERNET or Role.EXTERNAL in roles:
        return _leaving(topology, source)
    if not roles:
        return "not declared"
    if any(ROLES[role].routable and not ROLES[role].sensitive for role in roles):
        beside = source == INTERNET and destination in topology.public_guests
        return "a way in beside the ingress" if beside else ""
    return ", ".join(sorted(role for role in roles if ROLES[role].sensitive))


def _leaving(topology: Topology, source: str) -> str:
    """Return why a source's flow out of the site is sensitive, by the roles of its zones; empty if it is not.

    It is where it leaves by an egress zone: data of every network that the source is on may go that way.
    """
    roles = _roles(topology, source)
    if Role.EGRESS not in roles or not isinstance(topology.services.get(source), Container):
        return ""
    return ", ".join(sorted(role for role in roles if ROLES[role].sensitive))


def _roles(topology: Topology, name: str) -> set[Role]:
    """Return the roles of a zone, or of a service's zones; none where neither is declared."""
    if name in topology.zones:
        return {topology.zones[name].role}
    service = topology.services.get(name)
    return {topology.zones[zone].role for zone in service.zones} if service else set()


def sarif(review: Review, text: str) -> str:
    """Return the findings as SARIF 2.1.0 for code scanning, each at its line in `text`, the stack file."""
    driver = {"name": "homelab-network", "rules": [_rule(rule) for rule in RULES.values()]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{review.file}/"},
        "results": [_result(finding, review.file, text) for finding in review.findings],
    }
    return json.dumps({"version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.obligation},
        "fullDescription": {"text": rule.obligation},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _level(rule)},
        "properties": {"tags": ["security"], "security-severity": _SCORE[rule.severity]},
    }


def _result(finding: Finding, file: str, text: str) -> dict[str, object]:
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
