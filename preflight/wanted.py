"""The resources that the program makes under names that may be taken, with the commands that import them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from preflight.state import PulumiState
from topology.model import (
    INTERNET,
    LOCAL_NETWORK,
    App,
    Container,
    Guest,
    Machine,
    ProxmoxHost,
    RouterGuest,
    Topology,
    machine_of,
    made_here,
    table,
)

PROJECT: Final = "homelab-network"
CONTAINER: Final = "docker:index/container:Container"
NETWORK: Final = "docker:index/network:Network"
VOLUME: Final = "docker:index/volume:Volume"
GUEST: Final = "proxmoxve:index/vmLegacy:VmLegacy"
SYSTEM_CONTAINER: Final = "proxmoxve:index/containerLegacy:ContainerLegacy"
GROUP: Final = "proxmoxve:cluster/firewall/security/groupLegacy:GroupLegacy"
ALIAS: Final = "proxmoxve:firewall/aliasLegacy:AliasLegacy"
IPSET: Final = "proxmoxve:firewall/ipsetLegacy:IpsetLegacy"
BRIDGE: Final = "proxmoxve:network/linux/bridge:Bridge"

_COMPONENTS: Final = f"{PROJECT}:components:"
_MACHINES: Final[Mapping[Machine, tuple[str, str]]] = table(
    "_MACHINES",
    Machine,
    {
        Machine.VIRTUAL_MACHINE: ("VirtualMachine", GUEST),
        Machine.SYSTEM_CONTAINER: ("SystemContainer", SYSTEM_CONTAINER),
    },
)
"""What Proxmox makes -> the component that has it, and its type."""
_DATA: Final[Mapping[App, str]] = {
    App.GRAFANA: "data",
    App.PROMETHEUS: "data",
    App.LOKI: "data",
    App.PROMTAIL: "positions",
    App.ALLOY: "positions",
}
"""App with a volume -> what the volume's name adds to the service's."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A resource with its logical and physical name; `parents` are its components, outermost first."""

    type: str
    name: str
    physical: str
    parents: tuple[tuple[str, str], ...]

    def urn(self, stack: str) -> str:
        """Return the URN of the program's resource."""
        return _urn(stack, *(kind for kind, _ in self._parents()), self.type, name=self.name)

    def parent(self, stack: str) -> str:
        """Return the URN of the component that the resource belongs to."""
        return _urn(stack, *(kind for kind, _ in self._parents()), name=self.parents[-1][1])

    def import_command(self, stack: str, identity: str, state: PulumiState) -> str:
        """Return the command that imports the existing object as the program would have made it.

        A parent missing from the state can only be imported together with the resource, from a file.
        """
        if self.parent(stack) in state.urns:
            words = (*_import(stack), self.type, self.name, identity)
            return shlex.join((*words, "--parent", self.parent(stack)))
        file = f"imports-{stack}.json"
        write = (".venv/bin/python", "-m", "commands", "preflight", "--stack", stack, "--imports", file)
        return f"{shlex.join(write)}; {shlex.join((*_import(stack), '--file', file))}"

    def import_entries(self, identity: str) -> list[dict[str, object]]:
        """Return entries of Pulumi's import file: the components, outermost first, then the resource."""
        entries: list[dict[str, object]] = []
        above = ""
        for kind, name in self._parents():
            entry: dict[str, object] = {"type": kind, "name": _key(kind, name), "component": True}
            entry |= {"logicalName": name} | ({"parent": above} if above else {})
            entries.append(entry)
            above = _key(kind, name)
        own: dict[str, object] = {"type": self.type, "name": _key(self.type, self.name), "id": identity}
        return [*entries, own | {"logicalName": self.name, "parent": above}]

    def _parents(self) -> Iterator[tuple[str, str]]:
        return ((_COMPONENTS + kind, name) for kind, name in self.parents)


def containers(topology: Topology) -> list[Wanted]:
    """Return the containers of Docker-SRV."""
    return [_in_container(topology, CONTAINER, service, "") for service in made_here(topology.containers)]


def volumes(topology: Topology) -> list[Wanted]:
    """Return the volumes that the program makes: of apps that keep data, and declared ones."""
    return [
        _in_container(topology, VOLUME, service, f"-{suffix}")
        for service in made_here(topology.containers)
        for suffix in _suffixes(topology, service)
    ]


def networks(topology: Topology) -> list[Wanted]:
    """Return the Docker networks, including those of legs."""
    zones = [*(zone for zone in topology.zones.values() if zone.is_docker), *topology.legs.zones]
    return [_named(topology, NETWORK, zone.network, ("DockerNetworks", "networks")) for zone in zones]


def has_command(state: PulumiState, name: str) -> bool:
    """Whether the stack ran this command on Docker-SRV, such as `host-rules`."""
    return any(urn.endswith(f":Command::{name}") for urn in state.urns)


def guests(topology: Topology) -> list[tuple[Guest | RouterGuest, Wanted]]:
    """Return the guests of Proxmox-SRV, and a router that is one, each with its resource."""
    found: list[tuple[Guest | RouterGuest, Wanted]] = []
    for guest in topology.guests:
        component, kind = _MACHINES[machine_of(guest)]
        above = ("Guests", "guests"), (component, guest.name)
        found.append((guest, _named(topology, kind, guest.name, *above)))
    if (router := topology.router) and router.guest:
        found.append((router.guest, _named(topology, GUEST, router.name, ("RouterMachine", router.name))))
    return found


def groups(topology: Topology) -> list[Wanted]:
    """Return the security groups, one per guest."""
    return [
        _named(topology, GROUP, guest.name, ("Guests", "guests"), ("SecurityGroup", guest.name))
        for guest in topology.guests
    ]


def aliases(topology: Topology) -> list[Wanted]:
    """Return the datacenter's aliases: one per leg, and the node's local network."""
    above = ("DatacenterFirewall", "datacenter")
    legs = [_named(topology, ALIAS, leg.alias, above) for leg in topology.legs.every]
    local = Wanted(type=ALIAS, name="local-network", physical=LOCAL_NETWORK, parents=(above,))
    return [*legs, local]


def ipsets(topology: Topology) -> list[Wanted]:
    """Return the datacenter's ipset of the internet if a guest has egress."""
    leaves = any(isinstance(topology.services.get(f.source), Guest) for f in topology.flows_to(INTERNET))
    return [_named(topology, IPSET, "internet", ("DatacenterFirewall", "datacenter"))] if leaves else []


def bridges(topology: Topology) -> list[Wanted]:
    """Return the nodes' bridges, unless they are declared to exist."""
    found = (bridge(topology, host) for host in topology.proxmox_hosts)
    return [each for each in found if each]


def bridge(topology: Topology, host: ProxmoxHost) -> Wanted | None:
    """Return a node's bridge, None where it is declared to exist; the first node's has no suffix."""
    if host.existing_bridge or not topology.needs_bridge:
        return None
    suffix = "" if host == topology.proxmox else f"-{host.name}"
    above = (("VlanBridge", f"bridge{suffix}"),)
    return Wanted(type=BRIDGE, name=f"{host.bridge}{suffix}", physical=host.bridge, parents=above)


def _in_container(topology: Topology, kind: str, service: Container, suffix: str) -> Wanted:
    outer = ("Ingress", "ingress") if service == topology.ingress else ("DockerServices", "services")
    return Wanted(
        type=kind,
        name=f"{service.name}{suffix}",
        physical=f"{topology.physical(service.name)}{suffix}",
        parents=(outer, ("ContainerService", service.name)),
    )


def _suffixes(topology: Topology, service: Container) -> Iterator[str]:
    if service == topology.ingress:
        own = "acme" if topology.acme else ""
    else:
        own = _DATA.get(service.app, "") if service.app else ""
    yield from dict.fromkeys(filter(None, (own, *topology.named_volumes.made_with(service))))


def _named(topology: Topology, kind: str, name: str, *parents: tuple[str, str]) -> Wanted:
    return Wanted(type=kind, name=name, physical=topology.physical(name), parents=parents)


def _urn(stack: str, *types: str, name: str) -> str:
    return f"urn:pulumi:{stack}::{PROJECT}::{'$'.join(types)}::{name}"


def _import(stack: str) -> tuple[str, ...]:
    """Return the command without what it imports; the program exists, so Pulumi need not write one."""
    return ("pulumi", "import", "--stack", stack, "--generate-code=false")


def _key(kind: str, name: str) -> str:
    """Return the name of an entry in an import file, which must be unique there and an identifier."""
    return f"{kind.rpartition(':')[2]}-{name}"
