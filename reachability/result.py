"""The engine's answers as frozen values, and how they print.

Owns the words of an answer: how, trace, reachable, verdict, diff. It deliberately holds no logic. What a
reader would get wrong: a trace leaves its source out, because the flow before it has named it already.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from topology.model import Port


class UnknownNameError(LookupError):
    """A question about something that no fact has: an answer would be true of nothing."""


class How(StrEnum):
    """By which kind of edge a destination is reached."""

    NEIGHBOUR = "neighbour"  # one Docker network
    SHARED = "shared"  # one network stack
    HOST = "host"  # by an address of the engine's host, or from its own stack
    PUBLISHED = "published"
    EGRESS = "egress"  # behind the host's address
    VLAN = "vlan"
    ROUTED = "routed"  # by a gateway
    PROXIED = "proxied"  # layer 7


@dataclass(frozen=True, slots=True)
class Trace:
    """The way from a source, which is left out, to the destination, its last hop."""

    hops: tuple[str, ...]

    def __str__(self) -> str:
        return " -> ".join(self.hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """One possible connection. `port` None is some port that the destination's service does not declare."""

    source: str
    destination: str
    port: Port | None
    how: How
    trace: Trace
    origin: str
    """Of the fact that opens the way."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port or '*'}"

    @property
    def key(self) -> tuple[str, str, Port | None]:
        """What is reachable, without the way."""
        return self.source, self.destination, self.port


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The same connection for many sources, the destination perhaps among them; `in sources` is quick."""

    sources: Collection[str]
    destination: str
    port: Port | None
    how: How
    trace: Trace
    origin: str

    def one(self, source: str) -> Reachable:
        """Return the connection of one of the sources."""
        return Reachable(
            source=source,
            destination=self.destination,
            port=self.port,
            how=self.how,
            trace=self.trace,
            origin=self.origin,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer about one connection: the way, or what stands in it."""

    allowed: bool
    trace: Trace | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A declared flow that is not possible, and why."""

    source: str
    destination: str
    port: Port
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What one stack makes possible and another does not, each in the order of `flows`."""

    opened: tuple[Reachable, ...]
    closed: tuple[Reachable, ...]
