"""The page's content as plain data: the matrix with an answer for every port, findings, last verification.

This module decides nothing: `reachability.engine` says what is possible, `reachability.intent` what is
declared, and the policy pack what is wrong. The drawing shows the declaration, the matrix the resources.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any

from reachability.intent import Intent, surplus
from reachability.result import Connection, EdgeKind
from report.drawing import Drawing, draw
from report.verification import Verification
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from topology.index import TopologyIndex
from topology.model import INTERNET, PolicyException, Port, Topology

_WHOLE = 300
"""Most names with a cell for every pair; a larger site's page has only the pairs that flows concern."""
_OBSERVED = "not declared, and let pass while it is observed"


class State(StrEnum):
    """The state of one connection; a cell shows the first of this list that one of its ports has.

    PROXIED and FOLLOWS are possible without a flow of their own, as a consequence of declared flows.
    """

    UNDECLARED = "undeclared"
    MISSING = "missing"
    DECLARED = "declared"
    PROXIED = "proxied"
    FOLLOWS = "follows"
    DENIED = "denied"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer for some ports of a cell; `*` is any port that the destination does not declare.

    `way` starts with the source and is empty if the connection is denied; `notes` are findings and exceptions
    about exactly these flows.
    """

    ports: tuple[str, ...]
    state: State
    why: str
    way: tuple[str, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportFinding:
    """A rule's finding on the stack."""

    rule: str
    subject: str
    severity: str
    message: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """A stack on a day; `findings` are the policy pack's, worst first, `in_force` its exceptions."""

    stack: str
    day: date
    resources: Sequence[Resource]
    topology: Topology
    findings: tuple[ReportFinding, ...] = ()
    in_force: tuple[PolicyException, ...] = ()

    @cached_property
    def _declared(self) -> TopologyIndex:
        return TopologyIndex.of(self.topology)

    @cached_property
    def graph(self) -> Graph:
        """The facts of the resources."""
        return Graph(tuple(map(view, self.resources)), self._declared)

    @cached_property
    def drawing(self) -> Drawing:
        """The declared site as a picture."""
        return draw(self.topology)

    @cached_property
    def names(self) -> dict[str, str]:
        """The names in the matrix, each with its group: outside, its zone, hosts, undeclared."""
        facts, topology = self.graph.reachability.names, self.topology
        groups = {INTERNET: "outside"} | {zone.name: "outside" for zone in topology.outsides}
        groups |= {lan.name: "outside" for lan in topology.lans}
        for zone in topology.zones:
            groups |= {s.name: zone for s in topology.services.values() if s.zones[0] == zone}
        groups |= {host.name: "hosts" for host in topology.hosts}
        found = {name: group for name, group in groups.items() if name in facts}
        return found | {name: "undeclared" for name in facts if name not in found}

    @cached_property
    def flows(self) -> Mapping[tuple[str, str, Port | None], Connection]:
        """All possible connections, by source, destination and port."""
        return {flow.key: flow for flow in self.graph.reachability.flows()}

    def answers(self, source: str, destination: str) -> list[Answer]:
        """Return the answers of one cell; ports with the same answer are combined."""
        found: dict[Answer, list[str]] = {}
        for port in self._ports[destination]:
            found.setdefault(self._answer(source, destination, port), []).append(str(port or "*"))
        return [replace(answer, ports=tuple(ports)) for answer, ports in found.items()]

    def data(self, verification: Verification | None) -> dict[str, Any]:
        """Return the page's data for JSON; only this module and `page.js` know its shape."""
        answers: dict[Answer, int] = {}  # many pairs have the same answer, which the page then holds once

        def cell(source: str, to: str) -> list[int]:
            return [answers.setdefault(each, len(answers)) for each in self.answers(source, to)]

        folded = len(self.names) > _WHOLE
        if folded:
            at = {name: index for index, name in enumerate(self.names)}
            cells: list[Any] = [
                {at[to]: cell(source, to) for to in self._concerned.get(source, ())} for source in at
            ]
        else:
            cells = [[cell(one, to) if one != to else [] for to in self.names] for one in self.names]
        return {
            "stack": self.stack,
            "day": self.day.isoformat(),
            "drawing": asdict(self.drawing),
            "names": [{"name": name, "group": group} for name, group in self.names.items()],
            "ingress": self.topology.ingress_name,
            "answers": [_told(answer) for answer in answers],
            "cells": cells,
            "most": _WHOLE if folded else None,
            "findings": self._findings(),
            "exceptions": [exemption.model_dump(mode="json") for exemption in self.in_force],
            "verification": self._verified(verification) if verification else None,
        }

    def _answer(self, source: str, destination: str, port: Port | None) -> Answer:
        key = (source, destination, port)
        found = self._surplus.get(key) or self.flows.get(key)
        state, why = self._state(key, found)
        verdict = self.graph.reachability.evaluate(*key) if found is None else None
        return Answer(
            ports=(),
            state=state,
            why=why,
            way=(source, *found.trace.hops) if found else (),
            reasons=verdict.reasons if verdict else (f"{found.how}: {found.origin}",) if found else (),
            notes=tuple(self._notes.get(f"{source} -> {destination}:{port or '*'}", ())),
        )

    def _state(self, key: tuple[str, str, Port | None], found: Connection | None) -> tuple[State, str]:
        declared = key in self._intent.flows
        if found is None:
            return (State.MISSING, "declared, but not possible") if declared else (State.DENIED, "")
        if key in self._surplus:
            return State.UNDECLARED, "not declared" if key in self._enforced else _OBSERVED
        if declared:
            return State.DECLARED, "declared"
        if found.how is EdgeKind.PROXIED:
            return State.PROXIED, f"by way of {found.trace.hops[0]}, which has a declared flow there"
        return State.FOLLOWS, self._follows(*key[1:], found)

    def _follows(self, destination: str, port: Port | None, found: Connection) -> str:
        if found.how is EdgeKind.NEIGHBOUR and found.trace.hops[0] in self._intent.observed:
            return _OBSERVED
        if (INTERNET, destination, port) in self._intent.flows:
            return "declared for the internet, and so for every source"
        return "from a host, which owns what it runs and is not judged"

    @cached_property
    def _ports(self) -> Mapping[str, tuple[Port | None, ...]]:
        """Ports asked about by name: declared ones, others that a flow names, and None for the rest."""
        things = self.graph.reachability.names
        return {
            name: (*dict.fromkeys([*thing.ports, *(f.port for f in self._declared.flows_to(name))]), None)
            for name, thing in things.items()
        }

    @cached_property
    def _concerned(self) -> Mapping[str, Mapping[str, None]]:
        """Each source -> the destinations that it has a possible or a declared flow to."""
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for source, to, _ in sorted({*self.flows, *self._intent.flows}, key=str):
            if source != to and {source, to} <= self.names.keys():
                found[source][to] = None
        return found

    @cached_property
    def _intent(self) -> Intent:
        return Intent.of(self.topology)

    @cached_property
    def _surplus(self) -> Mapping[tuple[str, str, Port | None], Connection]:
        return {flow.key: flow for flow in surplus(self.graph.reachability, self._intent)}

    @cached_property
    def _enforced(self) -> Collection[tuple[str, str, Port | None]]:
        """Connections that remain possible when no guest is observed any more."""
        if not self.topology.observed_guests:
            return self.flows.keys()
        return {flow.key for flow in self.graph.enforced.flows()}

    @cached_property
    def _notes(self) -> Mapping[str, list[str]]:
        """Notes on each flow: findings, exceptions and, for a temporary flow, its end."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for finding in self.findings:
            found[finding.subject].append(
                f"{finding.rule}: {finding.message.removeprefix(f'{finding.subject}: ')}"
            )
        for temporary in self.topology.temporary:
            found[str(temporary.flow)].append(f"until {temporary.until}: {temporary.reason}")
        for each in self.in_force:
            found[each.resource].append(
                f"exception to {each.rule} until {each.expires}, by {each.owner}: {each.reason}"
            )
        return found

    @cached_property
    def _published(self) -> Mapping[str, str]:
        """Docker-SRV's published ports as the live probe writes them -> the ingress, if it is on the page."""
        return self.topology.answered if self.topology.ingress_name in self.names else {}

    def _findings(self) -> list[dict[str, str]]:
        keys = ("rule", "severity", "message", "remedy")
        return [{key: getattr(finding, key) for key in keys} for finding in self.findings]

    def _verified(self, run: Verification) -> dict[str, Any]:
        at = {name: index for index, name in enumerate(self.names)}
        cells: defaultdict[str, list[Any]] = defaultdict(list)
        for (source, destination), probes in run.cells.items():
            for probe in probes:
                to = self._published.get(probe.what.partition(" -> ")[2], destination)
                cells[f"{at[source]} {at[to]}"].append(probe.model_dump())
        return {
            "when": run.when,
            "seconds": run.seconds,
            "counts": run.counts,
            "leftOut": run.left_out,
            "notes": run.notes,
            "changes": run.changes,
            "earlier": [each.model_dump() for each in run.earlier],
            "cells": cells,
            "others": [probe.model_dump() for probe in run.others],
        }


def _told(answer: Answer) -> dict[str, Any]:
    """Return an answer for JSON, without what is empty."""
    return {field: value for field, value in vars(answer).items() if value}
