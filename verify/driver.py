"""What the probe wants of whoever sends its packets, and the fault that ends a run.

Owns the contract alone; `verify.vantages` fulfils it. What a reader would get wrong: a driver is asked once,
for everything, and a place that it could not ask is told by `places` afterwards, as the place's fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from verify.expect import Place


class ProbeError(Exception):
    """The run can't take place; its text is `what: fault; remedy`."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question to one place. `port` None is the port on which the probe itself listens everywhere."""

    id: str
    kind: str
    """`tcp`, `udp`, `icmp` or `page`."""
    address: IPv4Address
    port: int | None = None
    within: float = 0
    """Seconds during which a failure is tried again."""
    host: str = ""
    sni: str = ""
    """With one, TLS, and the certificate must be this name's."""
    authorities: str = ""
    """PEM text of who may have signed it; without one, whomever the machine trusts."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came back: by question's id, and the neighbours that answered ARP."""

    by_id: Mapping[str, object]
    heard: Sequence[str] = ()


class Driver(Protocol):
    """Vantages that are ready: they listen, and wait to be asked."""

    @property
    def places(self) -> Sequence[Place]:
        """Every place with the addresses that it has now, and its fault, if it could not be asked."""

    @property
    def left_out(self) -> Sequence[str]:
        """Places that could not be made, each with its reason."""

    @property
    def changed_rules(self) -> Sequence[str] | None:
        """What of Docker-SRV's own rules is missing or changed; None where it can't be seen."""

    def ask(self, questions: Mapping[str, Iterable[Ask]]) -> Mapping[str, Answers]:
        """Ask each place by name; one that gives no answers is absent."""
