"""Who is on which network: network stacks and their members, and what the hosts' rules let pass and out.

Note: containers may share a stack, their host's too, so a question about a network is one about stacks.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address

from reachability.facts import (
    Exit,
    Facts,
    Host,
    HostLeg,
    Leg,
    Mode,
    Network,
    NetworkDriver,
    Pass,
    Segment,
    Vlan,
)


@dataclass(slots=True)
class Stack:
    """A network stack: the containers that share it, and the interfaces of its owner."""

    owner: str
    names: dict[str, None] = field(default_factory=dict)
    legs: list[tuple[Network, Leg]] = field(default_factory=list)


class Stacks:
    """The network stacks of one set of facts. Each index is computed on first use and cached."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.containers = {container.name: container for container in facts.containers}

    @cached_property
    def hosts(self) -> Mapping[str, Host]:
        """Hosts by name. A host that containers name but no fact has is reachable from every outside."""
        everywhere = tuple(HostLeg(segment=outside.name) for outside in self.facts.outsides)
        implied = {
            container.host: Host(name=container.host, origin=container.origin, legs=everywhere)
            for container in self.facts.containers
        }
        return implied | {host.name: host for host in self.facts.hosts}

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Owner of each container's network stack: itself, another container, or its host.

        A stack shared in a circle, or with a container that no fact has, counts as the host's.
        """
        containers = self.containers
        owners: dict[str, str] = {}
        for container in self.facts.containers:
            at, seen = container, {container.name}
            while at.shares is not None and at.shares in containers and at.shares not in seen:
                at = containers[at.shares]
                seen.add(at.name)
            own = at.mode is not Mode.HOST and at.shares is None
            owners[container.name] = at.name if own else at.host
        return owners

    @cached_property
    def by_owner(self) -> Mapping[str, Stack]:
        """Network stacks by owner; every host has one."""
        stacks = {host: Stack(owner=host) for host in self.hosts}
        networks = {key_of(network): network for network in self.facts.networks}
        for container in self.facts.containers:
            owner = self.owners[container.name]
            stack = stacks.setdefault(owner, Stack(owner=owner))
            stack.names[container.name] = None
            if owner != container.name or container.mode is Mode.NONE:
                continue
            for leg in container.legs or (Leg(network="bridge"),):
                # A network that no fact has counts as an ordinary bridge, like the engine's default one.
                own = (container.host, leg.network)
                network = networks.get(own) or networks.get(("", leg.network))
                if network is None:
                    network = Network(name=leg.network, origin=container.origin, host=container.host)
                    networks[own] = network
                stack.legs.append((network, leg))
        return stacks

    def legs_of(self, name: str) -> list[tuple[Network, Leg]]:
        """Return the networks of a container with its leg on each; none for any other name."""
        return self.by_owner[self.owners[name]].legs if name in self.owners else []

    @cached_property
    def segment_names(self) -> Mapping[Segment, str]:
        """Names of VLANs in traces: the Docker network on the VLAN."""
        return {
            network.vlan: network.name for network in self.facts.networks if isinstance(network.vlan, Vlan)
        }

    @cached_property
    def members(self) -> Mapping[tuple[str, str], dict[str, None]]:
        """Containers by network."""
        found: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for stack in self.by_owner.values():
            for network, _ in stack.legs:
                found[key_of(network)] |= stack.names
        return found

    @cached_property
    def at(self) -> Mapping[tuple[tuple[str, str], IPv4Address | None], dict[str, None]]:
        """Containers by network and address; None: those whose address may be any."""
        found: defaultdict[tuple[tuple[str, str], IPv4Address | None], dict[str, None]] = defaultdict(dict)
        for stack in self.by_owner.values():
            for network, leg in stack.legs:
                found[key_of(network), leg.address] |= stack.names
        return found

    @cached_property
    def passes(self) -> Mapping[tuple[int, IPv4Address | None], list[Pass]]:
        """What the host's rules let pass within bridges, by rules and destination; None: to any.

        All bridges of a host share one tuple of rules, which is indexed once, by its identity.
        """
        found: defaultdict[tuple[int, IPv4Address | None], list[Pass]] = defaultdict(list)
        for passes in {id(network.passes): network.passes or () for network in self.facts.networks}.values():
            for each in passes:
                for address in (each.destination, None):
                    found[id(passes), address].append(each)
        return found

    @cached_property
    def egress(self) -> Mapping[str, Mapping[tuple[Exit, ...] | None, dict[str, None]]]:
        """Containers that leave behind their host's address, by host and by what is let out (None: all)."""
        found: defaultdict[str, defaultdict[tuple[Exit, ...] | None, dict[str, None]]]
        found = defaultdict(lambda: defaultdict(dict))
        for host, network, leg, names in self._bridged:
            if not network.internal and network.masquerade:
                found[host][self._let_out(network, leg)] |= names
        return found

    def _let_out(self, network: Network, leg: Leg) -> tuple[Exit, ...] | None:
        """Return what the host's rules let out of a leg, without its source; None: everything."""
        if network.egress is None:
            return None
        by_source = self._exits[id(network.egress)]
        sources = by_source if leg.address is None else (None, leg.address)
        return tuple(dict.fromkeys(each for source in sources for each in by_source.get(source, ())))

    @cached_property
    def _exits(self) -> Mapping[int, Mapping[IPv4Address | None, list[Exit]]]:
        """What the host's rules let out of bridges, by rules and source (None: of every member).

        Bridges may share one tuple of rules, which is indexed once, by its identity.
        """
        found: defaultdict[int, defaultdict[IPv4Address | None, list[Exit]]]
        found = defaultdict(lambda: defaultdict(list))
        for exits in {id(network.egress): network.egress or () for network in self.facts.networks}.values():
            for each in exits:
                found[id(exits)][each.source].append(replace(each, source=None))
        return found

    @cached_property
    def gateways(self) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        """Networks whose members reach their host by its gateway address, by host."""
        return self._members_of(lambda network: network.host_reachable)

    @cached_property
    def windows(self) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        """Networks whose members reach the published ports of their host, by host."""
        return self._members_of(
            lambda network: (
                network.host_reachable if network.sees_published is None else network.sees_published
            )
        )

    def _members_of(
        self, wanted: Callable[[Network], bool]
    ) -> Mapping[str, list[tuple[Network, dict[str, None]]]]:
        found: defaultdict[str, dict[str, tuple[Network, dict[str, None]]]] = defaultdict(dict)
        for host, network, _, names in self._bridged:
            if wanted(network):
                found[host].setdefault(network.name, (network, {}))[1].update(names)
        return {host: list(networks.values()) for host, networks in found.items()}

    @cached_property
    def _bridged(self) -> list[tuple[str, Network, Leg, dict[str, None]]]:
        """Stacks on bridge and overlay networks: their host, the network, their leg, their containers."""
        return [
            (owner.host, network, leg, stack.names)
            for stack in self.by_owner.values()
            if (owner := self.containers.get(stack.owner)) is not None
            for network, leg in stack.legs
            if bridges(network)
        ]


def bridges(network: Network) -> bool:
    """Whether a network is a bridge, whose members meet on their host, as those of an overlay do."""
    return network.driver in (NetworkDriver.BRIDGE, NetworkDriver.OVERLAY)


def key_of(network: Network) -> tuple[str, str]:
    """Return a network's key: its host and name. Overlay networks span hosts, so their host is empty."""
    return "" if network.driver is NetworkDriver.OVERLAY else network.host, network.name
