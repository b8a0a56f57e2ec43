"""Evaluates resources against a declared topology, for the pack, `pulumi policy analyze` and tests alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from policies import (
    acme,
    advisories,
    bridges,
    certificates,
    containers,
    exceptions,
    fail_closed,
    firewall_builds,
    flows,
    guest_firewall,
    guests,
    hosts,
    ingress,
    issuing,
    machine_pages,
    networks,
    protection,
    rendered,
    routers,
    secrecy,
    slots,
    targets,
    uploads,
)
from policies.exceptions import Ledger
from policies.rule import RULES, Finding, Rule, RuleScope, of_resource, of_stack
from resources.docker import DockerContainer
from resources.resource import Resource
from resources.router_machine import recognised
from resources.site import Graph
from resources.typed import TypedResource, view
from topology.index import TopologyIndex
from topology.model import PolicyException, Topology

GROUPS = (
    fail_closed,
    rendered,
    hosts,
    containers,
    uploads,
    advisories,
    networks,
    slots,
    guests,
    guest_firewall,
    bridges,
    routers,
    ingress,
    machine_pages,
    targets,
    acme,
    certificates,
    issuing,
    secrecy,
    protection,
    firewall_builds,
    flows,
    exceptions,
)
"""The modules with rules, in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The findings that remain, and the exceptions that set others aside."""

    findings: tuple[Finding, ...]
    in_force: tuple[PolicyException, ...]


class EvaluatedResource(NamedTuple):
    """A parsed resource, and the findings about it alone."""

    view: TypedResource[Any]
    findings: list[Finding]


def evaluate(
    resources: Iterable[Resource], topology: Topology, today: date, rules: Mapping[str, Rule] = RULES
) -> Evaluation:
    """Return the verdict on a whole stack."""
    declared = TopologyIndex.of(topology)
    return evaluate_together(
        [evaluate_resource(each, declared, rules) for each in resources], declared, today, rules
    )


def evaluate_resource(
    resource: Resource, topology: TopologyIndex, rules: Mapping[str, Rule] = RULES
) -> EvaluatedResource:
    """Parse one resource and evaluate the rules for single resources, a container's on its own host."""
    read = recognised(view(resource), topology)
    kind = type(read.inputs)
    part = topology.part_of(read.inputs.name) if isinstance(read.inputs, DockerContainer) else topology
    return EvaluatedResource(
        read,
        [f for rule in rules.values() if kind in rule.on for f in of_resource(rule, read, part)],
    )


def evaluate_together(
    judged: Sequence[EvaluatedResource],
    topology: TopologyIndex,
    today: date,
    rules: Mapping[str, Rule] = RULES,
) -> Evaluation:
    """Return the verdict on a stack of resources that are already evaluated one by one."""
    alone = [finding for each in judged for finding in each.findings]
    graph = Graph(tuple(each.view for each in judged), topology)
    return conclude([*alone, *evaluate_stack(graph, rules)], topology, today, rules)


def evaluate_stack(graph: Graph, rules: Mapping[str, Rule] = RULES) -> list[Finding]:
    """Return the findings of the rules that need the whole stack."""
    return [
        finding
        for rule in rules.values()
        if rule.scope is RuleScope.STACK
        for finding in of_stack(rule, graph)
    ]


def conclude(
    findings: list[Finding], topology: Topology, today: date, rules: Mapping[str, Rule] = RULES
) -> Evaluation:
    """Apply the exceptions to the findings, and evaluate the rules for exceptions."""
    ledger = Ledger(findings=findings, topology=topology, today=today)
    own = [
        finding
        for rule in rules.values()
        if rule.scope is RuleScope.EXCEPTIONS
        for finding in of_stack(rule, ledger)
    ]
    return Evaluation(findings=(*ledger.kept, *own), in_force=ledger.in_force)
