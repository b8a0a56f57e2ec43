"""Finds a stack's resources by kind, name and owner.

Note: resources are linked by the names and numbers that the program chose, never by ids, because ids are
unknown before creation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeVar

from resources.docker import DockerContainer, DockerNetwork, DockerProvider, SwarmService, Volume
from resources.inputs import Inputs
from resources.proxmox import (
    Alias,
    Bridge,
    DatacenterFirewall,
    FirewallOptions,
    FirewallRules,
    Ipset,
    NodeFirewall,
    SecurityGroup,
    VlanInterface,
    bare_name,
)
from resources.proxmox_guests import GUESTS, SystemContainer, VirtualMachine
from resources.router_machine import recognised
from resources.traefik import split
from resources.typed import Command, ProjectCommand, TypedResource
from topology.index import TopologyIndex
from topology.model import DockerHost

_T = TypeVar("_T", bound=Inputs)


@dataclass(frozen=True)
class ResourceIndex:
    """All resources that the pack understands, indexed by kind."""

    views: tuple[TypedResource[Any], ...]
    topology: TopologyIndex

    def __post_init__(self) -> None:
        """Recognise the router's machine, and sort the resources, which the engine sends in any order."""
        known = (recognised(each, self.topology) for each in self.views)
        object.__setattr__(
            self, "views", tuple(sorted(known, key=lambda each: (each.name, each.resource.urn)))
        )

    @property
    def by_docker_host(self) -> tuple[Self, ...]:
        """The resources as each Docker host has them: its engine's and its commands; all others in the first.

        Itself where there is one Docker host, or none.
        """
        return self._parts or (self,)

    @cached_property
    def _parts(self) -> tuple[Self, ...]:
        parts = self.topology.by_docker_host
        if len(parts) == 1:
            return ()
        found: defaultdict[str, list[TypedResource[Any]]] = defaultdict(list)
        for each in self.views:
            found[self.docker_host_of(each).name].append(each)
        return tuple(replace(self, views=tuple(found[part.docker.name]), topology=part) for part in parts)

    def docker_host_of(self, each: TypedResource[Any]) -> DockerHost:
        """Return the Docker host whose engine a resource is on, or on which a command runs.

        By the address that its provider or connection names: one that names no declared host counts as
        Docker-SRV's, which `engine-on-the-declared-host` refuses.
        """
        place = self._engines.get(each.resource.provider, "")
        if isinstance(each.inputs, DockerProvider):
            place = self._engines[each.resource.urn]
        elif isinstance(each.inputs, Command) and each.inputs.connection:
            place = each.inputs.connection.host
        hosts = self.topology.docker_hosts
        return next((host for host in hosts if host.ssh and host.ssh.address == place), hosts[0])

    @cached_property
    def _engines(self) -> Mapping[str, str]:
        """The machine that each provider of Docker names, by URN."""
        return {each.resource.urn: split(each.inputs.host).hostname or "" for each in self.of(DockerProvider)}

    @cached_property
    def _by_kind(self) -> Mapping[type[Inputs], list[TypedResource[Any]]]:
        kinds = defaultdict(list)
        for each in self.views:
            kinds[type(each.inputs)].append(each)
        return kinds

    def of(self, kind: type[_T]) -> list[TypedResource[_T]]:
        """Return all resources of one kind."""
        return self._by_kind.get(kind, [])

    @cached_property
    def guests(self) -> list[TypedResource[Any]]:
        """Virtual machines and system containers, but not the router's."""
        return [each for kind in GUESTS.values() for each in self.of(kind)]

    @cached_property
    def groups(self) -> Mapping[str, TypedResource[SecurityGroup]]:
        """Security groups by name."""
        return {each.inputs.name: each for each in self.of(SecurityGroup)}

    @cached_property
    def named(self) -> Mapping[tuple[type[Inputs], int | None, str], Ipset | Alias]:
        """Ipsets and aliases by kind, owning guest (None: the datacenter) and name."""
        found: list[TypedResource[Any]] = [*self.of(Ipset), *self.of(Alias)]
        return {
            (type(each.inputs), each.inputs.guest, bare_name(each.inputs.name)): each.inputs for each in found
        }

    @cached_property
    def volumes(self) -> Mapping[str, Volume]:
        """Volumes by name."""
        return {each.inputs.name: each.inputs for each in self.of(Volume)}

    def keys(self, view: TypedResource[Any]) -> Iterator[tuple[object, ...]]:
        """Yield keys of the things that a resource creates; equal keys mean the same thing."""
        inputs = view.inputs
        parts = self.by_docker_host
        yield from (
            ("the", own.value, *(("of", part.topology.docker.name) if len(parts) > 1 else ()))
            for part in parts
            if (own := part.own.get(view.resource.urn))
        )
        match inputs:
            case DockerContainer() | SwarmService():
                yield "container", inputs.name
                legs = inputs.legs if isinstance(inputs, DockerContainer) else ()
                yield from (("address", leg.ipv4_address) for leg in legs if leg.ipv4_address)
            case DockerNetwork():
                yield "network", inputs.name
            case Volume():
                yield "volume", inputs.name
            case VirtualMachine() | SystemContainer():
                addresses = (config.ipv4.address for config in inputs.initialization.ip_configs)
                yield from (("guest", name) for name in (inputs.name, inputs.vm_id) if name)
                yield from (("address", address) for address in addresses if address)
                macs = (card.mac_address.upper() for card in inputs.cards)
                yield from (("hardware address", mac) for mac in macs if mac)
            case FirewallOptions() | FirewallRules():
                what = "options" if isinstance(inputs, FirewallOptions) else "rules"
                yield f"firewall {what} of", inputs.guest or inputs.node_name or "the datacenter"
            case Ipset() | Alias():
                what, owner = type(inputs).__name__.lower(), inputs.guest or "the datacenter"
                yield what, inputs.name.lower(), "of", owner
            case SecurityGroup():
                yield "security group", inputs.name.lower()
            case DatacenterFirewall():
                yield ("datacenter firewall",)
            case NodeFirewall() | Bridge() | VlanInterface():
                yield type(inputs).__name__, inputs.node_name, getattr(inputs, "name", "")

    def called(self, physical: str) -> str:
        """Return the declared name of a container or guest, else the physical name."""
        return self.topology.logical.get(physical, physical)

    @cached_property
    def commands(self) -> frozenset[ProjectCommand | None]:
        """The project's own commands that are in the stack."""
        return frozenset(self._commands)

    @cached_property
    def own(self) -> Mapping[str, ProjectCommand | None]:
        """Which of the project's own each command is, by URN."""
        return {
            each.resource.urn: each.inputs.ours(self.topology, each.resource.stack, each.resource.type)
            for each in self.of(Command)
        }

    @cached_property
    def _commands(self) -> Mapping[ProjectCommand | None, Command]:
        """The commands by which of the project's own they are, the first of each."""
        found: dict[ProjectCommand | None, Command] = {}
        for each in self.of(Command):
            found.setdefault(self.own[each.resource.urn], each.inputs)
        return found

    @cached_property
    def _bridges(self) -> Mapping[str, DockerNetwork]:
        return {each.inputs.name: each.inputs for each in self.of(DockerNetwork)}

    @cached_property
    def scoped(self) -> Mapping[int | None, list[TypedResource[Any]]]:
        """Firewall resources by guest id; None: those of no guest."""
        found = defaultdict(list)
        for kind in (FirewallOptions, FirewallRules, Ipset, Alias):
            for each in self.of(kind):
                found[each.inputs.guest].append(each)
        return found

    def owned(self, guest: int | None) -> list[TypedResource[Any]]:
        """Return a guest's firewall resources; none for a guest without an id."""
        return self.scoped.get(guest, []) if guest else []
