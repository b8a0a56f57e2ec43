"""Derives a site's facts from all of a stack's resources together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Self

import reachability.facts as fact
from reachability.engine import Reachability
from reachability.names import Scope
from resources import host_rules, leg_rules
from resources.docker import DockerContainer, DockerNetwork, SwarmService
from resources.facts import container_fact, firewall_of, network_fact, proxy_fact, rules_of
from resources.index import ResourceIndex
from resources.proxmox import (
    Bridge,
    DatacenterFirewall,
    FirewallOptions,
    FirewallRules,
    NodeFirewall,
    SecurityGroup,
    VlanInterface,
    tag,
)
from resources.proxmox_guests import RouterMachine, SystemContainer
from resources.routed import Routed, text, vlan
from resources.slots import slot_facts
from resources.typed import Command, ProjectCommand, TypedResource
from topology.model import INTERNET, Port, ProxmoxHost, RouterHost


@dataclass(frozen=True)
class Graph(ResourceIndex):
    """A stack's resources, and the facts derived from them."""

    @cached_property
    def zones(self) -> Mapping[str, str]:
        """Names of Docker networks in flows and traces, by physical name."""
        own = {self.topology.physical(z.network): z.name for z in self.topology.zones.values() if z.is_docker}
        return own | {self.topology.physical(z.network): z.network for z in self.topology.vlans}

    @cached_property
    def facts(self) -> fact.Facts:
        """The site's facts, as input for the engine."""
        docker = [part.docker for part in self.by_docker_host]
        return fact.Facts(
            outsides=tuple(self._outsides()),
            hosts=(
                *([self._routed.host] if self._routed else ()),
                *(self._docker_host(part) for part in self.by_docker_host if part.topology.docker_host),
                *map(self._node, self.topology.proxmox_hosts),
            ),
            gateways=tuple(self._gateways()),
            networks=tuple(network for each in docker for network in each.networks),
            containers=tuple(container for each in docker for container in each.containers),
            guests=tuple(self._guests()),
            datacenter=self._datacenter,
            proxies=tuple(proxy for each in docker for proxy in each.proxies),
        )

    @property
    def docker(self) -> fact.Facts:
        """The facts of what is on one Docker host's engine."""
        return fact.Facts(
            networks=tuple(self._networks()),
            containers=(*self._containers(), *self._swarm(), *self._slots()),
            proxies=tuple(self._proxies()),
        )

    @cached_property
    def reachability(self) -> Reachability:
        """The engine on the site's facts."""
        return Reachability(self.facts)

    @cached_property
    def enforced(self) -> Reachability:
        """The engine on the facts without the rules by which observed guests let everything pass."""
        observed = {guest.name for guest in self.topology.observed_guests}
        if not observed:
            return self.reachability
        guests = tuple(
            replace(each, firewall=replace(each.firewall, rules=_enforced(each.firewall.rules)))
            if each.name in observed
            else each
            for each in self.facts.guests
        )
        return Reachability(replace(self.facts, guests=guests))

    def _outsides(self) -> Iterator[fact.Outside]:
        for zone in (None, *self.topology.outsides):
            name = zone.name if zone else INTERNET
            flows = tuple(flow.port for flow in self.topology.flows_to(name))
            near = self.topology.lan_around(zone) if zone else None
            around = near or (self.topology.around(zone) if zone else None)
            yield fact.Outside(
                name=name,
                origin="config",
                prefix=zone.prefix if zone else None,
                ports=tuple(dict.fromkeys((*flows, *(zone.ports if zone else ())))),
                without=self._known if near else self._routed.taken if self._routed and zone else (),
                segment=vlan(self.topology, around) if around else None,
            )
        for lan in self.topology.lans:
            if any(lan.prefix.subnet_of(zone.prefix) for zone in self.topology.outsides):
                continue  # no machine there is another's
            others = (*self._known, *(zone.prefix for zone in self.topology.outsides))
            yield fact.Outside(
                name=lan.name,
                origin="config",
                prefix=lan.prefix,
                without=others,
                segment=vlan(self.topology, lan),
            )

    @property
    def _known(self) -> tuple[IPv4Network, ...]:
        """Addresses of the site's own machines on shared networks."""
        topology = self.topology
        hosts = (host.address for host in topology.hosts if not isinstance(host, RouterHost))
        legs = (lan.ingress for lan in topology.lans)
        own = [*(guest.address for guest in topology.guests), *legs, *hosts]
        return (*(IPv4Network(ip) for ip in own if ip), *(self._routed.taken if self._routed else ()))

    def _switch(self, node: str, bridge: str) -> str:
        """Return the switch that a bridge of a node is part of: the declared bridges of all nodes are one."""
        own = {(host.node, host.bridge) for host in self.topology.proxmox_hosts}
        return self.topology.proxmox.bridge if (node, bridge) in own else bridge

    @property
    def entries(self) -> tuple[fact.Entry, ...] | None:
        """What one Docker host's own rules let in from outside; None: everything."""
        return host_rules.entries(self._host_rules)

    def _docker_host(self, part: Self) -> fact.Host:
        """Return a Docker host; of several, each has one address, at which the others find it."""
        topology, docker = self.topology, part.topology.docker
        own = docker.address if len(topology.docker_hosts) > 1 else None
        apart = (
            zone.name for zone in topology.outsides if topology.lan_around(zone) or not topology.around(zone)
        )
        everywhere = (
            *(fact.HostLeg(segment=name, address=own) for name in (INTERNET, *apart)),
            *(
                fact.HostLeg(segment=vlan(topology, zone), address=docker.address)
                for zone in topology.vlans
                if docker.address in zone.prefix
            ),
        )
        return fact.Host(
            name=docker.name,
            origin="config",
            legs=self._routed.near(docker.address) if self._routed else everywhere,
            ports=docker.ports,
            entries=part.entries,
        )

    def _node(self, proxmox: ProxmoxHost) -> fact.Host:
        """Return a Proxmox node; a resource that names no declared node counts for each."""
        nodes = {host.node for host in self.topology.proxmox_hosts}
        others = nodes - {proxmox.node}
        near = [zone.name for zone in self.topology.management if self.topology.near_node(zone)]
        outside = tuple(fact.HostLeg(segment=name, address=proxmox.address) for name in (INTERNET, *near))
        if self._routed:
            outside = self._routed.near(proxmox.address)
        switches = [each for each in self.of(NodeFirewall) if each.inputs.node_name not in others]
        own = [
            each
            for each in self.of(FirewallRules)
            if not each.inputs.guest and each.inputs.node_name == proxmox.node
        ]
        interfaces: list[TypedResource[Any]] = [*self.of(Bridge), *self.of(VlanInterface)]
        inside = (
            fact.HostLeg(segment=self._segment(each), address=each.inputs.address, name=each.inputs.name)
            for each in interfaces
            if (each.inputs.address or each.inputs.address6) and each.inputs.node_name not in others
        )
        wire = fact.Vlan(bridge=self.topology.proxmox.bridge)
        # The node's addresses on an existing bridge are unknown, so the node may be on it, untagged.
        own_bridge = [fact.HostLeg(segment=wire)] if proxmox.existing_bridge else []
        own_bridge += [
            fact.HostLeg(segment=vlan(self.topology, zone), address=proxmox.address)
            for zone in self.topology.lans
            if proxmox.address and proxmox.address in zone.prefix
        ]
        return fact.Host(
            name=proxmox.name,
            origin="config",
            legs=(*outside, *inside, *own_bridge),
            ports=proxmox.ports,
            firewall=fact.HostFirewallFact(
                origin=switches[0].name if switches else "config",
                enabled=all(each.inputs.enabled for each in switches),
                rules=tuple(rule for each in own for rule in rules_of(each)),
            ),
        )

    @cached_property
    def _routed(self) -> Routed | None:
        """The declared router, with what its rules let through; other machines have no known rules."""
        router = self.topology.router
        if router is None:
            return None
        commands = [each.inputs for each in self.of(Command)]
        is_there = router.guest is None or bool(self.of(RouterMachine))
        return Routed(topology=self.topology, text=text(self.topology, commands) if is_there else "")

    def _gateways(self) -> Iterator[fact.Gateway]:
        """Yield the router, if guests name one: it is assumed to join their VLANs and everything outside.

        On a shared network it is the LAN's.

        A management zone in which the node has no interface reaches the node through the router, too.
        """
        vlans = {
            fact.Vlan(bridge=self._switch(each.inputs.node_name, card.bridge), tag=card.vlan_id): each.name
            for each in self.guests
            for card, config in zip(each.inputs.cards, each.inputs.initialization.ip_configs, strict=False)
            if config.ipv4.gateway
        }
        for lan in self.topology.lans:
            vlans.setdefault(vlan(self.topology, lan), lan.name)
        far = [zone.name for zone in self.topology.management if not self.topology.near_node(zone)]
        if self._routed:
            yield self._routed.gateway
            far = []
            vlans = {vlan: name for vlan, name in vlans.items() if vlan not in self._routed.inside}
        if vlans or far:
            apart, name = (self._routed.inside, "lan-router") if self._routed else ((), "router")
            outsides = (each.name for each in self._outsides() if each.name not in apart)
            origin = ", ".join((*vlans.values(), *far))
            yield fact.Gateway(name=name, origin=origin, segments=(*vlans, *outsides))

    def _segment(self, each: TypedResource[Any]) -> fact.Vlan:
        is_bridge, node = isinstance(each.inputs, Bridge), each.inputs.node_name
        name = self._switch(node, each.inputs.name if is_bridge else each.inputs.interface)
        return fact.Vlan(bridge=name, tag=None if is_bridge else each.inputs.vlan)

    def _networks(self) -> Iterator[fact.Network]:
        probes = set(map(self.topology.bridge, self.topology.probes))
        for each in self.of(DockerNetwork):
            network, guarded = each.inputs, self._is_guarded(each.inputs)
            name = self.zones.get(network.name, network.name)
            known = network_fact(network, name=name, origin=each.name, host=self._engine)
            if known:
                yield replace(
                    known,
                    passes=self._within.get(network.option("name")),
                    egress=self._forwarded.leaving.get(network.option("name")),
                    host_reachable=known.host_reachable and not guarded,
                    sees_published=True if network.option("name") in probes else None,
                    vlan=self.parent_vlan(network),
                )

    @cached_property
    def _within(self) -> Mapping[str, tuple[fact.Pass, ...]]:
        """What the host's own rules let pass, by bridge; without the switch they see no frames."""
        if ProjectCommand.BRIDGE_SWITCH not in self.commands:
            return {}
        return host_rules.within(self._host_rules)

    @cached_property
    def _forwarded(self) -> host_rules.Forwarded:
        """What the host's own rules let out, and from where alone published ports lead in, by bridge."""
        return host_rules.forward(self._host_rules)

    @cached_property
    def _host_rules(self) -> str:
        """Text of the host's own rules; empty where they are not in the stack."""
        own = self._commands.get(ProjectCommand.HOST_RULES)
        return own.stdin if own else ""

    def _limited(self, published: fact.Published, legs: Iterable[fact.Leg]) -> fact.Published:
        """Return a published port with the prefixes from which the host's rules let packets through.

        The engine forwards it to a network that is not internal, and it is not known which; so all must be
        limited.
        """
        port = Port(number=published.internal, protocol=published.protocol)
        networks = [self._bridges.get(leg.network) for leg in legs]
        opened = [each for each in networks if each is None or not each.internal]
        limits = [each and self._forwarded.admitted.get(each.option("name"), {}).get(port) for each in opened]
        if not limits or None in limits:
            return published
        return replace(published, admitted=tuple({p for each in limits for p in each or ()}))

    def _is_guarded(self, network: DockerNetwork) -> bool:
        """Whether the host's own rules name the network's bridge."""
        zones = [zone for zone in self.topology.zones.values() if zone.is_docker]
        names = {self.topology.bridge(zone) for zone in zones}
        return ProjectCommand.HOST_RULES in self.commands and network.option("name") in names

    @cached_property
    def _leg_passes(self) -> Mapping[tuple[str, IPv4Address], tuple[fact.Pass, ...]]:
        """What the host's rules let pass to each leg, by parent interface and address."""
        own = self._commands.get(ProjectCommand.LEG_RULES)
        return leg_rules.legs(own.stdin) if own else {}

    def _leg(self, leg: fact.Leg, *, fixed: bool) -> fact.Leg:
        """Return a container's leg as the engine needs it; one that is not `fixed` may take any address."""
        network, name = self._bridges.get(leg.network), self.zones.get(leg.network, leg.network)
        if not fixed or leg.address is None:
            return replace(leg, network=name, address=None)
        parent = network.options.get("parent", "") if network else ""
        return replace(leg, network=name, passes=self._leg_passes.get((parent, leg.address)))

    def parent_vlan(self, network: DockerNetwork) -> fact.Vlan | None:
        """Return the VLAN of a macvlan network's parent interface; None is unknown: every VLAN."""
        docker, proxmox = self.topology.docker_host, self.topology.proxmox_host
        parent = network.options.get("parent", "")
        for lan in self.topology.lans if docker else ():
            if parent == self.topology.parent(lan):
                return vlan(self.topology, lan)
        trunk, _, tag = parent.rpartition(".")
        if docker and proxmox and trunk == docker.trunk and tag.isascii() and tag.isdigit():
            return fact.Vlan(bridge=proxmox.bridge, tag=int(tag))
        return None

    @cached_property
    def _engine(self) -> str:
        """Name of the host of Docker's resources, also of those that no declared host should have."""
        return self.topology.docker_host.name if self.topology.docker_host else "undeclared Docker host"

    def _containers(self) -> Iterator[fact.ContainerFact]:
        for each in self.of(DockerContainer):
            name = self.called(each.inputs.name)
            service = self.topology.services.get(name)
            known = container_fact(each.inputs, name=name, origin=each.name, host=self._engine)
            yield replace(
                known,
                shares=self.called(known.shares) if known.shares else None,
                legs=tuple(self._leg(leg, fixed=not each.inputs.takes_addresses) for leg in known.legs),
                ports=service.ports if service else (),
                published=tuple(self._limited(port, known.legs) for port in known.published),
                publish_all=known.publish_all or any(f.path.startswith("ports") for f in each.faults),
            )

    def _slots(self) -> Iterator[fact.ContainerFact]:
        made = {each.inputs.name for each in self.of(DockerContainer)}
        found = slot_facts(self.topology, self._bridges, self._engine)
        return (each for each in found if made.isdisjoint({each.name, *each.names}))

    def _swarm(self) -> Iterator[fact.ContainerFact]:
        for each in self.of(SwarmService):
            yield fact.ContainerFact(
                name=self.called(each.inputs.name),
                origin=each.name,
                host=self._engine,
                legs=tuple(
                    fact.Leg(network=self.zones.get(network.name, network.name), names=network.aliases)
                    for network in each.inputs.task_spec.networks_advanceds
                ),
                names=(each.inputs.name,),
                published=tuple(
                    fact.Published(
                        internal=port.target_port,
                        external=port.published_port,
                        protocol=port.protocol,
                        everywhere=port.publish_mode == "ingress",
                    )
                    for port in each.inputs.endpoint_spec.ports
                ),
            )

    def _guests(self) -> Iterator[fact.GuestFact]:
        for each in self.guests:
            guest = each.inputs
            name = self.called(guest.name)
            service = self.topology.services.get(name)
            addresses = [config.ipv4.address for config in guest.initialization.ip_configs]
            yield fact.GuestFact(
                name=name,
                origin=each.name,
                nics=tuple(
                    fact.Nic(
                        name=f"net{index}",
                        bridge=self._switch(guest.node_name, card.bridge),
                        tag=card.vlan_id or None,
                        trunks=tuple(tag(part) for part in re.split(r"[;,\s]+", card.trunks) if part),
                        firewall=card.firewall,
                        address=addresses[index] if index < len(addresses) else None,
                    )
                    for index, card in enumerate(guest.cards)
                    if card.connected
                ),
                ports=service.ports if service else (),
                lxc=isinstance(guest, SystemContainer),
                firewall=self._guest_firewall(guest.vm_id, each.name),
            )

    def scope(self, guest: int | None) -> Scope:
        """Return the name scope of a guest's rules or, for None, of datacenter, node and group rules."""
        if guest not in self._scopes:
            self._scopes[guest] = (
                Scope.of(self._guest_firewall(guest, ""), self.scope(None))
                if guest
                else Scope.of(self._datacenter)
            )
        return self._scopes[guest]

    @cached_property
    def _scopes(self) -> dict[int | None, Scope]:
        return {}

    def _guest_firewall(self, vm_id: int | None, origin: str) -> fact.GuestFirewall:
        own = self.owned(vm_id)
        options = next((each for each in own if isinstance(each.inputs, FirewallOptions)), None)
        rules, ipsets, aliases = firewall_of(own)
        return fact.GuestFirewall(
            origin=options.name if options else origin,
            enabled=options.inputs.enabled if options else False,
            input_policy=options.inputs.input_policy if options else "DROP",
            output_policy=options.inputs.output_policy if options else "ACCEPT",
            dhcp=options.inputs.dhcp if options else True,
            ipfilter=options.inputs.ipfilter if options else False,
            rules=rules,
            ipsets=ipsets,
            aliases=aliases,
        )

    @cached_property
    def _datacenter(self) -> fact.Datacenter:
        rules, ipsets, aliases = firewall_of(
            [each for each in self.scoped.get(None, []) if not each.inputs.node_name]
        )
        groups = {each.inputs.name: tuple(rules_of(each)) for each in self.of(SecurityGroup)}
        switch = next(iter(self.of(DatacenterFirewall)), None)
        return fact.Datacenter(
            origin=switch.name if switch else "none",
            # With nftables on, a node runs another firewall, whose filtering is not modelled.
            enabled=switch.inputs.enabled and not any(each.inputs.nftables for each in self.of(NodeFirewall))
            if switch
            else False,
            input_policy=switch.inputs.input_policy if switch else "DROP",
            output_policy=switch.inputs.output_policy if switch else "ACCEPT",
            rules=rules,
            groups=groups,
            ipsets=ipsets,
            aliases=aliases,
        )

    def _proxies(self) -> Iterator[fact.Proxy]:
        for each in self.of(DockerContainer):
            if each.inputs.is_proxy(self.topology):
                yield proxy_fact(each.inputs, name=self.called(each.inputs.name), origin=each.name)


def _enforced(rules: Iterable[fact.ProxmoxRule]) -> tuple[fact.ProxmoxRule, ...]:
    return tuple(rule for rule in rules if not rule.observes)
