"""Judges resources against a declared topology: the one function behind pack, command and tests.

Owns the order of judging and the list of rules. What a reader would get wrong: nothing here knows who asks.
The pack, `pulumi policy analyze` and pytest get the same findings because they call the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from policies import (
    acme,
    bridges,
    certificates,
    closed,
    containers,
    exceptions,
    firewall_builds,
    flows,
    guest_firewall,
    guests,
    ingress,
    networks,
    protection,
    secrecy,
    targets,
)
from policies.exceptions import Ledger
from policies.rule import RULES, Finding, Rule, Scope, of_resource, of_stack
from resources.resource import Resource
from resources.site import Graph
from resources.view import View, view
from topology.declared import Declared
from topology.model import Exemption, Topology

GROUPS = (
    closed,
    containers,
    networks,
    guests,
    guest_firewall,
    bridges,
    ingress,
    targets,
    acme,
    certificates,
    secrecy,
    protection,
    firewall_builds,
    flows,
    exceptions,
)
"""The modules that hold the rules, in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What stands against the stack, and the exceptions without which it would be more."""

    findings: tuple[Finding, ...]
    in_force: tuple[Exemption, ...]


class Judged(NamedTuple):
    """A resource as it was read, and what it shows by itself."""

    view: View[Any]
    findings: list[Finding]


def judge(
    resources: Iterable[Resource], topology: Topology, today: date, rules: Mapping[str, Rule] = RULES
) -> Verdict:
    """Judge a whole stack."""
    declared = Declared.of(topology)
    return judge_together(
        [judge_resource(each, declared, rules) for each in resources], declared, today, rules
    )


def judge_resource(resource: Resource, topology: Declared, rules: Mapping[str, Rule] = RULES) -> Judged:
    """Read one resource, and judge it by itself."""
    read = view(resource)
    kind = type(read.inputs)
    return Judged(
        read,
        [f for rule in rules.values() if kind in rule.on for f in of_resource(rule, read, topology)],
    )


def judge_together(
    judged: Sequence[Judged], topology: Declared, today: date, rules: Mapping[str, Rule] = RULES
) -> Verdict:
    """Judge as a stack what was judged by itself."""
    alone = [finding for each in judged for finding in each.findings]
    graph = Graph(tuple(each.view for each in judged), topology)
    return conclude([*alone, *judge_stack(graph, rules)], topology, today, rules)


def judge_stack(graph: Graph, rules: Mapping[str, Rule] = RULES) -> list[Finding]:
    """What only the whole stack shows."""
    return [
        finding for rule in rules.values() if rule.scope is Scope.STACK for finding in of_stack(rule, graph)
    ]


def conclude(
    findings: list[Finding], topology: Topology, today: date, rules: Mapping[str, Rule] = RULES
) -> Verdict:
    """Set aside what is excepted, and judge the exceptions."""
    ledger = Ledger(findings=findings, topology=topology, today=today)
    own = [
        finding
        for rule in rules.values()
        if rule.scope is Scope.EXCEPTIONS
        for finding in of_stack(rule, ledger)
    ]
    return Verdict(findings=(*ledger.kept, *own), in_force=ledger.in_force)
