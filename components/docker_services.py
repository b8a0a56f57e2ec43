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
    certificate files that its container gets. `ingress` may have volumes that others read;
    None: it is on another host.
    """

    topology: Topology
    networks: Mapping[str, pulumi.Input[str]]
    certificates: Mapping[str, Mapping[str, pulumi.Input[str]]]
    ingress: ContainerService | None


class DockerServices(pulumi.ComponentResource):
    """The containers behind the ingress."""

    def __init__(
        self, name: str, args: DockerServicesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:DockerServices", name, None, opts)
        topology, borrowed = args.topology, args.topology.named_volumes.borrowed
        made = {topology.ingress.name: args.ingress} if args.ingress else {}
        for service in topology.containers_in_order:
            if service.name not in made and not isinstance(service, Slot):
                made[service.name] = ContainerService(
                    service.name,
                    ContainerServiceArgs(
                        topology=topology,
                        service=service,
                        networks=args.networks,
                        certificates=args.certificates.get(service.name, {}),
                        after=[
                            *(made[name].container for name in service.depends_on),
                            *(made[owner].volumes[name] for name, owner in borrowed(service).items()),
                        ],
                    ),
                    opts=pulumi.ResourceOptions(parent=self),
                )
        self.register_outputs({})
