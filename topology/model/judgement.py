"""Declared exceptions to rules, and tests of reachability."""

from __future__ import annotations

from pydantic import Field

from topology.model.values import Day, Name, Value


class PolicyException(Value):
    """A declared exception: `rule` does not apply to `resource` until `expires`, for the given `reason`."""

    rule: Name
    resource: str = Field(min_length=1)
    reason: str = Field(min_length=10)
    owner: str = Field(min_length=1)
    expires: Day


class Assertion(Value):
    """An accept/deny test: what `src` must and must not reach, each written `service:port/protocol`."""

    src: Name
    accept: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
