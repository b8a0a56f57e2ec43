"""The interface between the probe and the driver that sends its packets, and the error that ends a run.

`verify.vantages` implements it. A driver is asked once, with all questions; afterwards, `endpoints` holds a
fault for each endpoint that the driver could not ask.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from verify.expect import Endpoint


class ProbeError(Exception):
    """The run can't take place; its text is `what: fault; remedy`."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question to one endpoint; `port` None means the port on which every agent listens."""

    id: str
    kind: str
    """`tcp`, `udp`, `icmp`, `page`, `name`, `scan` or `sockets`."""
    address: IPv4Address
    port: int | None = None
    within: float = 0
    """Seconds during which a failed attempt is repeated."""
    host: str = ""
    path: str = "/"
    """Path of the page."""
    sni: str = ""
    """If set, the question uses TLS, and the certificate must be valid for this name."""
    authorities: str = ""
    """PEM text of the CAs that may have signed the certificate; empty means those that the machine trusts."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """An endpoint's answers by question id, and the neighbours that answered ARP.

    `arrived` are the ids of all endpoints' questions over UDP that reached this one; None: unknown.
    """

    by_id: Mapping[str, object]
    arp_neighbours: Sequence[str] = ()
    arrived: Collection[str] | None = None


class Driver(Protocol):
    """Vantages whose agents listen and are ready for questions."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Every endpoint with its current addresses, and its fault if it could not be asked."""

    @property
    def other(self) -> int:
        """The port on which every agent listens."""

    @property
    def left_out(self) -> Sequence[str]:
        """What the run leaves out, each with its reason."""

    @property
    def changed_rules(self) -> Sequence[str] | None:
        """Which of Docker-SRV's own rules are missing or changed; None if they can't be read."""

    def ask(self, questions: Mapping[str, Iterable[Ask]]) -> Mapping[str, Answers]:
        """Return the answers of each endpoint, by name; an endpoint that gives none is absent."""
