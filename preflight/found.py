"""An object that has a wanted name and is not in the stack's state, with the ways out."""

from __future__ import annotations

from dataclasses import dataclass

from preflight.finding import Check, PreflightFinding
from preflight.state import PulumiState
from preflight.wanted import Wanted


@dataclass(frozen=True, kw_only=True)
class Found:
    """`what` describes the object; `removal` and `instead` are remedies, `instead` one that keeps it.

    `identity` is the id for its import, empty where no import keeps it.
    """

    check: Check
    wanted: Wanted
    path: str
    what: str
    removal: str
    identity: str = ""
    instead: str = ""

    def finding(self, stack: str, state: PulumiState) -> PreflightFinding:
        """Return the finding, with the commands that import and remove the object."""
        ways = [self.instead] if self.instead else []
        if self.identity:
            ways.append(f"import it with `{self.wanted.import_command(stack, self.identity, state)}`")
        return PreflightFinding(
            self.check, self.path, f"taken by {self.what}", ", or ".join([*ways, self.removal])
        )
