"""What a sound stack file may still not mean: told, and never refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from topology.fault import ConfigError, Fault
from topology.model import Topology
from topology.stack_file import located


def notes(topology: Topology, path: Path) -> tuple[Fault, ...]:
    """Return a note for each service without a flow, with its line in the stack file."""
    return located(ConfigError(_unreached(topology)), path).faults


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
