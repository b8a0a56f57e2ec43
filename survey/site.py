"""Turns what was read into the facts of `reachability.facts`, and evaluates them.

A property that was not read takes the value that opens most, and is told in `unseen`.

Note: names are unique across containers, guests, hosts and machines outside, as the facts demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network
from typing import Final

import reachability.facts as fact
from reachability.engine import Reachability
from resources.docker import DockerNetwork
from resources.facts import container_fact, network_fact, proxy_fact
from survey import guests, machine
from survey.docker import RunningContainer, RunningDocker
from survey.machine import RunningMachine
from survey.proxmox import RunningProxmox
from topology.model import INTERNET, Port

OUTSIDE: Final = "outside"
"""All machines that reach the host, where its addresses were not read."""
_ISOLATED: Final = (28, 0)
_PASSING: Final = ((28, 0), (28, 2))
"""Engines between these let replies to a network that does not masquerade come in by other bridges."""


@dataclass(frozen=True)
class RunningSite:
    """One Docker engine, its machine if the engine runs here, and a Proxmox API if one was asked."""

    docker: RunningDocker
    machine: RunningMachine | None = None
    proxmox: RunningProxmox | None = None
    names: Mapping[str, RunningContainer] = field(init=False)
    """Containers by their name among the facts."""

    def __post_init__(self) -> None:
        """Give each container its name among the facts."""
        taken = {INTERNET, OUTSIDE, self.host, *self._links}
        names = {
            f"{each.name} (container)" if each.name in taken else each.name: each
            for each in self.docker.containers
        }
        object.__setattr__(self, "names", names)

    @property
    def host(self) -> str:
        """The name of the engine's host."""
        return self.docker.engine.name

    @cached_property
    def reachability(self) -> Reachability:
        """The engine on the site's facts."""
        return Reachability(self.facts)

    @cached_property
    def outsides(self) -> tuple[str, ...]:
        """Machines outside that open connections to the site."""
        return tuple(each.name for each in self.facts.outsides if each.inbound)

    @cached_property
    def facts(self) -> fact.Facts:
        """The site's facts, as input for the engine."""
        return guests.joined(self._docker_facts, self.proxmox) if self.proxmox else self._docker_facts

    @cached_property
    def _docker_facts(self) -> fact.Facts:
        return fact.Facts(
            outsides=tuple(self._outsides()),
            hosts=(self._docker_srv(),),
            networks=tuple(self._networks()),
            containers=tuple(map(self._container, self.names)),
            proxies=tuple(
                proxy_fact(each.container, name=name, origin=name)
                for name, each in self.names.items()
                if each.is_traefik
            ),
        )

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """What was not read or can't be judged, a sentence each."""
        others = self.proxmox.unseen if self.proxmox else ()
        return tuple(dict.fromkeys((*self.docker.unseen, *self._unseen(), *others)))

    @cached_property
    def listeners(self) -> tuple[Port, ...]:
        """Ports of the host's own programs that listen beyond loopback, without those of published ports."""
        here = self.machine.listeners if self.machine else ()
        published = {
            (port.external, port.protocol) for each in self.docker.containers for port in each.container.ports
        }
        ports = (port for address, port in here if not address.is_loopback)
        return tuple(dict.fromkeys(p for p in ports if (p.number, p.protocol) not in published))

    # ------------------------------------------------------------------------------------------- machines

    @cached_property
    def _links(self) -> Mapping[str, list[IPv4Interface]]:
        """Addresses of the host beyond its own bridges, by the name of the machines there."""
        if self.machine is None:
            return {}
        gateways = [each.gateway for network in self.docker.networks for each in network.ipam_configs]
        found = machine.links(self.machine, self.docker.bridges, gateways)
        return {"lan" if len(found) == 1 else f"lan-{name}": addresses for name, addresses in found.items()}

    def _outsides(self) -> Iterator[fact.Outside]:
        if self.machine is None:
            yield fact.Outside(name=OUTSIDE, origin=self.host)
            return
        public = any(each.is_global for addresses in self._links.values() for each in addresses)
        yield fact.Outside(name=INTERNET, origin=self.host, inbound=public)
        for name, addresses in self._links.items():
            yield fact.Outside(name=name, origin=self.host, prefix=addresses[0].network)
        for network in self.docker.networks:
            place, prefix = self._parent(network), _prefix(network)
            if place and place not in self._links:
                yield fact.Outside(name=place, origin=network.name, prefix=prefix)

    def _docker_srv(self) -> fact.Host:
        if self.machine is None:
            return fact.Host(name=self.host, origin=self.host, legs=(fact.HostLeg(segment=OUTSIDE),))
        legs = [
            fact.HostLeg(segment=name, address=each.ip)
            for name, addresses in self._links.items()
            for each in addresses
        ]
        own = next((leg.address for leg in legs), None)
        return fact.Host(
            name=self.host,
            origin=self.host,
            legs=(*legs, fact.HostLeg(segment=INTERNET, address=own)),
            ports=self.listeners,
        )

    # ------------------------------------------------------------------------------------------- networks

    def _networks(self) -> Iterator[fact.Network]:
        for network in self.docker.networks:
            known = network_fact(network, name=network.name, origin=network.name, host=self.host)
            if known:
                gateway = known.host_reachable and not self._is_isolated(network)
                yield replace(
                    known,
                    # Without the proxy such a packet stays on the bridge, where the engine drops it.
                    hairpin=known.icc or self.docker.engine.userland_proxy,
                    gateway=gateway,
                    host_reachable=gateway,
                    sees_published=False if gateway and self._hides_published(known, network) else None,
                    vlan=self._parent(network),
                )

    def _is_isolated(self, network: DockerNetwork) -> bool:
        """Whether the engine gives its host no address on the network; engines before 28 ignore the mode."""
        isolated = network.option("gateway_mode_ipv4") == "isolated" and network.internal
        return isolated and self.docker.engine.numbers >= _ISOLATED

    def _hides_published(self, known: fact.Network, network: DockerNetwork) -> bool:
        """Whether published ports do not answer members, although their host does: docs/adr/engines.md."""
        if known.internal:
            return not self.docker.engine.backend.startswith("nftables")
        numbers = self.docker.engine.numbers
        unprotected = numbers >= _ISOLATED and network.option("gateway_mode_ipv4") == "nat-unprotected"
        passing = _PASSING[0] <= numbers < _PASSING[1]
        return not (known.masquerade or unprotected or passing)

    def _parent(self, network: DockerNetwork) -> str | None:
        """Return the machines behind the parent interface of a macvlan or ipvlan network."""
        if network.driver not in {fact.NetworkDriver.MACVLAN, fact.NetworkDriver.IPVLAN}:
            return None
        if self.machine is None:
            return OUTSIDE
        parent = network.options.get("parent", network.name)
        known = {f"lan-{parent}", "lan"} if parent in self.machine.addresses.values() else set()
        return next((name for name in self._links if name in known), f"lan-{parent}")

    def _container(self, name: str) -> fact.ContainerFact:
        seen = self.names[name]
        known = container_fact(seen.container, name=name, origin=name, host=self.host)
        unprotected = {
            network.name
            for network in self.docker.networks
            if network.option("gateway_mode_ipv4") == "nat-unprotected"
            and self.docker.engine.numbers >= _ISOLATED
        }
        return replace(
            known,
            shares=self._called.get(known.shares, known.shares) if known.shares else None,
            ports=tuple(
                sorted({port for each in self._stack(seen) for port in _named(each)}, key=lambda p: p.number)
            ),
            # Such a network's members are reached at every port by every machine with a route.
            publish_all=any(leg.network in unprotected for leg in known.legs),
        )

    def _stack(self, seen: RunningContainer) -> Iterator[RunningContainer]:
        """Yield the containers of one network stack, where each answers on the others' ports."""
        owner = seen.container.shares or seen.name
        yield seen
        yield from (
            each
            for each in self.docker.containers
            if each is not seen and owner in {each.name, each.container.shares}
        )

    @cached_property
    def _called(self) -> Mapping[str, str]:
        """Names among the facts by container name."""
        return {each.name: name for name, each in self.names.items()}

    # ------------------------------------------------------------------------------------------- unseen

    def _unseen(self) -> Iterator[str]:
        if self.machine is None:
            yield f"{self.host}: its addresses, listening programs and rules, because the engine is not here"
        else:
            yield from self._unseen_rules(self.machine)
            if not any(each.is_global for addresses in self._links.values() for each in addresses):
                yield f"the router: whether it forwards ports of the internet to {self.host}"
        for name, each in self.names.items():
            if each.is_traefik:
                yield from (f"{name}: {fault}" for fault in map(str, each.container.traefik.unread))

    def _unseen_rules(self, here: RunningMachine) -> Iterator[str]:
        if here.rules is None:
            yield f"{self.host}: its firewall rules, which need root and iptables-save to read"
            return
        if not here.isolates and not self.docker.engine.backend.startswith("nftables"):
            yield f"{self.host}: the engine's own rules are missing; they are judged as if they were there"
        if here.forwards_by_default and self.docker.engine.numbers < _ISOLATED:
            yield (
                f"{self.host}: it forwards by default, so its neighbours reach every port of every container "
                "on a network that is not internal, if they set a route"
            )
        for chain, number in here.foreign.items():
            yield f"{self.host}: {number} rules in {chain} that Docker did not make; they may close more"


def _named(seen: RunningContainer) -> Iterator[Port]:
    """Yield the ports that a container's image or owner names, and those that it publishes."""
    yield from seen.exposed
    for each in seen.container.ports:
        yield Port(number=each.internal, protocol=each.protocol)


def _prefix(network: DockerNetwork) -> IPv4Network | None:
    """Return the network's first IPv4 prefix."""
    return next(
        (IPv4Network(c.subnet) for c in network.ipam_configs if c.subnet and ":" not in c.subnet), None
    )
