"""What a shell in a container gives an attacker: the connections it can open and the secrets that it holds.

The table is made from the proof or from a run of the live probe. It shows secrets by path, never by value.
Note: a port that the probe itself opened counts as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resources import program
from resources.docker import DockerContainer
from resources.site import Graph
from resources.typed import is_secret, view
from topology.index import TopologyIndex
from topology.model import Topology
from verify.driver import ProbeError
from verify.expect import ICMP, NAME, OTHER, Expected, label
from verify.proof import ways

Opened = set[tuple[str, str, str]]
"""Source, destination and port; `*` for any port."""


def table(file: Path, run: Path | None = None) -> Iterator[str]:
    """Yield a Markdown table, one row per container; raises ConfigError, RunError or ProbeError."""
    _, topology, resources = program.of_stack_file(file)
    graph = Graph(tuple(map(view, resources)), TopologyIndex.of(topology))
    opened = of_run(run) if run else of_proof(graph, topology)
    yield "| a shell in | connects to | its files hold |"
    yield "|---|---|---|"
    for name in sorted(each.name for each in topology.containers):
        ends = ", ".join(_ends({(to, port) for source, to, port in opened if source == name}))
        held = ", ".join(f"`{path}`" for path in secrets(graph, topology.physical(name)))
        yield f"| {name} | {ends or 'nobody'} | {held or 'no secret'} |"


def of_proof(graph: Graph, topology: Topology) -> Opened:
    """Return the connections that packets can open according to the proof."""
    return {
        (source, to, str(port or OTHER))
        for source, to, port in ways(graph.reachability, topology)
        if source != to
    }


def of_run(file: Path) -> Opened:
    """Return the connections that a live run saw open; raises ProbeError if the file holds no run."""
    try:
        cells: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cells"]
        opened = {
            (cell["source"], cell["destination"], cell["what"].rpartition(":")[2])
            for cell in cells
            if cell["where"] and cell["got"] == Expected.ALLOWED
        }
    except OSError as error:
        raise ProbeError(f"{file}: {error.strerror}; name a run that `make verify` wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProbeError(f"{file}: is no run as JSON; name one that `make verify` wrote") from None
    return {
        (source, to, OTHER if port == label(OTHER) else port)
        for source, to, port in opened
        if port not in {ICMP, NAME}
    }


def secrets(graph: Graph, physical: str) -> list[str]:
    """Return the paths of a container's files, and the names of its variables, that are Pulumi secrets."""
    (each,) = (each for each in graph.of(DockerContainer) if each.inputs.name == physical)
    variables = (
        f"${env.partition('=')[0]}"
        for index, env in enumerate(each.inputs.envs)
        if is_secret(each, ("envs", index))
    )
    files = (
        upload.file for index, upload in enumerate(each.inputs.uploads) if is_secret(each, ("uploads", index))
    )
    return [*sorted(files), *sorted(variables)]


def _ends(found: set[tuple[str, str]]) -> Iterator[str]:
    """Yield destinations with their ports; `*` replaces the single ports where any port opens."""
    anywhere = {name for name, port in found if port == OTHER}
    for name, port in sorted(found):
        if port == OTHER or name not in anywhere:
            yield f"{name}:{port}"
