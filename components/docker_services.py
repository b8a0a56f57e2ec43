"""Every container but the ingress and slots. Each joins its zones and legs, and publishes no port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.container import ContainerService, ContainerServiceArgs
from topology.model import Slot, Topology


@dataclass(frozen=True, kw_only=True)
class DockerServicesArgs:
    """`networks` maps a zone's name to the name of its Docker network, `certificates` a service's name to the
    certificate files that its container gets.
    """

    topology: Topology
    networks: Mapping[str, pulumi.Input[str]]
    certificates: Mapping[str, Mapping[str, pulumi.Input[str]]]


class DockerServices(pulumi.ComponentResource):
    """The containers behind the ingress."""

    def __init__(
        self, name: str, args: DockerServicesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:DockerServices", name, None, opts)
        topology = args.topology
        made: dict[str, pulumi.Resource] = {}
        for service in topology.containers_in_order:
            if service != topology.ingress and not isinstance(service, Slot):
                made[service.name] = ContainerService(
                    service.name,
                    ContainerServiceArgs(
                        topology=topology,
                        service=service,
                        networks=args.networks,
                        certificates=args.certificates.get(service.name, {}),
                        after=[made[name] for name in service.depends_on],
                    ),
                    opts=pulumi.ResourceOptions(parent=self),
                ).container
        self.register_outputs({})
