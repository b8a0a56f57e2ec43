"""One service in a container: its networks, files, data, limits and health check.

Every container gets a restart policy, a memory limit, log rotation, a small tmpfs, a cgroup named after the
service, no capabilities, and by default a user other than root. Only `components.ingress` publishes ports.

Note: the root file system is read-only only where no file is uploaded, because the engine can't copy files
into a read-only one. Values that look redundant (`network_mode`, `memory_swap`) keep the second `up` from
detecting a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pulumi
import pulumi_docker as docker

from components.contents import content
from rendered.runtime import Runtime
from topology.model import MARK, Container, Port

_LOG_OPTIONS = {"max-size": "10m", "max-file": "3", "tag": "{{.Name}}"}
"""Log rotation, and the container's name in each line, from which Promtail and Alloy set a label."""
_SCRATCH = {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}  # noqa: S108  # a path in the container
_HEALTHY_WITHIN = 120
"""Seconds that `up` waits for a new container's first passing health check."""


@dataclass(frozen=True, kw_only=True)
class ContainerServiceArgs:
    """`networks` maps a zone's name to its network's name, and this container's address there.

    `certificates` maps a path in the container to a certificate or key that the stack generates. `protect`
    protects the volumes from deletion, and retains them when they leave the stack.
    """

    service: Container
    physical: str
    networks: Mapping[str, tuple[pulumi.Input[str], IPv4Address | None]]
    protect: bool
    runtime: Runtime = field(default_factory=Runtime)
    certificates: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    published: tuple[Port, ...] = ()
    publish_on: IPv4Address | None = None


class ContainerService(pulumi.ComponentResource):
    """A running, healthy container with its volumes."""

    def __init__(
        self, name: str, args: ContainerServiceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:ContainerService", name, None, opts)
        service, runtime = args.service, args.runtime
        files = {path: content(text) for path, text in runtime.files.items()} | {**args.certificates}
        volumes = {
            path: docker.Volume(
                f"{name}-{volume}",
                name=f"{args.physical}-{volume}",
                opts=pulumi.ResourceOptions(
                    parent=self,
                    delete_before_replace=True,
                    protect=args.protect,
                    retain_on_delete=args.protect,
                ),
            )
            for path, volume in runtime.data.items()
        }
        self.container = docker.Container(
            name,
            name=args.physical,
            image=service.image,
            labels=[docker.ContainerLabelArgs(label=MARK, value=pulumi.get_stack())],
            command=list(runtime.command) or None,
            user=service.user or runtime.user,
            read_only=not files,
            tmpfs=_SCRATCH,
            envs=[f"{key}={value}" for key, value in runtime.environment.items()] or None,
            uploads=[docker.ContainerUploadArgs(file=path, content=text) for path, text in files.items()],
            volumes=[
                *(
                    docker.ContainerVolumeArgs(container_path=path, volume_name=volume.name)
                    for path, volume in volumes.items()
                ),
                *(
                    docker.ContainerVolumeArgs(container_path=path, host_path=host_path, read_only=True)
                    for path, host_path in runtime.host_paths.items()
                ),
            ],
            dns=list(map(str, runtime.name_servers)) or None,
            network_mode="bridge",
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(
                    name=network, ipv4_address=str(address) if address else None
                )
                for network, address in args.networks.values()
            ],
            ports=[
                docker.ContainerPortArgs(
                    internal=port.number,
                    external=port.number,
                    ip=str(args.publish_on),
                    protocol=str(port.protocol),
                )
                for port in args.published
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", *runtime.health],
                interval="5s",
                timeout="5s",
                retries=6,
                start_period="5s",
            )
            if runtime.health
            else None,
            wait=bool(runtime.health),
            wait_timeout=_HEALTHY_WITHIN,
            restart="unless-stopped",
            memory=service.memory,
            memory_swap=service.memory,
            cgroup_parent=f"homelab-{args.physical}.slice",
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            log_driver="json-file",
            log_opts=_LOG_OPTIONS,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.register_outputs({"name": self.container.name})
