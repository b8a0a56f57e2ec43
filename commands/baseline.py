"""The site at another commit of this project, as that commit's own program tells it.

The commit is copied to a temporary folder. Its modules are never imported here: its own
`python -m commands describe` runs in a separate process, with this environment's packages. An older commit
has only `list --json`, which tells its flows alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from policies.review import Base, ways
from reachability.result import Connection, EdgeKind, Trace
from resources import inventory
from resources.site import Graph
from topology.model import Port
from topology.project import PROJECT


class BaselineError(Exception):
    """A commit whose flows can't be listed, as `path: fault; remedy`."""


def to_json(flows: Iterable[Connection]) -> Iterator[str]:
    """Yield flows as pieces of JSON, a list of objects, which `from_json` reads."""
    yield "["
    for index, flow in enumerate(flows):
        yield f"{', ' if index else ''}{json.dumps(asdict(flow), default=str)}"
    yield "]"


def from_json(text: str) -> tuple[Connection, ...]:
    """Return the flows that `to_json` wrote; raises ValueError, TypeError or KeyError on anything else."""
    return _flows(json.loads(text))


def described(graph: Graph, config: Mapping[str, Any]) -> str:
    """Return flows and inventory as JSON; `config` has the stack file's keys."""
    flows = [asdict(flow) for flow in ways(graph.reachability).values()]
    items = inventory.to_json(inventory.inventory(graph, config))
    return json.dumps({"flows": flows, "items": items}, default=str)


def site_at(base: str, name: str) -> Base | None:
    """Return the site at a commit by the stack file `name`; None if it has no such file.

    Raises BaselineError.
    """
    commit = _git(base, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    archive = _git(base, "archive", "--format=tar", commit.decode().strip())
    with TemporaryDirectory(prefix="homelab-network-") as made:
        folder = Path(made)
        # tar and not Python's `extractall`, which takes a filter only from 3.11.4 on.
        subprocess.run(["tar", "--extract", f"--directory={folder}"], input=archive, check=True)
        return _ask(base, folder, name) if (folder / name).is_file() else None


def _ask(base: str, folder: Path, name: str) -> Base:
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        answer = json.loads(_run(folder, "describe", name).stdout)
        return Base(flows=_flows(answer["flows"]), items=inventory.from_json(answer["items"]))
    asked = _run(folder, "list", "--json", name)
    with suppress(ValueError, TypeError, KeyError):
        if asked.returncode == 0:
            return Base(flows=from_json(asked.stdout), items=None)
    said = asked.stderr.strip().rpartition("\n")[2].rstrip(".") or "it answers in another form"
    raise BaselineError(f"{base}: its program can't tell its flows ({said}); name a commit that can.")


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", _program(folder), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def _flows(written: Iterable[Mapping[str, Any]]) -> tuple[Connection, ...]:
    return tuple(
        Connection(
            source=flow["source"],
            destination=flow["destination"],
            port=flow["port"] and Port.parse(flow["port"]),
            how=EdgeKind(flow["how"]),
            trace=Trace(tuple(flow["trace"]["hops"])),
            origin=flow["origin"],
        )
        for flow in written
    )


def _program(folder: Path) -> str:
    """Return the module that lists flows in a copy of the tree; commits before `commands/` have another."""
    return "commands" if (folder / "commands").is_dir() else "policies.command"


def _git(base: str, *words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise BaselineError("git: is not installed; install it.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise BaselineError(
            f"{base or 'BASE'}: {said or 'is no commit here'}; name a branch, tag or commit that is fetched."
        ) from None
