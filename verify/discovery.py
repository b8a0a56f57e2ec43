"""The endpoints of the site as they are now, and the best available transport to each.

A machine that the stack file names comes first; a container is entered in the declared image, else by its
namespace on this machine; guest <id> of a lab is the namespace `vm-<id>`.
Note: an agent must have the address of the source that it stands for. If it runs on a different machine, its
endpoint gets a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from topology.model import (
    INTERNET,
    Guest,
    Port,
    Protocol,
    ProxmoxHost,
    Role,
    SshVantage,
    Topology,
    Zone,
    slots_of,
)
from verify import inventory, learned, namespaces, slots, transports
from verify.agents import MachineFacts
from verify.expect import Address, Endpoint, EndpointKind, declared_zones, guest, heard

_NOBODY = MachineFacts()
_LINK = 29
"""Longest prefix of a zone outside that has two addresses for the probe."""


def address(name: str) -> IPv4Address | None:
    """Return a host name as an address if it is one, else None."""
    try:
        return IPv4Address(name)
    except ValueError:
        return None


class Discovery:
    """Finds the `transports` first and then, from the agents' facts, the endpoints.

    `inside`: this is Docker-SRV, and namespaces can be entered and made. `elsewhere`: this is not Docker-SRV.
    """

    def __init__(
        self,
        topology: Topology,
        known_hosts: Path,
        *,
        inside: bool = True,
        elsewhere: bool = False,
        guests_here: bool = True,
    ) -> None:
        self.topology, self.inside = topology, inside
        self.elsewhere, self.guests_here = elsewhere, guests_here
        self.transports = {
            name: transports.ssh(one, known_hosts) for name, one in topology.ssh_vantages.items()
        }
        self.left_out: list[str] = []
        self.faults: dict[str, str] = {}
        self.containers: list[Endpoint] = []
        self.members: list[Endpoint] = []
        self.extra: tuple[Port, ...] = ()
        self._links: dict[str, tuple[IPv4Address, IPv4Address]] = {}
        """Outside endpoint that the run makes -> its address on the link, and Docker-SRV's."""
        self._networks = {topology.physical(zone.network): zone.name for zone in self._zones}
        leaving = {flow.port for flow in topology.flows_to(INTERNET)}
        self.leaving = sorted((port for port in leaving if port.protocol is Protocol.TCP), key=str)
        self.left_out += [
            f"egress to {port}: only TCP is answered there" for port in leaving - {*self.leaving}
        ]

    @property
    def _zones(self) -> list[Zone]:
        return [zone for zone in self.topology.zones.values() if zone.is_docker or zone.has_guests]

    def _askable(self) -> Iterator[Zone]:
        """Yield the zones outside the site that have an address for the probe, beyond a router."""
        for zone in self.topology.outsides:
            if zone.prefix.prefixlen > _LINK or self.topology.around(zone):
                self.left_out.append(f"{zone.name}: its addresses are other machines', so it is not asked")
            else:
                yield zone

    def _tried(self) -> Iterator[Zone]:
        """Yield the zones that get a newcomer; on a LAN its address might be another machine's."""
        for zone in self._zones:
            if zone in self.topology.lans:
                self.left_out.append(f"{_stranger(zone)}: an address there may be another machine's")
            else:
                yield zone

    @property
    def named(self) -> set[int]:
        """Numbers of all declared or published ports."""
        ports = [port for service in self.topology.services.values() for port in service.ports]
        ports += [port for host in self.topology.proxmox_hosts for port in host.ports]
        ports += self.topology.docker.ports if self.topology.docker_host else ()
        ports += [*self.topology.published, *self.extra, *self.leaving]
        return {port.number for port in ports}

    def discover(self, containers: Iterable[Mapping[str, Any]]) -> None:
        """Discover the endpoints that exist before the run, and the transports to them."""
        topology = self.topology
        by_name = {str(one["Name"]).lstrip("/"): one for one in containers}
        self.extra = self._published_besides(by_name)
        empty = [
            slot
            for slot in slots_of(topology.containers)
            if not slots.is_filled(topology, slot, by_name.values())
        ]
        self.left_out += [f"slot {each.name}: empty until project {each.project} fills it" for each in empty]
        self.containers = [
            self._declared(service.name, by_name.pop(topology.physical(service.name), {}))
            for service in topology.containers
            if service not in empty
        ]
        self.containers += [self._strange(name, one) for name, one in by_name.items() if self._addresses(one)]
        for service in topology.guests:
            path = Path(f"/run/netns/vm-{service.vmid}")
            if self.guests_here and path.exists():
                self.transports.setdefault(service.name, transports.namespace(path, service.name))
        for node in topology.proxmox_hosts if self.guests_here else ():
            path = Path("/run/netns", node.node)
            self.transports |= {node.name: transports.namespace(path, node.name)} if path.exists() else {}
        if docker := topology.docker_host:
            name = docker.name
            if self.inside:
                self.transports.setdefault(name, transports.here(name))
            elif topology.probe_image:
                self.transports.setdefault(name, transports.docker(topology.probe_image, "host", name))
        for zone in topology.management if self.elsewhere else ():
            if any(interface.ip in zone.prefix for interface in namespaces.host_addresses()):
                self.transports.setdefault(zone.name, transports.here(zone.name))

    def _declared(self, name: str, one: Mapping[str, Any]) -> Endpoint:
        zones, found = declared_zones(self.topology, name), self._addresses(one)
        self._enter(name, one)
        return Endpoint(
            name=name,
            kind=EndpointKind.CONTAINER,
            addresses=tuple(
                Address(network=network, ip=ip, heard=heard(self.topology, name, network, ip))
                for network, ip in ((each, found.get(each)) for each in sorted({*zones, *found}))
            ),
            zones=zones,
            ports=self.topology.services[name].ports,
            runs=name in self.transports,
            name_servers=tuple(one["HostConfig"].get("Dns") or ()) if "HostConfig" in one else None,
            oddities=tuple(inventory.oddities(self.topology, one)) if one else (),
        )

    def _strange(self, name: str, one: Mapping[str, Any]) -> Endpoint:
        """Return an undeclared container on the site's networks as an endpoint."""
        self._enter(name, one)
        exposed = {*(one["Config"].get("ExposedPorts") or {}), *(one["NetworkSettings"]["Ports"] or {})}
        return Endpoint(
            name=name,
            kind=EndpointKind.CONTAINER,
            addresses=tuple(Address(network=n, ip=ip) for n, ip in self._addresses(one).items()),
            ports=tuple(Port.parse(port) for port in sorted(exposed) if port.endswith(("/tcp", "/udp"))),
            oddities=tuple(inventory.oddities(self.topology, one)),
        )

    def _enter(self, name: str, one: Mapping[str, Any]) -> None:
        if not one or not one["State"]["Running"]:
            return
        self.transports[name] = (
            transports.docker(image, f"container:{one['Name'].lstrip('/')}", name)
            if (image := self.topology.probe_image)
            else transports.namespace(f"/proc/{one['State']['Pid']}/ns/net", name)
        )

    def _addresses(self, one: Mapping[str, Any]) -> dict[str, IPv4Address]:
        """Return a running container's addresses on the site's networks, by zone."""
        if not one or not one["State"]["Running"]:
            return {}
        joined = one["NetworkSettings"]["Networks"].items()
        return {
            self._networks[name]: IPv4Address(network["IPAddress"])
            for name, network in joined
            if network["IPAddress"] and name in self._networks
        }

    def _published_besides(self, containers: Mapping[str, Mapping[str, Any]]) -> tuple[Port, ...]:
        """Return ports that containers of the site publish and no flow of the internet names.

        A container belongs to the site if it is declared or on one of the site's networks.
        """
        ingress = self.topology.physical(self.topology.ingress_name or "")
        site = {self.topology.physical(service.name) for service in self.topology.containers}
        declared = {port.number for port in self.topology.published}
        found = {
            Port.parse(f"{binding['HostPort']}/{inside.partition('/')[2]}")
            for name, one in containers.items()
            if name in site or not self._networks.keys().isdisjoint(one["NetworkSettings"]["Networks"])
            for inside, bindings in (one["NetworkSettings"]["Ports"] or {}).items()
            for binding in bindings or []
            if not binding["HostIp"].startswith("127.") and inside.endswith("/tcp")
            if name != ingress or int(binding["HostPort"]) not in declared
        }
        return tuple(sorted(found, key=str))

    def make(self, outside: IPv4Network) -> None:
        """Make namespaces on this machine for the internet, management and newcomers."""
        before, made = namespaces.host_addresses(), namespaces.Made()
        everywhere = [
            *(zone.prefix for zone in self.topology.zones.values()),
            *(IPv4Network(interface.ip) for interface in before),
        ]
        links = {INTERNET: outside}
        for zone in self._askable():
            if not any(interface.ip in zone.prefix for interface in before):
                links[zone.name] = [*zone.prefix.subnets(new_prefix=30)][-1]
            elif zone.name not in self.transports:
                self.left_out.append(f"{zone.name} as a source: this machine is on {zone.prefix} itself")
        for name, link in links.items():
            if name not in self.transports:
                self._links[name] = link[2], made.beside(name, link, everywhere)
                self.transports[name] = transports.namespace(f"/run/netns/{namespaces.PREFIX}-{name}", name)
        for zone in self._tried() if not self.topology.probe_image else ():
            card = self.topology.parent(zone) if zone.vlan else self.topology.bridge(zone)
            if not Path("/sys/class/net", card).exists():
                self.left_out.append(f"{_stranger(zone)}: this machine has no {card}")
                continue
            ip = self._newcomer(zone)
            own = IPv4Interface(f"{ip}/{zone.prefix.prefixlen}")
            (made.on_leg if zone.vlan else made.on_bridge)(zone.name, card, own, [*everywhere, outside])
            path = f"/run/netns/{namespaces.PREFIX}-{zone.name}"
            self.transports[_stranger(zone)] = transports.namespace(path, _stranger(zone))

    def run(self, image: str, there: Sequence[str]) -> None:
        """Add a newcomer, in a container, on each of the site's networks that the engine has (`there`)."""
        for zone in self._tried():
            network = self.topology.physical(zone.network)
            if network in there:
                where = "--ip", str(self._newcomer(zone))
                self.transports[_stranger(zone)] = transports.docker(image, network, _stranger(zone), *where)
            else:
                self.left_out.append(f"{_stranger(zone)}: the engine has no network {network}")

    def _newcomer(self, zone: Zone) -> IPv4Address:
        """Add a newcomer at the zone's highest free address; returns the address."""
        taken = {address.ip for endpoint in self.containers for address in endpoint.addresses}
        taken |= {service.address for service in self.topology.guests}
        members = (each for each in self.topology.containers if zone.name in each.zones)
        taken |= {self.topology.address_on(each.name, zone) for each in members if zone.is_docker}
        last = int(zone.prefix.broadcast_address)
        free = next(ip for ip in map(IPv4Address, range(last - 1, last - 99, -1)) if ip not in taken)
        self.members.append(
            Endpoint(
                name=_stranger(zone), kind=EndpointKind.MEMBER,
                addresses=(Address(network=zone.name, ip=free),), zones=frozenset({zone.name}),
            )
        )  # fmt: skip
        return free

    def endpoints(
        self, facts: Mapping[str, MachineFacts], other: int, proxmox: IPv4Address | None
    ) -> list[Endpoint]:
        """Return sources and destinations, outside first; every agent listens on `other`."""
        docker = [self._docker(facts)] if self.topology.docker_host else []
        outside = [self._internet(facts), *self._outside(facts, docker)]
        guests = [self._guest(service, facts, other) for service in self.topology.guests]
        there = [self._as_it_is(endpoint, facts) for endpoint in (*self.containers, *guests)]
        inside = [self._pinging(endpoint, facts) for endpoint in (*there, *self.members)]
        nodes = (
            endpoint
            for host in self.topology.proxmox_hosts
            for endpoint in self._node(host, host.address or proxmox)
        )
        return [*filter(None, outside), *inside, *docker, *nodes]

    def _docker(self, facts: Mapping[str, MachineFacts]) -> Endpoint:
        topology, name = self.topology, self.topology.docker.name
        found = facts.get(name, _NOBODY)
        edge = next(zone for zone in topology.zones.values() if zone.role is Role.EDGE)
        cards = {ip: self._zone(ip) or name for ip in sorted(found.addresses)}
        if self.inside:
            cards = {interface.ip: card for interface, card in namespaces.host_addresses().items()}
        if found.addresses and edge.gateway not in found.addresses:
            cards = {}
            self._refuse(name, f"the machine there does not have {edge.gateway}, the gateway of {edge.name}")
        return Endpoint(
            name=name, kind=EndpointKind.HOST, ports=(*topology.published, *self._own), extra=self.extra,
            addresses=tuple(Address(network=card, ip=ip) for ip, card in cards.items()),
            oddities=tuple(self._ipv6()) if self.inside else (),
        )  # fmt: skip

    def _ipv6(self) -> Iterator[tuple[str, str]]:
        """Yield this machine's IPv6 addresses on the site's networks, where flows name IPv4 alone."""
        cards = {self.topology.bridge(zone): zone for zone in self._zones if zone.is_docker}
        apart = (zone for zone in self.topology.vlans if zone not in self.topology.lans)
        cards |= {self.topology.parent(zone): zone for zone in apart}
        for ip, card in namespaces.ipv6_addresses():
            if zone := cards.get(card):
                yield f"has {ip} on {zone.name}", f"IPv6 was switched on there, on {card}"

    @property
    def _own(self) -> list[Port]:
        """Ports of Docker-SRV's own programs that flows name; a program may not answer a datagram."""
        ports = {flow.port for flow in self.topology.flows_to(self.topology.docker.name)}
        return sorted((port for port in ports if port.protocol is Protocol.TCP), key=str)

    def _internet(self, facts: Mapping[str, MachineFacts]) -> Endpoint | None:
        """Return the internet side, None without a transport; the real internet asks only Docker-SRV."""
        if INTERNET not in self.transports:
            self.left_out.append(f"{INTERNET} as a source: add vantages.{INTERNET}")
            return None
        found, vantage = facts.get(INTERNET, _NOBODY), self.topology.ssh_vantages.get(INTERNET)
        ip, near = self._links.get(INTERNET, (None, None))
        far = False
        if vantage:
            named = address(vantage.ssh.partition("@")[2])
            ip, far = named if named in found.addresses else None, named is None or named.is_global
        if far:
            self.left_out.append(f"{INTERNET} to private addresses: out there they are other people's")
        if inside := [ip for ip in sorted(found.addresses) if self._zone(ip)]:
            self._refuse(INTERNET, f"the machine there has {inside[0]} and is inside")
        ports = tuple(port for port in self.leaving if port.number in found.listeners)
        if INTERNET in facts:
            shut = [
                f"egress to {port}: only root may listen there" for port in self.leaving if port not in ports
            ]
            unknown = f"{INTERNET} as a destination: its machine does not have the address that ssh names"
            self.left_out += shut if ip else [unknown]
        return Endpoint(
            name=INTERNET, kind=EndpointKind.OUTSIDE, ports=ports, far=far,
            docker_host_address=self._docker_host(vantage, near),
            addresses=(Address(network=INTERNET, ip=ip),) if ip else (),
        )  # fmt: skip

    def _outside(self, facts: Mapping[str, MachineFacts], docker: Sequence[Endpoint]) -> Iterator[Endpoint]:
        for zone in self.topology.outsides:
            name, found = zone.name, facts.get(zone.name, _NOBODY)
            if name not in self.transports:
                is_askable = zone.prefix.prefixlen <= _LINK and not self.topology.around(zone)
                if is_askable and (self.elsewhere or not self.inside):
                    self.left_out.append(f"{name} as a source: add vantages.{name}")
                continue
            ip, near = self._links.get(name, (None, None))
            ip = ip or next((own for own in sorted(found.addresses) if own in zone.prefix), None)
            theirs = (address.ip for endpoint in docker for address in endpoint.addresses)
            near = near or next((ip for ip in theirs if ip and ip in zone.prefix), None)
            docker_host = self._docker_host(self.topology.ssh_vantages.get(name), near)
            if name in facts and ip is None:
                self._refuse(name, f"the machine there has no address in {zone.prefix}")
            elif docker and name in facts and docker_host is None:
                self._refuse(
                    name, "nothing says where Docker-SRV is found from there", "give it docker-host-address"
                )
            where = (Address(network=name, ip=ip),) if ip else ()
            yield Endpoint(
                name=name, kind=EndpointKind.OUTSIDE, addresses=where, docker_host_address=docker_host
            )

    def _docker_host(self, vantage: SshVantage | None, near: IPv4Address | None) -> IPv4Address | None:
        """Return Docker-SRV's address from outside: the vantage's, the published one, or a nearby one."""
        if self.topology.docker_host is None:
            return None
        published = self.topology.docker_host.address
        return (vantage and vantage.docker_host_address) or (near if published.is_unspecified else published)

    def _guest(self, service: Guest, facts: Mapping[str, MachineFacts], other: int) -> Endpoint:
        name, found = service.name, facts.get(service.name, _NOBODY)
        here = name in self.transports
        remote = name in self.topology.ssh_vantages and name in facts
        if remote and service.address not in found.addresses:
            self._refuse(name, f"the machine there does not have {service.address}")
        if not here and not self.guests_here:
            self.left_out.append(f"{name} as a source: it is a guest of another machine; add vantages.{name}")
        return guest(
            self.topology,
            service,
            there=here,
            listening=[Port(number=number) for number in found.listeners if number != other],
            elsewhere=not here and not self.guests_here,
        )

    def _as_it_is(self, endpoint: Endpoint, facts: Mapping[str, MachineFacts]) -> Endpoint:
        """Return the endpoint with the addresses in the site's zones that it took from inside."""
        own = {address.ip for address in endpoint.addresses}
        found = sorted(facts.get(endpoint.name, _NOBODY).addresses - own)
        taken = tuple(
            (f"has {ip} on {zone.name}", self._owner(ip))
            for ip in found
            for zone in self._zones
            if ip in zone.prefix
        )
        return replace(endpoint, oddities=(*endpoint.oddities, *taken))

    def _owner(self, ip: IPv4Address) -> str:
        """Return the cause of an address that was added inside a machine: whose it is, if a service's."""
        owner = learned.names(self.topology).get(str(ip))
        return "it was added inside by hand" + (f"; it is {owner}'s" if owner else "")

    def _pinging(self, endpoint: Endpoint, facts: Mapping[str, MachineFacts]) -> Endpoint:
        """Return the endpoint, without ICMP if it is on a VLAN and its agent may not send any."""
        if facts.get(endpoint.name, _NOBODY).pings or not endpoint.zones & {
            z.name for z in self.topology.vlans
        }:
            return endpoint
        self.left_out.append(
            f"ICMP of {endpoint.name}: only root, or net.ipv4.ping_group_range, may send it there"
        )
        return replace(endpoint, pings=False)

    def _node(self, host: ProxmoxHost, ip: IPv4Address | None) -> Iterator[Endpoint]:
        name = host.name
        if ip is None or not self._zone(ip):
            self.left_out.append(f"{name}: neither it nor its API has an address inside the site's zones")
        else:
            yield Endpoint(
                name=name, kind=EndpointKind.NODE, addresses=(Address(network="proxmox", ip=ip),),
                ports=host.ports, runs=name in self.transports,
            )  # fmt: skip

    def _zone(self, ip: IPv4Address) -> str:
        """Return the name of the zone that contains an address, or an empty string."""
        return next((zone.name for zone in self.topology.zones.values() if ip in zone.prefix), "")

    def _refuse(self, name: str, what: str, remedy: str = "name the right one") -> None:
        self.faults[name] = f"{self.transports[name].path}: {what}; {remedy}"


def _stranger(zone: Zone) -> str:
    return f"stranger@{zone.name}"
