"""Rules that reject what the proof cannot evaluate: unsupported types and properties, unknown values.

Note: a violation here does not mean that something is wrong, only that the pack cannot evaluate it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.rule import Severity, Violation, policy
from resources.docker import SwarmService
from resources.inputs import Ignored, Unsupported
from resources.site import Graph
from resources.typed import TYPES, Command, TypedResource
from topology.index import TopologyIndex
from topology.model import SSH

_READ = tuple({kind for kind in TYPES.values() if kind is not Ignored})


@policy(
    Unsupported,
    SwarmService,
    obligation="Every resource must be of a type whose traffic the pack can follow.",
    remedy="Use a type that resources/ reads, teach it the new one, or declare an exception.",
    severity=Severity.CRITICAL,
)
def known_types(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield a violation for each unsupported type: it may carry any traffic."""
    yield f"{view.resource.type} is not understood, so nothing about its traffic can be proved"


_HALVES = {"docker": ("docker_host", "a Docker host"), "proxmoxve": ("proxmox_host", "a Proxmox host")}
"""For each provider that acts on a host: the host in the stack file, and its kind."""


@policy(
    *_READ,
    obligation="Every resource must be on a host that the stack file declares.",
    remedy="Declare the host, or remove the resource.",
    severity=Severity.CRITICAL,
)
def hosts_declared(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield resources of a half that the site does not have: no zone, flow or rule is about them."""
    host, kind = _HALVES.get(view.resource.type.partition(":")[0], ("", ""))
    if host and getattr(topology, host) is None:
        yield f"is on {kind}, and none is declared"


@policy(
    *_READ,
    obligation="Every property that is set must be one whose traffic the pack can follow.",
    remedy="Leave the property out, or teach resources/ what it means.",
    severity=Severity.CRITICAL,
)
def known_properties(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield unrecognised and malformed properties: they may carry any traffic."""
    for fault in view.faults:
        if fault.why == "unrecognised":
            yield f"{fault.path} is not understood, so nothing about its traffic can be proved"
        elif fault.why == "malformed":
            yield f"{fault.path} is not what the provider takes, so nothing about it can be proved"


@policy(
    *_READ,
    obligation="Every property that carries traffic must be known before anything is created.",
    remedy="Link resources by chosen names and numbers instead of by outputs such as ids.",
    severity=Severity.CRITICAL,
)
def known_values(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield properties that are unknown before creation; stock policies skip them."""
    for fault in view.faults:
        if fault.why == "unknown":
            yield f"{fault.path} can't be known before creation, so nothing about it can be proved"


@policy(
    Command,
    obligation="A command must be one of the project's own.",
    remedy="Express it as resources, or declare an exception that says what the command does.",
    severity=Severity.CRITICAL,
)
def commands_are_our_own(view: TypedResource[Command], topology: TopologyIndex) -> Iterator[str]:
    """Yield commands other than the project's own: a command can change the network in any way."""
    stack, kind = view.resource.stack, view.resource.type
    parts = topology.by_docker_host
    if not any(view.inputs.ours(part, stack, kind) for part in parts):
        docker = (part for part in parts if part.docker_host and view.inputs.runs_on(part.docker.ssh))
        why = view.inputs.difference(next(docker, topology), stack)
        yield f"{kind} runs a command that can't be judged{why and f': {why}'}"


@policy(
    Command,
    obligation="A remote command must know its host by key.",
    remedy="Set connection.hostKey to the host's public key, and leave out proxy and port.",
    severity=Severity.CRITICAL,
)
def remote_commands_know_their_host(view: TypedResource[Command], _: TopologyIndex) -> Iterator[str]:
    """Yield remote commands without a host key, or by another way: another machine could get its login."""
    connection = view.inputs.connection
    if view.resource.type.startswith("command:remote:") and not (connection and connection.host_key):
        yield "connection.hostKey is not set, so any machine may answer for the host"
    if connection and connection.proxy is not None:
        yield "connection.proxy is set, so another machine gets a login"
    if connection and connection.port != SSH.number:
        yield f"connection.port is {connection.port:g}, where another program may answer for the host"


@policy(
    obligation="Each thing must be made by one resource.",
    remedy="Keep one of the resources; two that write the same thing overwrite each other.",
)
def one_resource_each(graph: Graph) -> Iterator[Violation]:
    """Yield resources that create the same thing as another: which one is in force is undefined."""
    owners: dict[tuple[object, ...], TypedResource[Any]] = {}
    for view in graph.views:
        for key in graph.keys(view):
            if key in owners:
                yield view, f"makes {' '.join(map(str, key))}, as {owners[key].name} does"
            owners.setdefault(key, view)
