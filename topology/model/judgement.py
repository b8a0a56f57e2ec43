"""Declared exceptions to rules, and tests of reachability."""

from __future__ import annotations

from pydantic import Field

from topology.model.values import Day, Flag, Name, Reason, Value


class PolicyException(Value):
    """A declared exception: `rule` does not apply to `resource` until `expires`, for the given `reason`."""

    rule: Name
    resource: str = Field(min_length=1)
    reason: Reason
    owner: str = Field(min_length=1)
    expires: Day


class Assertion(Value):
    """An accept/deny test: what `src` must and must not reach, each written `service:port/protocol`.

    With `directly`, requests that the ingress passes on do not count: a guest with egress reaches the site's
    public services like everyone on the internet.
    """

    src: Name
    accept: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    directly: Flag = False
