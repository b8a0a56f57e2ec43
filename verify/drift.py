"""Drift: where the stack file, the state and the live network differ, and what `up` does about it.

Owns the command `python -m verify.drift`; `make drift` runs it. It writes nothing, neither state nor hosts.
What a reader would get wrong: the engine's refresh is half of it. Who joined which network, Docker-SRV's own
rules and whoever nobody declared are in no resource, so they are looked for apart. Exit status: 0 no drift,
1 drift, 2 it could not be looked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from topology.config import ConfigError, from_file
from topology.model import Topology
from verify import host, inventory
from verify.driver import ProbeError
from verify.plan import ABSENT, Drift, drifts, is_empty

PROJECT = Path(__file__).resolve().parent.parent
_SECONDS = 300
_BY_HAND = "leaves it: remove it by hand, or declare it"


def main(words: Sequence[str]) -> int:
    """Look once and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m verify.drift", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    stack = parser.parse_args(words).stack
    file = PROJECT / f"Pulumi.{stack}.yaml"
    try:
        topology = from_file(file)
        found = list(drifts(_preview(stack)))
        left_out = _apart(topology, file, found)
        found += [
            _stranger(f"guest {name}", where)
            for name, where in inventory.guests(topology, inventory.Api(stack))
        ]
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*table(found), *left_out, sep="\n")
    return int(bool(found))


def table(found: Sequence[Drift]) -> Iterator[str]:
    """The differences as a table, and their number."""
    if found:
        titles = ("what", "declared", "state", "live", "what up does")
        rows = [titles, *((d.what, d.declared, d.state, d.live, d.remedy) for d in found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""
    yield (
        f"{len(found)} differences between stack file, state and live network"
        if found
        else ("no drift: stack file, state and live network agree")
    )


def _preview(stack: str) -> dict[str, Any]:
    """What the engine sees, plan and all; raises ProbeError where it can't."""
    words = ["pulumi", "preview", "--refresh", "--json", "--non-interactive", "--stack", stack]
    try:
        done = subprocess.run(
            words, cwd=PROJECT, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ProbeError('pulumi: no such program; run `make drift`, or `eval "$(make -s env)"`') from None
    except subprocess.TimeoutExpired:
        raise ProbeError(f"pulumi preview: no end after {_SECONDS} s; see that both hosts answer") from None
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode:
        errors = [d["message"].strip() for d in said.get("diagnostics", ()) if d.get("severity") == "error"]
        raise ProbeError(
            f"stack {stack}: " + ("\n".join(errors) or done.stderr.strip() or done.stdout.strip())
        )
    if is_empty(said):
        raise ProbeError(f"stack {stack}: down, its state holds nothing; run `make up`")
    return said


def _apart(topology: Topology, file: Path, found: list[Drift]) -> list[str]:
    """Add what no refresh reads on Docker-SRV; returns what was not looked at, a line each."""
    config = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
    if topology.docker.ssh or config.get("docker:host") or host.elsewhere():
        return [f"not looked at: networks and rules of {topology.docker.name}; run `make drift` there"]
    there = host.containers()
    for name, own, joined in host.astray(topology, there):
        found.append(
            Drift(
                what=f"{name} (Container) on networks",
                declared=", ".join(own),
                state=", ".join(own),
                live=", ".join(joined) or ABSENT,
                remedy=_anew(host.container(name)),
            )
        )
    found += [_stranger(f"container {name}", where) for name, where in inventory.containers(topology, there)]
    if os.geteuid():
        return [f"not looked at: {topology.docker.name}'s own rules; that needs root"]
    if not host.rules_in_force(topology):
        found.append(
            Drift(
                what=f"{topology.docker.name}'s own rules",
                declared="there",
                state="there",
                live="missing or changed",
                remedy=_anew(host.RULES),
            )
        )
    return []


def _anew(urn: str) -> str:
    return f"replaces it, given --replace='**{urn}' (`make up` in the lab gives it)"


def _stranger(what: str, where: str) -> Drift:
    return Drift(what=what, declared=ABSENT, state=ABSENT, live=f"on {where}", remedy=_BY_HAND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
