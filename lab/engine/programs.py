"""The engine's programs: Debian's package, or an engine built from Go modules, with either firewall backend.

HOMELAB_ENGINE selects them. `make up` uses Debian's, which install in seconds; the live tests use Docker 29.
An engine that the lab started keeps its programs until `make down`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lab import apt, dockerd
from lab.errors import LabError

Report = Callable[[str], None]

VARIABLE = "HOMELAB_ENGINE"
DEFAULT = "debian"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_NFTABLES = MappingProxyType({"firewall-backend": "nftables"})


@dataclass(frozen=True, kw_only=True)
class Programs:
    """One set of dockerd, containerd and runc with its settings.

    `built` is the engine to build, None for Debian's. `forwards`: it expects IP forwarding to be on instead
    of enabling it.
    """

    name: str
    built: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    forwards: bool = False

    @classmethod
    def chosen(cls, kept: str | None = None) -> Programs:
        """Return the set named `kept`, else the one that HOMELAB_ENGINE names; raises LabError."""
        name = kept or os.environ.get(VARIABLE) or DEFAULT
        if name not in CHOICES:
            raise LabError(f"{VARIABLE}: {name} is no engine; use one of {', '.join(CHOICES)}")
        return CHOICES[name]

    def install(self, report: Report) -> None:
        """Install the missing Debian packages, and build the engine where that is selected."""
        wanted = {"docker": "docker.io", "iptables": "iptables"}
        apt.install("Docker engine", wanted if self.built else {"dockerd": "docker.io", **wanted}, report)
        if self.built:
            dockerd.path(self.built, report)

    def prepare(self) -> None:
        """Set what the engine expects of the kernel; `kernel.restore` resets it."""
        if self.forwards:
            FORWARDING.write_text("1")

    @property
    def environment(self) -> Mapping[str, str]:
        """Return variables for the engine's process: the built programs come first on its PATH."""
        if not self.built:
            return {}
        programs = dockerd.path(self.built, lambda _line: None)
        return {"PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}


CHOICES: Mapping[str, Programs] = {
    choice.name: choice
    for choice in (
        Programs(name=DEFAULT),
        *(Programs(name=name, built=name) for name in dockerd.ENGINES),
        Programs(name="29-nftables", built="29", settings=_NFTABLES, forwards=True),
    )
}
