"""The Docker networks: one for each Docker zone, and one on each VLAN where containers have legs.

Sets the networks' drivers, prefixes and isolation; containers join them in `components.container`. Note: a
leg is internal too. A macvlan network that is not internal takes the default route when its name sorts before
`edge`, which breaks published ports.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from topology.model import MARK, Role, Topology, Zone

_BRIDGE = "com.docker.network.bridge."


@dataclass(frozen=True, kw_only=True)
class DockerNetworksArgs:
    """The site; its Docker zones and those with legs become networks."""

    topology: Topology


class DockerNetworks(pulumi.ComponentResource):
    """The networks. `names` maps a zone's name to its network's name, which is known in preview."""

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
                options=bridge_options(topology, zone) if zone.is_docker else leg_options(topology, zone),
                opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
            ).name
            for zone in [*own, *topology.legs.zones]
        }
        self.register_outputs({"names": self.names})


def leg_options(topology: Topology, zone: Zone) -> dict[str, str]:
    """Return the options of a macvlan network; what one member sends to another would meet no rule."""
    return {"parent": topology.parent(zone), "macvlan_mode": "private"}


def bridge_options(topology: Topology, zone: Zone) -> dict[str, str]:
    """Return bridge options that name the bridge for the host's rules and isolate the zone.

    An internal network's gateway is closed to its members: `gateway_mode_ipv4=isolated` needs engine 28 and
    is silently ignored before; `inhibit_ipv4` has the same effect on every engine. On `edge`, where the
    ingress is alone, neighbours are isolated, and traffic is masqueraded behind the host's address only if a
    flow to the internet or, by a router, to a guest is declared. An egress zone's members leave behind the
    host's address too, and Docker-SRV's own rules limit each. In a probe zone traffic is never masqueraded.
    Engines from 28 on drop packets that reach a container through another interface than its bridge, replies
    of published ports too; `nat-unprotected` exempts a probe zone from these drops, and Docker-SRV's own
    rules close the zone instead. Engines before 27 ignore `nat-unprotected`.
    """
    options = {f"{_BRIDGE}name": topology.bridge(zone)}
    if zone.internal:
        return options | {f"{_BRIDGE}gateway_mode_ipv4": "isolated", f"{_BRIDGE}inhibit_ipv4": "true"}
    if zone.role is Role.PROBE:
        return options | {
            f"{_BRIDGE}enable_ip_masquerade": "false",
            f"{_BRIDGE}gateway_mode_ipv4": "nat-unprotected",
        }
    if zone.role is Role.EGRESS:
        return options | {f"{_BRIDGE}enable_ip_masquerade": "true"}
    return options | {
        f"{_BRIDGE}enable_icc": "false",
        f"{_BRIDGE}enable_ip_masquerade": "true" if topology.edge_leaves else "false",
    }
