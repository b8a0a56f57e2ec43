"""The stack's outputs for other projects. docs/outputs.md describes their shape, which is a contract.

Note: the outputs are declared intent, derived from the same topology as the resources. The policy pack never
reads them.
"""

from typing import NotRequired

from typing_extensions import TypedDict

from topology.model import Slot, Topology, slots_of

SCHEMA_VERSION = 2
"""Version of the shape; increased when a key is removed or changes its meaning, not when one is added."""


class ZoneOutput(TypedDict):
    """`network` is the Docker network's name, `vlan` the tag; each is None where the zone has none."""

    role: str
    prefix: str
    network: str | None
    vlan: int | None


class FlowOutput(TypedDict):
    """Permission to open connections; `until` is its last day, None where it has no end."""

    source: str
    destination: str
    port: int
    protocol: str
    until: str | None


class IngressOutput(TypedDict):
    """Address and ports that the ingress publishes, and its own address on each VLAN that it may route to."""

    address: str
    ports: list[int]
    legs: dict[str, str]


class SlotNetworkOutput(TypedDict):
    """The zone whose Docker network a slot's container joins, and its address there."""

    zone: str
    address: str


class SlotOutput(TypedDict):
    """A service whose container the Pulumi project `project` makes, as that container must be.

    `networks` has the networks by the engine's names, which are known in a preview, as ids are not. `engine`
    is the address of its Docker host for SSH; None: its engine is on the machine that runs Pulumi.
    """

    project: str
    container: str
    networks: dict[str, SlotNetworkOutput]
    ports: list[str]
    nameServers: list[str]
    engine: str | None


class Outputs(TypedDict):
    """Everything that `pulumi stack output` prints; without Docker-SRV neither `ingress` nor `urls`."""

    schemaVersion: int
    ingress: NotRequired[IngressOutput]
    urls: NotRequired[dict[str, str]]
    slots: NotRequired[dict[str, SlotOutput]]
    zones: dict[str, ZoneOutput]
    flows: dict[str, FlowOutput]


def outputs(topology: Topology) -> Outputs:
    """Return the outputs of a declared site."""
    ends = {each.flow: str(each.until) for each in topology.temporary}
    found: Outputs = {
        "schemaVersion": SCHEMA_VERSION,
        "zones": {
            zone.name: {
                "role": str(zone.role),
                "prefix": str(zone.prefix),
                "network": topology.physical(zone.network)
                if zone.is_docker or zone in topology.legs.zones
                else None,
                "vlan": zone.vlan,
            }
            for zone in topology.zones.values()
        },
        # By flow and not by position, so that a flow in the middle is one change in a preview.
        "flows": {
            str(flow): {
                "source": flow.source,
                "destination": flow.destination,
                "port": flow.port.number,
                "protocol": str(flow.port.protocol),
                "until": ends.get(flow),
            }
            for flow in topology.flows
        },
    }
    if topology.docker_host:
        found["ingress"] = {
            "address": str(topology.docker_host.address),
            "ports": [port.number for port in topology.published],
            "legs": {name: str(at) for name, at in topology.legs.of(topology.ingress_name).items()},
        }
        found["urls"] = {route.name: route.page for route in topology.routes}
    if slots := slots_of(topology.containers):
        found["slots"] = {slot.name: _slot(topology, slot) for slot in slots}
    return found


def _slot(topology: Topology, slot: Slot) -> SlotOutput:
    zones = (topology.zones[name] for name in slot.zones)
    ssh = topology.docker_host_around(topology.zones[slot.zones[0]]).ssh
    return {
        "project": slot.project,
        "container": topology.physical(slot.name),
        "networks": {
            topology.physical(zone.network): {
                "zone": zone.name,
                "address": str(topology.address_on(slot.name, zone)),
            }
            for zone in zones
        },
        "ports": [str(port) for port in slot.ports],
        "nameServers": [str(server) for server in topology.name_servers(slot)],
        "engine": ssh.address if ssh else None,
    }
