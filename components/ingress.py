"""The ingress: Traefik on edge, frontend and its VLAN legs, the only container that publishes ports.

`rendered.apps.traefik` provides its routes. Note: the published ports are those of the declared flows from
the internet, not every port that Traefik listens on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.container import ContainerService, ContainerServiceArgs
from topology.model import Topology


@dataclass(frozen=True, kw_only=True)
class IngressArgs:
    """`networks` maps a zone's name to the name of its Docker network."""

    topology: Topology
    networks: Mapping[str, pulumi.Input[str]]


class Ingress(pulumi.ComponentResource):
    """The ingress, the single entry point to containers and guests; `service` is its container."""

    def __init__(self, name: str, args: IngressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:Ingress", name, None, opts)
        topology, service = args.topology, args.topology.ingress
        self.service = ContainerService(
            service.name,
            ContainerServiceArgs(
                topology=topology,
                service=service,
                networks=args.networks,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
