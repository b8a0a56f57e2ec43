"""Rules for Docker networks: each is a declared zone, sealed as its role requires, with declared members.

Note: `internal` blocks packets beyond the host, but not to the host itself on the gateway's address;
`inhibit_ipv4` blocks those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from policies.rule import Severity, Violation, cis_docker, policy
from resources.docker import DockerContainer, DockerNetwork
from resources.site import Graph
from resources.typed import ProjectCommand, TypedResource
from topology.index import TopologyIndex
from topology.listening import LISTEN, listens
from topology.model import WATCHES, App, DockerHost, Role, Slot, Zone, made_here, slots_of

_BRIDGE: Final = "com.docker.network.bridge."
_SEALED: Final = {f"{_BRIDGE}gateway_mode_ipv4": {"isolated"}, f"{_BRIDGE}inhibit_ipv4": {"true"}}
_WATCHING: Final = {
    f"{_BRIDGE}enable_ip_masquerade": {"false"},
    f"{_BRIDGE}gateway_mode_ipv4": {"nat-unprotected"},
}
_LEAVING: Final = {f"{_BRIDGE}enable_ip_masquerade": {"true"}, f"{_BRIDGE}gateway_mode_ipv4": {"nat"}}
_OPEN: Final = {
    f"{_BRIDGE}enable_icc": {"false"},
    f"{_BRIDGE}enable_ip_masquerade": {"false", "true"},
    f"{_BRIDGE}gateway_mode_ipv4": {"nat"},
}
_BY_ROLE: Final = {Role.PROBE: _WATCHING, Role.EGRESS: _LEAVING}
"""Options of the networks that are not internal, by role; those of edge are `_OPEN`."""


@policy(
    DockerNetwork,
    obligation="A Docker network must be a declared zone, or one of legs on a VLAN.",
    remedy="Declare the zone or the flow that needs a leg, or remove the network.",
)
def networks_are_zones(view: TypedResource[DockerNetwork], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared networks: without a role, no rule limits their members."""
    if topology.docker_networks.get(view.inputs.name) is None:
        yield f"network {view.inputs.name or '(unnamed)'} is no declared zone, and no flow needs a leg there"


@policy(
    DockerNetwork,
    obligation="A zone's network must be sealed as its role says.",
    remedy="Make it internal with its gateway closed; a leg is an internal macvlan on its VLAN's interface.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.29", "Ensure that Docker's default bridge is not used"),
)
def networks_sealed(view: TypedResource[DockerNetwork], topology: TopologyIndex) -> Iterator[str]:
    """Yield networks with a way out, to the host or to another VLAN than their own."""
    network = view.inputs
    zone = topology.docker_networks.get(network.name)
    if zone is None:
        return
    if zone.internal and not network.internal:
        yield f"internal is off, though zone {zone.name} has no way out"
    if network.internal and not zone.internal:
        purpose = "is a way out" if zone.role is Role.EGRESS else "meets published ports"
        yield f"internal is on, though zone {zone.name} {purpose}"
    for name, value in (
        ("attachable", network.attachable),
        ("ingress", network.ingress),
        ("ipv6", network.ipv6),
        ("ipamDriver", network.ipam_driver not in {"", "default"}),
    ):
        if value:
            yield f"{name} is set, which opens it to undeclared peers"
    if [config.subnet for config in network.ipam_configs] != [str(zone.prefix)]:
        yield f"its subnet is not the declared {zone.prefix}"
    if [config.gateway for config in network.ipam_configs] != [str(zone.gateway)]:
        yield f"its gateway is not the zone's {zone.gateway}"
    if any(config.aux_address for config in network.ipam_configs):
        yield "auxAddress is set, which can make another address its members' gateway"
    yield from _leg(network, zone, topology) if zone.has_guests else _bridge(network, zone, topology)


def _leg(network: DockerNetwork, zone: Zone, topology: TopologyIndex) -> Iterator[str]:
    if network.driver != "macvlan":
        where = f"VLAN {zone.vlan}" if zone.vlan else zone.name
        yield f"driver {network.driver or '(none)'} is not macvlan, so it is no leg on {where}"
    wanted = topology.parent(zone)
    parent = network.options.get("parent", "")
    if parent != wanted:
        yield f"parent {parent or '(none)'} is not {wanted}, so it leads to another VLAN"
    if network.options.get("macvlan_mode") != "private":
        yield "macvlan_mode is not private, so its members reach each other past every rule"
    for option in sorted(set(network.options) - {"parent", "macvlan_mode"}):
        yield f"option {option} is not understood"


def _bridge(network: DockerNetwork, zone: Zone, topology: TopologyIndex) -> Iterator[str]:
    if network.driver != "bridge":
        yield f"driver {network.driver or '(none)'} is not bridge"
    if zone.internal and not network.closed_to_host:
        yield "its gateway answers for the host: inhibit_ipv4 is not true"
    if zone.internal and network.option("gateway_mode_ipv4") != "isolated":
        yield "gateway_mode_ipv4 is not isolated, the strictest that the engine has"
    published = not zone.internal and zone.role not in _BY_ROLE
    if published and network.option("enable_icc") != "false":
        yield "enable_icc is not false, so its other members reach every port of the ingress"
    if published and not topology.edge_leaves and network.option("enable_ip_masquerade") != "false":
        yield "enable_ip_masquerade is not false, so the ingress leaves behind the host's address"
    if zone.role is Role.PROBE:
        yield from _watching(network)
    sealed = _SEALED if zone.internal else _BY_ROLE.get(zone.role, _OPEN)
    known = {f"{_BRIDGE}name": None} | sealed
    for option, value in sorted(network.options.items()):
        allowed = known.get(option, set())
        if allowed is not None and value not in allowed:
            yield f"option {option} is not understood with this value"


def _watching(network: DockerNetwork) -> Iterator[str]:
    if network.option("enable_ip_masquerade") != "false":
        yield "enable_ip_masquerade is not false, so what watches leaves behind the host's address"
    if network.option("gateway_mode_ipv4") != "nat-unprotected":
        yield "gateway_mode_ipv4 is not nat-unprotected, so from engine 28 on it gets no reply"


@policy(
    DockerContainer,
    obligation="A container must be a declared service.",
    remedy="Declare the service in the stack file, or remove the container.",
)
def containers_have_a_role(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield containers that are not declared, or another project's: no zone, flow or rule is about them."""
    service = topology.containers_by_name.get(view.inputs.name)
    if service is None:
        yield f"container {view.inputs.name or '(unnamed)'} is no declared service"
    elif isinstance(service, Slot) and service.project != view.resource.project:
        yield f"container {view.inputs.name} is for project {service.project} to make"


@policy(
    DockerContainer,
    obligation="A container must join exactly the networks of its zones, at its declared addresses.",
    remedy="Join the networks of the service's zones and legs, and set ipv4Address.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.29", "Ensure that Docker's default bridge is not used"),
)
def containers_on_their_zones(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared and missing networks; a container without networks is on the shared default bridge."""
    container = view.inputs
    service = topology.containers_by_name.get(container.name)
    if service is None:
        return
    zones = [topology.zones[name] for name in (*service.zones, *topology.legs.of(service.name))]
    wanted = {topology.physical(zone.network): zone for zone in zones}
    joined = {leg.name: leg for leg in container.legs}
    for name in sorted(set(joined) - set(wanted)):
        yield f"joins {name}, which is no network of its zones"
    for name, often in sorted(Counter(leg.name for leg in container.legs).items()):
        if often > 1:
            yield f"joins {name} {often} times, and which of the addresses it gets is undefined"
    for name in sorted(set(wanted) - set(joined)):
        yield f"does not join {name}, though it is in zone {wanted[name].name}"
    for name in sorted(set(wanted) & set(joined)):
        zone = wanted[name]
        declared = topology.address_on(service.name, zone)
        if joined[name].ipv4_address != declared:
            whose = "guests'" if zone.has_guests else "the host's"
            yield f"its address on {name} is not the declared {declared}, which {whose} rules name"


@policy(
    DockerContainer,
    obligation="A container with a leg on a network of guests must listen on one address, not its leg's.",
    remedy=f"Set {LISTEN} once, to the address on its callers' network, or remove the flow to the guest.",
    severity=Severity.CRITICAL,
)
def legs_listen_nowhere(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield containers that listen on a leg, where nothing but the rules of its VLAN stops a newcomer."""
    service = topology.containers_by_name.get(view.inputs.name)
    at = listens(topology, service) if service else None
    if service is None or at is None:
        return
    words = [word.partition("=") for word in (*view.inputs.entrypoints, *view.inputs.command)]
    name = LISTEN.lstrip("-")
    given = [value for flag, _, value in words if flag.startswith("-") and flag.lstrip("-") == name]
    wanted = f"{at}:{service.ports[0].number}"
    if given != [wanted]:
        where, legs = ", ".join(given) or "every address", ", ".join(topology.legs.of(service.name))
        yield f"listens on {where}, not on {wanted} alone, and it has a leg on {legs}"


@policy(
    DockerContainer,
    obligation="Only blackbox exporter and Prometheus may be on a probe zone, and the former nowhere else.",
    remedy="Leave the network; a declaration does not help.",
    severity=Severity.CRITICAL,
)
def probes_are_strangers(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield other members of probe zones, and other networks of the Blackbox exporter.

    Another member would reach the ingress from within; an exporter elsewhere would see more than an outsider.
    """
    container = view.inputs
    service = topology.containers_by_name.get(container.name)
    app = service.app if service else None
    probes = {topology.physical(zone.network) for zone in topology.probes}
    for leg in container.legs:
        if leg.name in probes and app not in WATCHES:
            yield f"joins {leg.name}, from where Docker-SRV is watched"
        if leg.name not in probes and app is App.BLACKBOX_EXPORTER:
            yield f"joins {leg.name}, which is no probe zone"


@policy(
    obligation="A network that a container joins must be in the stack.",
    remedy="Make the network in the same program, so that the pack sees how it is sealed.",
)
def joined_networks_exist(graph: Graph) -> Iterator[Violation]:
    """Yield networks that are not in the stack: a network unknown to the pack may have any members."""
    for part in graph.by_docker_host:
        made = {view.inputs.name for view in part.of(DockerNetwork)}
        for view in part.of(DockerContainer):
            for leg in view.inputs.legs:
                if leg.name not in made:
                    yield view, f"joins network {leg.name or '(unnamed)'}, which is not in the stack"


@policy(
    obligation="Docker-SRV's own rules must be installed, and every bridge be named as they name it.",
    remedy="Add components.host_firewall and verify_timer, and name each bridge after its zone.",
    severity=Severity.CRITICAL,
)
def host_rules_installed(graph: Graph) -> Iterator[Violation]:
    """Yield missing host rules and misnamed bridges.

    Without these rules containers reach the host's services, and machines on the LAN reach containers.
    """
    topology = graph.topology
    for part in graph.by_docker_host if topology.docker_host else ():
        yield from _missing_rules(part, part.topology.docker)
    for view in graph.of(DockerNetwork):
        zone = topology.docker_networks.get(view.inputs.name)
        if zone and zone.is_docker and view.inputs.option("name") != topology.bridge(zone):
            yield view, f"its bridge is not named {topology.bridge(zone)}, so the host's rules miss it"


def _missing_rules(graph: Graph, host: DockerHost) -> Iterator[Violation]:
    topology = graph.topology
    if ProjectCommand.HOST_RULES not in graph.commands:
        yield host.name, "its own rules are not in the stack"
    if topology.legs.every and ProjectCommand.LEG_RULES not in graph.commands:
        yield host.name, "the rules of its legs are not in the stack, so a VLAN reaches all that they lead to"
    if ProjectCommand.BRIDGE_SWITCH not in graph.commands:
        yield host.name, "the switch that shows its rules frames within a bridge is not in the stack"
    if ProjectCommand.BOOT_RULES not in graph.commands:
        yield host.name, "what brings its own rules back at boot is not in the stack"
    if topology.probes and ProjectCommand.PROBE_RULES not in graph.commands:
        yield host.name, "what lets a probe zone see published ports is not in the stack"
    if host.verify_every and ProjectCommand.VERIFY_TIMER not in graph.commands:
        yield host.name, "the timer of the live probe is not in the stack"


@policy(
    obligation="Docker-SRV's rules must drop what is undeclared within a zone, not only observe it.",
    remedy="Take observed-until out of the stack file, or declare an exception that ends then.",
    severity=Severity.CRITICAL,
)
def zones_enforced(graph: Graph) -> Iterator[Violation]:
    """Yield observed zones: the declared flows are then not the only ones between their members."""
    for zone in graph.topology.observed:
        yield f"zone {zone.name}", f"its members reach each other on every port through {zone.observed_until}"


@policy(
    obligation="Every declared zone must exist and be used.",
    remedy="Put a service into the zone, or remove it from the stack file.",
    severity=Severity.MEDIUM,
)
def no_empty_zones(graph: Graph) -> Iterator[Violation]:
    """Yield zones without members or without a network: a proof about an empty zone proves nothing."""
    made = {view.inputs.name: view for view in graph.of(DockerNetwork)}
    joined = {leg.name for view in graph.of(DockerContainer) for leg in view.inputs.legs}
    slots = slots_of(graph.topology.containers)
    joined |= {graph.topology.physical(graph.topology.zones[name].network) for s in slots for name in s.zones}
    for name, view in made.items():
        if name not in joined:
            yield view, f"no container joins network {name or '(unnamed)'}"
    topology = graph.topology
    for name, zone in topology.docker_networks.items():
        if name not in made:
            yield f"zone {zone.name}", f"network {name} is not in the stack"
    tags = {card.vlan_id or None for view in graph.guests for card in view.inputs.cards}
    for zone in topology.vlans:
        if zone.vlan not in tags:
            yield f"zone {zone.name}", f"no guest is on {f'VLAN {zone.vlan}' if zone.vlan else 'it'}"


@policy(
    obligation="Every declared service must be in the stack.",
    remedy="Add the resource, or remove the service from the stack file.",
)
def declared_services_exist(graph: Graph) -> Iterator[Violation]:
    """Yield declared services that are missing or switched off: flows about them could not be verified."""
    containers = {view.inputs.name for view in graph.of(DockerContainer)}
    guests = {view.inputs.name for view in graph.guests}
    topology = graph.topology
    for services, made, what in (
        (made_here(topology.containers), containers, "container"),
        (topology.guests, guests, "guest"),
    ):
        for service in services:
            if topology.physical(service.name) not in made:
                yield service.name, f"{what} {topology.physical(service.name)} is not in the stack"
    for view in graph.guests:
        if view.inputs.template or not view.inputs.started:
            yield view, "is switched off, so no flow to it works"
