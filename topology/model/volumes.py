"""Named volumes of containers: what the engine calls each, and with which service it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from topology.model.limits import NamedVolume
from topology.model.services import Container


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """Every named volume of a site. Several services may mount one.

    `owners` has the service that each is made with, whose name is before its own: the first by name that
    writes it, else the first that reads it.
    """

    declared: Mapping[str, NamedVolume]
    owners: Mapping[str, str]
    prefix: str

    @classmethod
    def of(cls, containers: Iterable[Container], declared: Mapping[str, NamedVolume], prefix: str) -> Self:
        """Return the volumes of a site, whose physical names have a prefix."""
        mounts = [(each, container.name) for container in containers for each in container.volumes]
        owners: dict[str, str] = {}
        for each, name in sorted(mounts, key=lambda mount: (mount[0].read_only, mount[1])):
            if not each.is_bind:
                owners.setdefault(each.source, name)
        return cls(declared=declared, owners=owners, prefix=prefix)

    @cached_property
    def external(self) -> frozenset[str]:
        """The engine's names of the volumes that are there already."""
        return frozenset(map(self.name, filter(self._is_external, self.declared)))

    def name(self, source: str) -> str:
        """Return the engine's name of a volume."""
        if self._is_external(source):
            return self.declared[source].name or source
        return f"{self.prefix}{self.owners[source]}-{source}"

    def options(self, source: str) -> dict[str, str] | None:
        """Return the options of a volume's driver; None where it is a folder of the engine."""
        named = self.declared.get(source)
        return dict(named.driver_opts) if named and named.driver_opts else None

    def made_with(self, service: Container) -> tuple[str, ...]:
        """Return the volumes that the stack makes with a service."""
        return tuple(source for source, owner in self._made(service) if owner == service.name)

    def borrowed(self, service: Container) -> dict[str, str]:
        """Return the volumes that a service mounts and the stack makes with another, with that other."""
        return {source: owner for source, owner in self._made(service) if owner != service.name}

    def _made(self, service: Container) -> Iterable[tuple[str, str]]:
        sources = dict.fromkeys(each.source for each in service.volumes if not each.is_bind)
        return [(source, self.owners[source]) for source in sources if not self._is_external(source)]

    def _is_external(self, source: str) -> bool:
        return source in self.declared and self.declared[source].external
