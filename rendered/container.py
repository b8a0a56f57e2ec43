"""The properties of a service's container, in the docker provider's spelling.

`components.container` makes the resource of them, and `policies.rendered` demands that the resource is them.
Networks are not among them: `components` joins the networks, and `policies.networks` judges them.

Every container gets a restart policy, a memory limit, log rotation, a small tmpfs, a cgroup named after the
service, no capabilities, and by default a user other than root. Only the ingress publishes ports.

Note: the root file system is read-only only where no file is uploaded, because the engine can't copy files
into a read-only one. Values that look redundant (`networkMode`, `memorySwap`) keep the second `up` from
detecting a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rendered import compose
from rendered.apps import runtime
from rendered.runtime import Runtime, StackSecret, Text, stack_secret
from topology.model import MARK, Container, SecretVariable, Topology

_LOG_OPTIONS = {"max-size": "10m", "max-file": "3", "tag": "{{.Name}}"}
"""Log rotation, and the container's name in each line, from which Promtail and Alloy set a label."""


@dataclass(frozen=True, kw_only=True)
class RenderedContainer:
    """A container as the stack file makes it, without its networks."""

    properties: Mapping[str, Any]
    """Every other property of the resource but its uploads; a property that is left out has its default.

    `envs` lacks the secret variables, and those of the service's files.
    """
    secrets: Mapping[str, StackSecret]
    """Name of a variable -> the secret that it holds."""
    files: Mapping[str, Text | None]
    """Path in the container -> content; None: a certificate or key that the stack generates."""
    volumes: Mapping[str, Mapping[str, str] | None]
    """Name of a volume, without the container's name before it -> options of its driver, if it has any."""


def container(
    topology: Topology, service: Container, stack: str, certificates: Iterable[str] = ()
) -> RenderedContainer:
    """Return a service's container; `certificates` are the paths of the files that the stack generates."""
    made = runtime(topology, service)
    files = {**made.files, **dict.fromkeys(certificates)}
    physical = topology.physical(service.name)
    declared = service.healthcheck
    properties = {
        "name": physical,
        "image": service.image,
        "labels": [
            {"label": MARK, "value": stack},
            *({"label": name, "value": text} for name, text in service.labels.items()),
        ],
        "command": list(service.command or made.command) or None,
        "user": service.user or made.user,
        "readOnly": not files if service.read_only is None else service.read_only,
        "entrypoints": list(service.entrypoint) if service.entrypoint else None,
        "envs": [f"{key}={value}" for key, value in made.environment.items()] or None,
        "volumes": [
            *(
                {"containerPath": path, "volumeName": f"{physical}-{name}"}
                for path, name in made.data.items()
            ),
            *(
                {"containerPath": path, "hostPath": host_path, "readOnly": True}
                for path, host_path in made.host_paths.items()
            ),
            *(compose.mount(topology, each) for each in service.volumes),
        ],
        "dns": list(map(str, made.name_servers)) or None,
        "networkMode": "bridge",
        "ports": _published(topology) if service.name == topology.ingress_name else [],
        "healthcheck": compose.healthcheck(declared) if declared else _healthcheck(made),
        "wait": not declared.is_off if declared else bool(made.health),
        "waitTimeout": compose.healthy_within(declared),
        "restart": "unless-stopped",
        "memory": service.memory,
        "memorySwap": service.memory,
        "cgroupParent": _cgroup(physical),
        **compose.limits(topology, service),
        "securityOpts": ["no-new-privileges:true"],
        "logDriver": "json-file",
        "logOpts": _LOG_OPTIONS,
    }
    secrets = {
        name: stack_secret(value.secret)
        for name, value in service.environment.items()
        if isinstance(value, SecretVariable) and name not in made.environment
    }
    volumes = {**dict.fromkeys(made.data.values()), **compose.volumes(topology, service)}
    return RenderedContainer(properties=properties, files=files, secrets=secrets, volumes=volumes)


def cgroups(topology: Topology) -> list[str]:
    """Return the names of the containers' control groups, by which their metrics are known."""
    return [_cgroup(topology.physical(each.name)) for each in topology.containers]


def _cgroup(physical: str) -> str:
    return f"homelab-{physical}.slice"


def _healthcheck(made: Runtime) -> dict[str, Any] | None:
    if not made.health:
        return None
    tests = ["CMD", *made.health]
    return {"tests": tests, "interval": "5s", "timeout": "5s", "retries": 6, "startPeriod": "5s"}


def _published(topology: Topology) -> list[dict[str, Any]]:
    at = str(topology.docker.address)
    return [
        {"internal": port.number, "external": port.number, "ip": at, "protocol": str(port.protocol)}
        for port in topology.published
    ]
