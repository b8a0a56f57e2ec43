"""The stack's Pulumi state, as `pulumi stack export` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from topology.answers import understood
from verify.driver import ProbeError


@dataclass(frozen=True, kw_only=True)
class StateResource:
    """One resource of the state; `inputs` are as the program gave them."""

    type: str
    urn: str
    id: str
    inputs: Mapping[str, Any]
    parent: str
    protect: bool


@dataclass(frozen=True, kw_only=True)
class PulumiState:
    """The state after the last update; `creating` are the URNs of resources that a killed run was making."""

    resources: tuple[StateResource, ...] = ()
    creating: frozenset[str] = frozenset()
    time: datetime | None = None

    @property
    def half_made_volumes(self) -> frozenset[str]:
        """The volumes that a killed run was making: Docker takes such a volume as it is."""
        return frozenset(urn for urn in self.creating if "docker:index/volume:Volume::" in urn)

    @classmethod
    def of(cls, exported: Mapping[str, Any]) -> PulumiState:
        """Return the state in an export, `{"version": 3, "deployment": {...}}`; empty for an empty one.

        Raises ProbeError.
        """
        with understood("pulumi stack export", ProbeError):
            deployment = exported.get("deployment") or {}
            time = (deployment.get("manifest") or {}).get("time")
            pending = deployment.get("pending_operations") or ()
            return cls(
                resources=tuple(_resources(deployment.get("resources") or ())),
                creating=frozenset(each["resource"]["urn"] for each in pending if each["type"] == "creating"),
                time=datetime.fromisoformat(time) if time and not time.startswith("0001") else None,
            )

    @cached_property
    def urns(self) -> frozenset[str]:
        """The URN of every resource."""
        return frozenset(each.urn for each in self.resources)

    @cached_property
    def ids(self) -> frozenset[tuple[str, str]]:
        """The type and provider's id of every resource."""
        return frozenset((each.type, each.id) for each in self.resources)


def _resources(given: Iterable[Mapping[str, Any]]) -> Iterable[StateResource]:
    for each in given:
        if not each.get("delete"):
            yield StateResource(
                type=each["type"],
                urn=each["urn"],
                id=each.get("id", ""),
                inputs=each.get("inputs") or {},
                parent=each.get("parent", ""),
                protect=bool(each.get("protect")),
            )
