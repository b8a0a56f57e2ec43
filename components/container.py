"""One service in a container: the rendered properties, its networks, files and volumes.

`rendered.container` has the properties, which the policy pack compares with the resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker
from pydantic.alias_generators import to_snake

from components.contents import content
from rendered.container import RenderedContainer, container
from topology import env_files
from topology.model import Container, Topology


@dataclass(frozen=True, kw_only=True)
class ContainerServiceArgs:
    """`networks` maps a zone's name to the name of its Docker network; the container joins
    those of its zones and legs.

    `certificates` maps a path in the container to a certificate or key that the stack generates. The site's
    `protect` protects the volumes from deletion, and retains them when they leave the stack. The container is
    made after the resources of `after`.
    """

    topology: Topology
    service: Container
    networks: Mapping[str, pulumi.Input[str]]
    certificates: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    after: Sequence[pulumi.Resource] = ()


class ContainerService(pulumi.ComponentResource):
    """A running, healthy container with its volumes, which are in `volumes` by their names in the service."""

    def __init__(
        self, name: str, args: ContainerServiceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:ContainerService", name, None, opts)
        topology, service = args.topology, args.service
        rendered = container(topology, service, pulumi.get_stack(), args.certificates)
        files = {
            path: args.certificates[path] if text is None else content(text)
            for path, text in rendered.files.items()
        }
        properties = {to_snake(key): value for key, value in rendered.properties.items()}
        properties["envs"] = _variables(service, rendered) or None
        self.volumes = {
            volume: docker.Volume(
                f"{name}-{volume}",
                name=f"{topology.physical(service.name)}-{volume}",
                driver_opts=options,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    delete_before_replace=True,
                    protect=topology.protect,
                    retain_on_delete=topology.protect,
                ),
            )
            for volume, options in rendered.volumes.items()
        }
        self.container = docker.Container(
            name,
            **properties,
            uploads=[docker.ContainerUploadArgs(file=path, content=text) for path, text in files.items()],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(
                    name=args.networks[zone],
                    ipv4_address=str(topology.address_on(service.name, topology.zones[zone])),
                )
                for zone in (*service.zones, *topology.legs.of(service.name))
            ],
            opts=pulumi.ResourceOptions(
                parent=self, delete_before_replace=True, depends_on=[*self.volumes.values(), *args.after]
            ),
        )
        self.register_outputs({"name": self.container.name})


def _variables(service: Container, rendered: RenderedContainer) -> list[pulumi.Input[str]]:
    """Return all variables of a container; each that holds a secret is one as a whole."""
    plain: list[str] = rendered.properties["envs"] or []
    taken = {each.partition("=")[0] for each in plain} | rendered.secrets.keys()
    try:
        given = {name: text for name, text in env_files.variables(service).items() if name not in taken}
    except env_files.EnvFileError as error:
        raise pulumi.RunError(f"{error}.") from None
    return [
        *plain,
        *(pulumi.Output.concat(name, "=", content(secret)) for name, secret in rendered.secrets.items()),
        *(pulumi.Output.secret(f"{name}={text}") for name, text in given.items()),
    ]
