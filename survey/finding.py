"""A finding, and how urgent it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class SurveySeverity(IntEnum):
    """How urgent a finding is; the highest comes first."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class SurveyFinding:
    """One finding. `sources` reach `destination` on `port` by `path`; `change` closes it."""

    rule: str
    severity: SurveySeverity
    sources: tuple[str, ...]
    destination: str
    port: str
    path: str
    why: str
    change: str
