"""Commands on flows: which are possible, why, and what changed; from a stack file or an exported state.

`python -m commands list Pulumi.dev.yaml`, `… explain state.json internet loki:3100/tcp`. Exit status: 0
allowed or nothing found, 1 denied or something found, 2 bad input.
Note: a stack file is judged by the resources that the program would register for it.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pulumi

from commands.arguments import parser
from commands.baseline import BaselineError, described, site_at, to_json
from policies.bounds import MEBIBYTES, GaveUpError, bounded, gave_up
from policies.evaluate import Evaluation, evaluate
from policies.markdown import brief, markdown, refused
from policies.review import Review, base_of, line_of, review, sarif
from policies.rule import RULES
from reachability.engine import Reachability
from reachability.intent import Intent, diff
from reachability.listing import Shown, listing
from reachability.result import UnknownNameError
from resources import program
from resources.resource import Resource, StateError, from_state
from resources.site import Graph
from resources.typed import view
from topology.config import ConfigError, from_file
from topology.fault import nearest
from topology.index import TopologyIndex
from topology.model import Flow, Topology
from topology.notes import notes
from topology.project import NAME, PROJECT

Site = tuple[list[Resource], Topology]
_FAULTS: Final = (BaselineError, ConfigError, StateError, pulumi.RunError, UnknownNameError)
"""What ends a command with status 2; each error's text is the message."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parser().parse_args(arguments)
    gc.disable()  # a run ends after one answer, and collecting garbage costs more than the answer
    try:
        with bounded():
            return _RUN[options.command](options)
    except GaveUpError as error:
        print(error)
        return 1
    except MemoryError:
        print(gave_up(f"{MEBIBYTES:,} MiB of memory"))
        return 1
    except _FAULTS as error:
        print(error, file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    resources, topology = site(options.site, options.config)
    reachability = Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability
    shown = _shown(options, topology, reachability.names)
    if options.json:
        flows = (each for each in reachability.flows() if shown(each.source, each.destination))
        sys.stdout.writelines(to_json(flows))
        print()
        return 0
    sys.stdout.writelines(
        f"{line}\n" for line in listing(reachability.connection_sets(), Intent.of(topology), shown)
    )
    whole = not options.source and not options.zone
    for host in topology.docker_hosts if whole else ():
        if not host.closed:
            print(f"# {host.name} is open: its own programs answer from outside (`closed` of the host)")
    return 0


def _shown(options: argparse.Namespace, topology: Topology, names: Collection[str]) -> Shown:
    """Return which flows the options ask for; raises StateError for an unknown name."""
    if options.source and options.source not in names:
        raise StateError(f"{options.source}: nothing has this name; {_meant(options.source, names)}.")
    if options.zone and options.zone not in topology.zones:
        raise StateError(f"{options.zone}: is no zone; {_meant(options.zone, topology.zones)}.")
    within = {each.name for each in topology.services.values() if options.zone in each.zones}
    within.add(options.zone)
    return lambda source, end: (
        (not options.source or source == options.source)
        and (not options.zone or source in within or end in within)
    )


def _meant(name: str, names: Collection[str]) -> str:
    return f"write {near}" if (near := nearest(name, names)) else f"use one of {', '.join(names)}"


def _eval(options: argparse.Namespace) -> int:
    flow = _flow(options)
    verdict = _reachability(options.site, options.config).evaluate(flow.source, flow.destination, flow.port)
    print(f"{flow}: {'ALLOWED' if verdict.allowed else 'DENIED'}")
    return int(not verdict.allowed)


def _explain(options: argparse.Namespace) -> int:
    flow = _flow(options)
    reachability = _reachability(options.site, options.config)
    print(*reachability.explain(flow.source, flow.destination, flow.port), sep="\n")
    return int(not reachability.evaluate(flow.source, flow.destination, flow.port).allowed)


def _diff(options: argparse.Namespace) -> int:
    files: tuple[Path, ...] = (options.before, options.after)
    states = {file: options.config if file.suffix == ".json" else None for file in files}
    sites = (_reachability(file, states[file]).flows() for file in files)
    change = diff(*sites)
    for sign, flows in (("+", change.opened), ("-", change.closed)):
        for flow in flows:
            print(f"{sign} {flow} via {flow.trace}")
    return int(bool(change.opened or change.closed))


def _describe(options: argparse.Namespace) -> int:
    print(described(*_graph(options.file)))
    return 0


def _changes(options: argparse.Namespace) -> int:
    before, after = options.before, options.after
    nothing = before.is_file() and not before.stat().st_size
    base = None if nothing else base_of(*_graph(before))
    unjudged = Evaluation(findings=(), in_force=())
    print(*brief(review(after.name, base, *_graph(after), unjudged)), sep="\n")
    return 0


def _review(options: argparse.Namespace) -> int:
    file: Path = options.file
    for target in filter(None, (options.markdown, options.sarif)):
        if target.is_dir() or not target.parent.is_dir():
            raise StateError(f"{target}: can't be written; name a file in a folder that is there.")
    try:
        made = _reviewed(file, options.base)
    except (*_FAULTS, GaveUpError) as error:
        if options.markdown:
            _write(options.markdown, refused(file.name, str(error)))
        raise
    print(*markdown(made), sep="\n")
    if options.markdown:
        _write(options.markdown, markdown(made))
    if options.sarif:
        options.sarif.write_text(sarif(made, file.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(made.findings))


def _reviewed(file: Path, base: str) -> Review:
    graph, config = _graph(file)
    verdict = evaluate((each.resource for each in graph.views), graph.topology, datetime.now(tz=UTC).date())
    return review(file.name, site_at(base, file.name), graph, config, verdict)


def _graph(file: Path) -> tuple[Graph, Mapping[str, Any]]:
    """Return a stack file's site, and its keys."""
    made = program.of_stack_file(file)
    return Graph(tuple(map(view, made.resources)), TopologyIndex.of(made.topology)), made.config


def _write(target: Path, lines: Iterable[str]) -> None:
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _judge(options: argparse.Namespace) -> int:
    resources, topology = site(options.site, options.config)
    verdict = evaluate(resources, topology, datetime.now(tz=UTC).date())
    file = options.config or options.site
    text = file.read_text(encoding="utf-8") if file.suffix != ".json" else ""
    for finding in verdict.findings:
        at = line_of(finding.subject, text)
        print(f"{finding.rule}: {finding}")
        print(f"  {f'{file}:{at}: ' if at else ''}{RULES[finding.rule].remedy}")
    for note in notes(topology, file) if text else ():
        print(f"note: {note}")
    for exemption in verdict.in_force:
        print(f"exception in force: {exemption.rule} for {exemption.resource}, until {exemption.expires}")
    return int(bool(verdict.findings))


def site(file: Path, config: Path | None) -> Site:
    """Return resources, and intent from `config` if given; raises ConfigError, StateError or RunError."""
    if file.suffix != ".json":
        if config is not None:
            raise StateError(f"{config}: only an exported state takes --config; leave it out here.")
        made = program.of_stack_file(file)
        return made.resources, made.topology
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


def _reachability(file: Path, config: Path | None) -> Reachability:
    resources, topology = site(file, config)
    return Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability


def _flow(options: argparse.Namespace) -> Flow:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", options.source):
        raise StateError(
            f"{options.source}: is no source; write a service, a management zone or internet, in lower case."
        )
    try:
        return Flow.parse(f"{options.source} -> {options.destination}")
    except ValueError:
        raise StateError(f"{options.destination}: is no destination; write it like loki:3100/tcp.") from None


_RUN: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "list": _list,
    "describe": _describe,
    "eval": _eval,
    "explain": _explain,
    "diff": _diff,
    "changes": _changes,
    "review": _review,
    "judge": _judge,
}
