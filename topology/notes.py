"""What a sound stack file may still not mean: told, and never refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from topology.fault import ConfigError, Fault
from topology.model import Topology
from topology.scratch import without_socket
from topology.stack_file import located


def notes(topology: Topology, path: Path) -> tuple[Fault, ...]:
    """Return the notes, each with its line in the stack file."""
    found = (*_unreached(topology), *_without_socket(topology))
    return located(ConfigError(found), path).faults


def _unreached(topology: Topology) -> Iterator[Fault]:
    used = {name for flow in topology.flows for name in (flow.source, flow.destination)}
    for name, service in topology.services.items():
        if name not in used:
            port = service.ports[0] if service.ports else "80/tcp"
            yield Fault(
                f"services.{name}",
                "no flow leads to it or from it, so nothing reaches it",
                f"declare one like management -> {name}:{port}, or remove it",
            )


def _without_socket(topology: Topology) -> Iterator[Fault]:
    for container in topology.containers:
        if folder := without_socket(container):
            yield Fault(
                f"services.{container.name}",
                f"{container.image} makes its socket in {folder}, and its root file system is read-only",
                f"add tmpfs: [{folder}]",
            )
