"""The router of a site: its networks, the way to the internet, and who reaches whom through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from topology.model.flows import Flow, Port
from topology.model.hosts import DockerHost, ProxmoxHost, Ssh
from topology.model.legs import leg_address
from topology.model.services import Container, Guest
from topology.model.values import INTERNET, Flag, InterfaceName, Name, Value
from topology.model.zones import Zone, network_of
from topology.prefixes import SPECIAL

RouterInterface = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9_.-]*$", max_length=15)]
"""An interface of a router, VLAN tag included: `eth1.20`."""


class RouterSystem(StrEnum):
    """What a router runs, which decides the form of its rules."""

    LINUX = "linux"
    VYOS = "vyos"


class RouterLeg(Value):
    """A router's interface on a zone; also written as the interface alone."""

    interface: RouterInterface
    address: IPv4Address | None = None
    """None: the first address of the zone's prefix."""
    bridge: InterfaceName | None = None
    """The node's bridge on that network, for the card of a guest; None: the zone is one of guests."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"interface": value} if isinstance(value, str) else value


class RouterWan(Value):
    """A router's interface towards the internet, and towards every zone outside that it has no leg on."""

    interface: RouterInterface
    address: IPv4Address | None = None
    """None: its provider chooses it."""
    zone: Name | None = None
    """Zone of guests on whose network the interface is, behind that network's own router; None: none."""
    masquerade: Flag = True
    """Whether packets that leave there carry the router's own address."""
    public: tuple[Port, ...] = ()
    """Ports at which the internet reaches guests, beside the ingress."""
    bridge: InterfaceName | None = None
    """The node's bridge on that network, for the card of a guest without `zone`."""
    gateway: IPv4Interface | None = None
    """The next router's address there, with the network's prefix length, for a guest with an `address`."""


class RouterGuest(Value):
    """The router as a virtual machine of a Proxmox host, with a card on each of its networks."""

    vmid: int = Field(ge=100, le=999_999_999)
    """VM id within Proxmox's bounds."""
    node: Name | None = None
    """The Proxmox host that it is on; None where there is one only."""
    cores: int = Field(default=1, ge=1, le=512)
    memory: int = Field(default=512, ge=16, le=1_048_576)
    """MiB."""
    disk: int = Field(default=8, ge=1, le=131_072)
    """GiB."""

    @property
    def existing_mac(self) -> None:
        """None: the stack makes it."""

    def mac(self, card: int) -> str:
        """Return the MAC address of a card by its number: locally administered, so that no guest has it."""
        number = (self.vmid & 0xFFFFFF).to_bytes(3, "big")
        return "BE:24:" + ":".join(f"{byte:02X}" for byte in (card, *number))


class RouterHost(Value):
    """The machine that forwards between the site's networks. Its rules follow from the flows."""

    name: Name
    system: RouterSystem = RouterSystem.LINUX
    legs: Mapping[Name, RouterLeg]
    """Its interfaces by zone."""
    wan: RouterWan | None = None
    """None: no way leads to the internet."""
    ports: tuple[Port, ...] = ()
    """Ports of its own programs that flows may open."""
    ssh: Ssh | None = None
    """None: its rules are installed by hand, or at the first boot of a guest."""
    guest: RouterGuest | None = None
    """None: its machine is there already."""

    def address(self, zone: Zone) -> IPv4Address:
        """Return its address on a zone; the zone's gateway where it has no leg."""
        leg = self.legs.get(zone.name)
        return (leg and leg.address) or zone.gateway

    def own_address(self, zone: Zone) -> IPv4Address:
        """Return the address at which guests of a zone ask the router itself: its WAN's where that is."""
        wan = self.wan
        return wan.address if wan and wan.address and wan.zone == zone.name else self.address(zone)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Where the router sees an end of a flow: its interface, and the end's addresses (None: the internet)."""

    interface: str
    prefix: IPv4Network | None


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A flow that the router forwards. `forward`: its clients ask the router's own address."""

    flow: Flow
    source: Side
    destination: Side
    forward: bool

    @property
    def forwarded_alone(self) -> bool:
        """Whether its clients know no other address than the router's."""
        return self.forward and self.source.prefix is None


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What a router sees of a site; `hosts` are the other machines."""

    router: RouterHost
    zones: Mapping[str, Zone]
    services: Mapping[str, Container | Guest]
    hosts: Mapping[str, DockerHost | ProxmoxHost]

    def side(self, name: str) -> Side | None:
        """Return where an end of a flow is; None where the router has no way to it, or is the end itself."""
        if name == INTERNET:
            return self._wan(None)
        if service := self.services.get(name):
            if isinstance(service, Guest):
                zone = self.zones.get(service.zones[0])
                return self._in(zone, IPv4Network(service.address)) if zone else None
            docker = next((each for each in self.hosts.values() if isinstance(each, DockerHost)), None)
            return self._host(docker) if docker else None
        if name in self.hosts:
            return self._host(self.hosts[name])
        zone = self.zones.get(name)
        return self._in(zone, zone.prefix) if zone and zone.is_outside else None

    def crossing(self, flow: Flow) -> Crossing | None:
        """Return what the router sees of a flow; None for one that does not cross it."""
        source, destination = self.side(flow.source), self.side(flow.destination)
        if source is None or destination is None or self.meets(flow):
            return None
        if source.interface == destination.interface:
            return None
        prefix, wan = destination.prefix, self.router.wan
        private = prefix is not None and any(map(prefix.subnet_of, SPECIAL))
        inward = wan is not None and source.interface == wan.interface
        asks = flow.source == INTERNET or isinstance(self.services.get(flow.destination), Container)
        forward = inward and private and asks
        return Crossing(flow=flow, source=source, destination=destination, forward=forward)

    def at_wan(self, flow: Flow) -> bool:
        """Whether a flow's clients ask for its port at the router's own address towards the internet."""
        if flow.destination == self.router.name:
            source, wan = self.side(flow.source), self.router.wan
            return bool(source and wan and source.interface == wan.interface)
        crossing = self.crossing(flow)
        return crossing is not None and crossing.forward

    def meets(self, flow: Flow) -> bool:
        """Whether a container has a leg of its own on a guest's network, so that no router is between."""
        match self.services.get(flow.source), self.services.get(flow.destination):
            case (Container() as own, Guest() as guest) | (Guest() as guest, Container() as own):
                zone = self.zones.get(guest.zones[0])
                return zone is not None and leg_address(own, zone) is not None
        return False

    def _host(self, host: DockerHost | ProxmoxHost) -> Side | None:
        address = host.address
        if address is None or not int(address):
            return None
        inside = (zone for zone in self.zones.values() if not zone.is_docker and address in zone.prefix)
        zone = next((zone for zone in inside), None)
        return self._in(zone, IPv4Network(address)) if zone else self._wan(IPv4Network(address))

    def _in(self, zone: Zone, prefix: IPv4Network) -> Side | None:
        """Return the side of addresses in a zone: the leg on its network, or the WAN."""
        around = network_of(zone, self.zones.values())
        if leg := self.router.legs.get(around.name):
            return Side(interface=leg.interface, prefix=prefix)
        return self._wan(prefix) if around.is_outside or self.is_before(around) else None

    def is_before(self, zone: Zone) -> bool:
        """Whether the router's WAN is on a zone of guests."""
        return self.router.wan is not None and self.router.wan.zone == zone.name

    def _wan(self, prefix: IPv4Network | None) -> Side | None:
        return Side(interface=self.router.wan.interface, prefix=prefix) if self.router.wan else None


def is_behind(
    flow: Flow,
    services: Mapping[str, Container | Guest],
    zones: Mapping[str, Zone],
    docker: DockerHost | None,
    routing: Routing | None,
) -> bool:
    """Whether a flow leads from a container to a guest behind Docker-SRV's address, by a known way.

    The container has no leg there, and Docker-SRV is on the guest's own network, or the router is between.
    """
    match services.get(flow.source), services.get(flow.destination):
        case Container() as own, Guest() as guest if (zone := zones.get(guest.zones[0])) and docker:
            if leg_address(own, zone):
                return False
            if routing:
                return bool(routing.side(flow.source) and routing.side(flow.destination))
            return docker.address in zone.prefix
    return False
