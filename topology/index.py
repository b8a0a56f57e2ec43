"""The declared site with indexes for everything that rules look up by name, each built once.

Note: resources use physical names; flows use declared names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Self

from topology.certificates import IssuedCertificate, held
from topology.model import Container, Flow, Guest, Route, Topology, Zone


class TopologyIndex(Topology):
    """A topology whose lookups take constant time."""

    @classmethod
    def of(cls, topology: Topology) -> Self:
        """Return an indexed topology; the given one must already be checked."""
        return topology if isinstance(topology, cls) else cls.model_construct(**dict(topology))

    def flows_from(self, name: str | None) -> tuple[Flow, ...]:
        """Return the declared flows whose source is `name`; none for None."""
        return self._from.get(name or "", ())

    def flows_to(self, name: str | None) -> tuple[Flow, ...]:
        """Return the declared flows whose destination is `name`; none for None."""
        return self._to.get(name or "", ())

    @cached_property
    def _from(self) -> Mapping[str, tuple[Flow, ...]]:
        found = defaultdict(list)
        for flow in self.flows:
            found[flow.source].append(flow)
        return {name: tuple(flows) for name, flows in found.items()}

    @cached_property
    def _to(self) -> Mapping[str, tuple[Flow, ...]]:
        found = defaultdict(list)
        for flow in self.flows:
            found[flow.destination].append(flow)
        return {name: tuple(flows) for name, flows in found.items()}

    def held_by(self, name: str) -> tuple[IssuedCertificate, ...]:
        """Return the certificates that a service's container holds."""
        return self._held.get(name, ())

    @cached_property
    def _held(self) -> Mapping[str, tuple[IssuedCertificate, ...]]:
        found = defaultdict(list)
        for certificate in self.leaves.values():
            found[certificate.holder].append(certificate)
        return {name: tuple(certificates) for name, certificates in found.items()}

    def part_of(self, physical: str) -> Self:
        """Return the site as the Docker host of a container has it; the whole for any other name."""
        return self._part_of.get(physical, self)

    @cached_property
    def _part_of(self) -> Mapping[str, Self]:
        return {name: part for part in self._parts for name in part.containers_by_name}

    @cached_property
    def logical(self) -> Mapping[str, str]:
        """Physical name -> name of the declared service."""
        return {self.physical(name): name for name in self.services}

    @cached_property
    def containers_by_name(self) -> Mapping[str, Container]:
        """Physical name -> declared container."""
        return {self.physical(service.name): service for service in self.containers}

    @cached_property
    def volume_options(self) -> Mapping[str, Mapping[str, str] | None]:
        """The engine's name of each volume that a container declares -> its driver's options, if any."""
        return {
            self.named_volumes.name(each.source): self.named_volumes.options(each.source)
            for container in self.containers
            for each in container.volumes
            if not each.is_bind
        }

    @cached_property
    def mounted(self) -> Mapping[str, frozenset[str]]:
        """Physical name of a container -> the engine's names of the volumes that it declares."""
        return {
            self.physical(container.name): frozenset(
                self.named_volumes.name(each.source) for each in container.volumes if not each.is_bind
            )
            for container in self.containers
        }

    @cached_property
    def guests_by_name(self) -> Mapping[str, Guest]:
        """Physical name -> declared guest."""
        return {self.physical(service.name): service for service in self.guests}

    @cached_property
    def by_address(self) -> Mapping[str, str]:
        """A service's address on its network -> its declared name."""
        return {self.address(service): name for name, service in self.services.items()}

    @cached_property
    def machines(self) -> Mapping[str, str]:
        """Address of an external machine -> its zone's name."""
        return {str(zone.prefix[0]): zone.name for zone in self.zones.values() if zone.is_machine}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name of a service, both declared and physical."""
        return frozenset(self.services) | frozenset(self.logical)

    @cached_property
    def leaves(self) -> Mapping[str, IssuedCertificate]:
        """Name of a certificate's resources -> the certificate, signed by the declared signer."""
        return {f"{each.name}.{self.certificates.signer}": each for each in held(self)}

    @cached_property
    def authorities(self) -> frozenset[str]:
        """Names of the authorities' resources, for each service and generation."""
        services = {each.service for each in self.leaves.values()}
        return frozenset(f"{name}.{one}" for name in services for one in self.certificates.authorities)

    @cached_property
    def docker_networks(self) -> Mapping[str, Zone]:
        """Physical name of a Docker network -> its zone; for that of legs on a VLAN, the VLAN's zone."""
        zones = [*(zone for zone in self.zones.values() if zone.is_docker), *self.legs.zones]
        return {self.physical(zone.network): zone for zone in zones}

    @cached_property
    def routes_by_place(self) -> Mapping[str, Route]:
        """`host:port` to which the ingress forwards -> the declared route."""
        return {route.url.partition("://")[2]: route for route in self.routes}
