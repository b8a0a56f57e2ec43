"""Drift: where the stack file, the state and the live network differ, and what `up` does about it.

This module writes neither to the state nor to hosts.
Note: Pulumi's refresh finds only part of the drift. Network membership, Docker-SRV's own rules and undeclared
containers and guests belong to no resource, so this module checks them itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from topology.answers import understood
from topology.config import from_file, keys_of
from topology.model import Slot, Topology
from topology.project import stack_name
from verify import host, inventory, slots
from verify.driver import ProbeError
from verify.plan import ABSENT, Drift, drifts, is_empty

PROJECT = Path(__file__).resolve().parent.parent
_SECONDS = 300
_BY_HAND = "leaves it: remove it by hand, or declare it"


def discover(stack: str) -> tuple[list[Drift], list[str]]:
    """Return the differences, and a line for each part not checked; raises ConfigError or ProbeError."""
    file = PROJECT / f"Pulumi.{stack}.yaml"
    topology = from_file(file)
    found = told(_preview(stack))
    left_out = _apart(topology.by_docker_host[0], file, found)
    left_out += (f"not looked at: {each}" for each in host.unasked(topology))
    there = inventory.guests(topology, inventory.Api(stack)) if topology.proxmox_host else ()
    found += [_stranger(f"guest {name}", where) for name, where in there]
    return found, left_out


def _preview(stack: str) -> dict[str, Any]:
    """Return Pulumi's preview with a refresh, as JSON; raises ProbeError if it fails."""
    words = ["pulumi", "preview", "--refresh", "--json", "--non-interactive", "--stack", stack]
    try:
        done = subprocess.run(
            words, cwd=PROJECT, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ProbeError(
            f"pulumi: no such program; run `make drift STACK={stack}`, "
            f'or `eval "$(make -s env STACK={stack})"` first'
        ) from None
    except subprocess.TimeoutExpired:
        raise ProbeError(f"pulumi preview: no end after {_SECONDS} s; see that both hosts answer") from None
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode:
        errors = [d["message"].strip() for d in said.get("diagnostics", ()) if d.get("severity") == "error"]
        raise ProbeError(
            f"stack {stack}: " + ("\n".join(errors) or done.stderr.strip() or done.stdout.strip())
        )
    with understood("pulumi preview", ProbeError):
        if is_empty(said):
            raise ProbeError(f"stack {stack}: down, its state holds nothing; run `make up STACK={stack}`")
    return said


def told(preview: dict[str, Any]) -> list[Drift]:
    """Return the differences that a preview tells; raises ProbeError."""
    with understood("pulumi preview", ProbeError):
        return list(drifts(preview))


def _apart(topology: Topology, file: Path, found: list[Drift]) -> list[str]:
    """Add what no refresh reads on Docker-SRV to `found`; returns a line for each part not checked."""
    if topology.docker_host is None:
        return []
    config = keys_of(file)
    if topology.docker.ssh or config.get("docker:host") or host.elsewhere():
        run = f"run `make drift STACK={stack_name(file)}` there"
        return [f"not looked at: networks and rules of {topology.docker.name}; {run}"]
    there = host.containers()
    known = [*slots.states(topology, there)]
    for name, own, joined in host.misattached(topology, there):
        found.append(
            Drift(
                what=f"{name} (Container) on networks",
                declared=", ".join(own),
                state=", ".join(own),
                live=", ".join(joined) or ABSENT,
                remedy=_of_slot(topology, name) or _anew(host.container(name)),
            )
        )
    found += moved(topology, there)
    found += [_stranger(f"container {name}", where) for name, where in inventory.containers(topology, there)]
    if os.geteuid():
        return [*known, f"not looked at: {topology.docker.name}'s own rules; that needs root"]
    found += [
        Drift(
            what=f"{topology.docker.name}'s {what}",
            declared="there",
            state="there",
            live="missing or changed",
            remedy=_anew(urn),
        )
        for urn, what in host.changed(topology)
    ]
    return known


def moved(topology: Topology, there: Iterable[Mapping[str, Any]]) -> list[Drift]:
    """Return a difference for each slot whose container has another address than the reserved one."""
    return [
        Drift(what=f"{name} (slot)", declared=own, state=ABSENT, live=place, remedy=_of_slot(topology, name))
        for one in there
        for place, own in slots.misplaced(topology, one)
        if (name := _declared(topology, one))
    ]


def _declared(topology: Topology, one: Mapping[str, Any]) -> str:
    name = str(one["Name"]).lstrip("/")
    return next((each.name for each in topology.containers if topology.physical(each.name) == name), "")


def _of_slot(topology: Topology, name: str) -> str:
    slot = topology.services[name]
    return f"leaves it: run `pulumi up` in project {slot.project}" if isinstance(slot, Slot) else ""


def _anew(urn: str) -> str:
    return f"replaces it, given --replace='**{urn}' (`make up` in the lab gives it)"


def _stranger(what: str, where: str) -> Drift:
    return Drift(what=what, declared=ABSENT, state=ABSENT, live=f"on {where}", remedy=_BY_HAND)
