"""The engine's answers as frozen values, and their printed form.

Note: a trace omits its source, because the flow printed before it names the source already.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from topology.model import Port


class UnknownNameError(LookupError):
    """A question about a name that no fact has."""


class EdgeKind(StrEnum):
    """The kind of edge that leads to a destination."""

    NEIGHBOUR = "neighbour"  # members of one Docker network
    SHARED = "shared"  # containers with one network stack
    HOST = "host"  # by an address of the engine's host, or from the host's own stack
    PUBLISHED = "published"
    EGRESS = "egress"  # behind the host's address
    VLAN = "vlan"
    ROUTED = "routed"  # by a gateway
    PROXIED = "proxied"  # by a layer-7 proxy


@dataclass(frozen=True, slots=True)
class Trace:
    """The hops from a source, which is omitted, to the destination, which is the last hop."""

    hops: tuple[str, ...]

    def __str__(self) -> str:
        return " -> ".join(self.hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One possible connection. `port` None is any port that the destination's service does not declare."""

    source: str
    destination: str
    port: Port | None
    how: EdgeKind
    trace: Trace
    origin: str
    """Name of the fact that makes the connection possible."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port or '*'}"

    @property
    def key(self) -> tuple[str, str, Port | None]:
        """Source, destination and port, without the trace."""
        return self.source, self.destination, self.port


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSet:
    """One connection for many sources, which may include the destination; `in sources` is a fast lookup."""

    sources: Collection[str]
    destination: str
    port: Port | None
    how: EdgeKind
    trace: Trace
    origin: str

    def one(self, source: str) -> Connection:
        """Return the connection of one of the sources."""
        return Connection(
            source=source,
            destination=self.destination,
            port=self.port,
            how=self.how,
            trace=self.trace,
            origin=self.origin,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer about one connection: its trace, or the reasons why it is denied."""

    allowed: bool
    trace: Trace | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A declared flow that is not possible, and the reasons."""

    source: str
    destination: str
    port: Port
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Connections possible in only one of two stacks, each in the order of `flows`."""

    opened: tuple[Connection, ...]
    closed: tuple[Connection, ...]
