"""Commands on flows: which are possible, why, and what changed; from a stack file or an exported state.

`python -m commands list Pulumi.dev.yaml`, `… explain state.json internet loki:3100/tcp`. Exit status: 0
allowed or nothing found, 1 denied or something found, 2 bad input.
Note: a stack file is judged by the resources that the program would register for it.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pulumi

from commands.arguments import parser
from commands.baseline import BaselineError, flows_at, to_json
from policies.evaluate import GROUPS, evaluate
from policies.review import markdown, review, sarif
from policies.rule import RULES
from reachability.engine import Reachability
from reachability.intent import diff, table
from reachability.result import UnknownNameError
from resources import program
from resources.resource import Resource, StateError, from_state
from resources.site import Graph
from resources.typed import view
from topology.config import ConfigError, from_file
from topology.index import TopologyIndex
from topology.model import Flow, Topology
from topology.project import NAME, PROJECT

Site = tuple[list[Resource], Topology]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parser().parse_args(arguments)
    gc.disable()  # a run ends after one answer, and collecting garbage costs more than the answer
    try:
        return _RUN[options.command](options)
    except (BaselineError, ConfigError, StateError, pulumi.RunError, UnknownNameError) as error:
        print(error, file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    flows = _reachability(options.site, options).flows()
    print(*([to_json(flows)] if options.json else table(flows)), sep="\n")
    return 0


def _eval(options: argparse.Namespace) -> int:
    flow = _flow(options)
    verdict = _reachability(options.site, options).evaluate(flow.source, flow.destination, flow.port)
    print(f"{flow}: {'ALLOWED' if verdict.allowed else 'DENIED'}")
    return int(not verdict.allowed)


def _explain(options: argparse.Namespace) -> int:
    flow = _flow(options)
    reachability = _reachability(options.site, options)
    print(*reachability.explain(flow.source, flow.destination, flow.port), sep="\n")
    return int(not reachability.evaluate(flow.source, flow.destination, flow.port).allowed)


def _diff(options: argparse.Namespace) -> int:
    sites = (_reachability(site, options).flows() for site in (options.before, options.after))
    change = diff(*sites)
    for sign, flows in (("+", change.opened), ("-", change.closed)):
        for flow in flows:
            print(f"{sign} {flow} via {flow.trace}")
    return int(bool(change.opened or change.closed))


def _review(options: argparse.Namespace) -> int:
    file: Path = options.file
    for target in filter(None, (options.markdown, options.sarif)):
        if target.is_dir() or not target.parent.is_dir():
            raise StateError(f"{target}: can't be written; name a file in a folder that is there.")
    resources, topology = program.of_stack_file(file), from_file(file)
    reachability = Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability
    verdict = evaluate(resources, topology, datetime.now(tz=UTC).date())
    made = review(file.name, flows_at(options.base, file.name), reachability, topology, verdict)
    text = "\n".join(markdown(made))
    print(text)
    if options.markdown:
        options.markdown.write_text(f"{text}\n", encoding="utf-8")
    if options.sarif:
        options.sarif.write_text(sarif(made, file.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(made.findings))


def _judge(options: argparse.Namespace) -> int:
    resources, topology = site(options.site, options.config)
    verdict = evaluate(resources, topology, datetime.now(tz=UTC).date())
    for finding in verdict.findings:
        print(f"{finding.rule}: {finding}")
    for exemption in verdict.in_force:
        print(f"exception in force: {exemption.rule} for {exemption.resource}, until {exemption.expires}")
    return int(bool(verdict.findings))


def _rules(_: argparse.Namespace) -> int:
    print(*rule_table(), sep="\n")
    return 0


def rule_table() -> Iterator[str]:
    """Yield a Markdown table, one row per rule, by group."""
    yield "| rule | obligation | severity | sees | remedy |"
    yield "|---|---|---|---|---|"
    for group in GROUPS:
        for rule in RULES.values():
            if rule.check.__module__ == group.__name__:
                cells = (rule.name, rule.obligation, rule.severity, rule.scope, rule.remedy)
                yield f"| `{cells[0]}` | {' | '.join(cells[1:])} |"


def site(file: Path, config: Path | None) -> Site:
    """Return resources, and intent from `config` if given; raises ConfigError, StateError or RunError."""
    if file.suffix != ".json":
        return program.of_stack_file(file), from_file(file)
    resources = from_state(file)
    stack, project = _origin(resources, file)
    if project != NAME and config is None:
        raise StateError(f"{file}: is a state of project {project}; name its stack file with --config.")
    return resources, from_file(config or PROJECT / f"Pulumi.{stack}.yaml")


def _origin(resources: list[Resource], file: Path) -> tuple[str, str]:
    origins = {tuple(resource.urn.split("::")[:2]) for resource in resources}
    if len(origins) != 1:
        raise StateError(f"{file}: holds {len(origins)} stacks; name a file that holds one.")
    ((stack, project),) = origins
    return stack.rpartition(":")[2], project


def _reachability(file: Path, options: argparse.Namespace) -> Reachability:
    resources, topology = site(file, options.config)
    return Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability


def _flow(options: argparse.Namespace) -> Flow:
    try:
        return Flow.parse(f"{options.source} -> {options.destination}")
    except ValueError:
        raise StateError(f"{options.destination}: is no destination; write it like loki:3100/tcp.") from None


_RUN: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "list": _list,
    "eval": _eval,
    "explain": _explain,
    "diff": _diff,
    "review": _review,
    "judge": _judge,
    "rules": _rules,
}
