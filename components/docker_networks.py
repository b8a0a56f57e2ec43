"""The Docker networks: one for each Docker zone, and one leg on each VLAN that the ingress may route to.

Owns drivers, prefixes and isolation of the networks. Who joins them is `components.container`'s. What a
reader would get wrong: a leg is internal as well; a macvlan network that is not takes the default route when
its name sorts before `edge`, and publishing breaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from topology.model import MARK, Role, Topology, Zone

_BRIDGE = "com.docker.network.bridge."


@dataclass(frozen=True, kw_only=True)
class DockerNetworksArgs:
    """The site; its Docker zones and the ingress's legs become networks."""

    topology: Topology


class DockerNetworks(pulumi.ComponentResource):
    """Networks by zone name; containers join them by the `name` output, which is known in preview."""

    def __init__(
        self, name: str, args: DockerNetworksArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("homelab-network:components:DockerNetworks", name, None, opts)
        topology = args.topology
        own = [zone for zone in topology.zones.values() if zone.is_docker]
        self.names: dict[str, pulumi.Output[str]] = {
            zone.name: docker.Network(
                zone.network,
                name=topology.physical(zone.network),
                labels=[docker.NetworkLabelArgs(label=MARK, value=pulumi.get_stack())],
                driver="bridge" if zone.is_docker else "macvlan",
                internal=zone.internal,
                ipam_configs=[
                    docker.NetworkIpamConfigArgs(subnet=str(zone.prefix), gateway=str(zone.gateway))
                ],
                options=bridge_options(topology, zone)
                if zone.is_docker
                else {"parent": f"{topology.docker.trunk}.{zone.vlan}"},
                opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
            ).name
            for zone in [*own, *topology.legs]
        }
        self.register_outputs({"names": self.names})


def bridge_options(topology: Topology, zone: Zone) -> dict[str, str]:
    """Name the bridge, so that host rules can; close the gateway of an internal network to its members.

    `gateway_mode_ipv4=isolated` needs engine 28 and is silently ignored before; `inhibit_ipv4` does the same
    on every engine. The ingress is alone on `edge`: neighbours there are cut off from one another, and no
    member leaves it behind the host's address unless a flow to the internet is declared. No member leaves a
    probe zone so. Engines from 28 on drop every packet to a container that comes by another interface than
    its bridge, the replies of published ports included; `nat-unprotected` leaves a probe zone's members
    without these drops, and Docker-SRV's own rules close the zone instead. Engines before 27 ignore it.
    """
    options = {f"{_BRIDGE}name": topology.bridge(zone)}
    if zone.internal:
        return options | {f"{_BRIDGE}gateway_mode_ipv4": "isolated", f"{_BRIDGE}inhibit_ipv4": "true"}
    if zone.role is Role.PROBE:
        return options | {
            f"{_BRIDGE}enable_ip_masquerade": "false",
            f"{_BRIDGE}gateway_mode_ipv4": "nat-unprotected",
        }
    return options | {
        f"{_BRIDGE}enable_icc": "false",
        f"{_BRIDGE}enable_ip_masquerade": "true" if topology.egress else "false",
    }
