"""Compares what the stack's resources make possible with the declaration and the live network.

The proof is the reachability of the resources in Pulumi's state. Where the three disagree on a pair, this
module names the one that differs from the other two. It sends no packets.
Note: the proof knows names and no addresses, so all cells of one pair and port are compared together. A
change made outside Pulumi shows in the live network and not in the proof.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from reachability.engine import Reachability
from reachability.result import EdgeKind, Trace
from resources.resource import StateError, from_state
from resources.site import Graph
from resources.typed import view
from topology.index import TopologyIndex
from topology.model import Port, Topology
from verify.driver import ProbeError
from verify.expect import ICMP, NAME, OTHER, Expected, label
from verify.namespaces import run
from verify.verdicts import ProbeFinding, Verdict

Pair = tuple[str, str, Port | None]
"""Source, destination and port; None means any undeclared port."""
_LIVE, _PROOF, _DECLARATION = "the live network", "the proof", "the declaration"


def of_stack(stack: str, topology: Topology) -> Reachability:
    """Return the reachability of the resources in the stack's state; raises ProbeError if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.json"
        run("pulumi", "stack", "export", "--stack", stack, "--file", str(file), "--non-interactive")
        try:
            resources = from_state(file)
        except StateError as error:
            raise ProbeError(str(error)) from None
    return Graph(tuple(map(view, resources)), TopologyIndex.of(topology)).reachability


def compared(
    findings: Iterable[ProbeFinding], proof: Reachability, topology: Topology
) -> tuple[list[ProbeFinding], int]:
    """Return the findings with `odd` set, plus those that only the proof shows, and the number of pairs."""
    found, possible = list(findings), ways(proof, topology)
    by_pair: defaultdict[Pair, list[ProbeFinding]] = defaultdict(list)
    for finding in found:
        if pair := _pair(finding, proof, topology):
            by_pair[pair].append(finding)
    strange: dict[int, ProbeFinding] = {}
    added: list[ProbeFinding] = []
    for pair, cells in by_pair.items():
        way = possible.get(pair)
        who = _odd(cells, proved=way is not None)
        wrong = [cell for cell in cells if cell.verdict is Verdict.DISAGREES]
        strange |= {id(cell): replace(cell, odd=who or _LIVE) for cell in wrong}
        if who == _PROOF:
            cause = f"it says ALLOWED via {way}" if way else "it says DENIED"
            added.append(replace(cells[0], where="", verdict=Verdict.DISAGREES, odd=who, cause=cause))
    return [*(strange.get(id(finding), finding) for finding in found), *added], len(by_pair)


def ways(proof: Reachability, topology: Topology) -> Mapping[Pair, Trace]:
    """Return every connection that packets can open, with its trace.

    A published port leads to Docker-SRV. What the ingress passes on is a connection of its own, and is judged
    by its pages.
    """
    found: dict[Pair, Trace] = {}
    for bundle in proof.connection_sets():
        name = topology.docker.name if bundle.how is EdgeKind.PUBLISHED else bundle.destination
        if bundle.how is not EdgeKind.PROXIED:
            found |= {(source, name, bundle.port): bundle.trace for source in bundle.sources}
    return found


def _pair(finding: ProbeFinding, proof: Reachability, topology: Topology) -> Pair | None:
    """Return the pair of a cell, or None if the proof has no opinion on it.

    It has none on pages, ICMP, names, newcomers, and the ports of an open Docker-SRV, which no resource
    describes.
    """
    name, text = finding.destination, finding.what.rpartition(":")[2]
    if not finding.where or text in {ICMP, NAME} or not {finding.source, name} <= proof.names.keys():
        return None
    port = None if text == label(OTHER) else Port.parse(text)
    docker = topology.docker_host
    listed = docker and name == docker.name and not docker.closed
    return None if listed and port is None else (finding.source, name, port)


def _odd(cells: list[ProbeFinding], *, proved: bool) -> str:
    """Return which of the three differs from the other two, empty if none does.

    Where nothing is expected, only an open connection that the proof excludes counts.
    """
    live = any(cell.open for cell in cells)
    expected = {cell.expected for cell in cells}
    declared = Expected.ALLOWED in expected
    if not declared and Expected.EITHER in expected:
        return _PROOF if live and not proved else ""
    if declared == live == proved:
        return ""
    if declared == proved:
        return _LIVE
    return _PROOF if declared == live else _DECLARATION
