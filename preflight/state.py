"""The stack's Pulumi state, as `pulumi stack export` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from topology.answers import understood
from verify.driver import ProbeError

_AT_ONCE: Final = timedelta(minutes=1)
"""How far a volume's making may be from the last update of the state: making one takes no time."""


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

    def was_making(self, urn: str, made: str) -> bool:
        """Whether a killed run was making a volume that was `made` at an ISO 8601 time.

        Docker takes a volume of a wanted name as it is, so one made long before or after is another's.
        """
        if urn not in self.creating or self.time is None or not made:
            return False
        return abs(datetime.fromisoformat(made) - self.time) < _AT_ONCE

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
