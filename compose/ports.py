"""Ports in Compose's short and long form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_SHORT: Final = re.compile(
    r"(?:(?P<ip>\[[^]]*\]|\d+(?:\.\d+){3}|localhost):)?(?:(?P<host>[\d-]*):)?(?P<inner>\d{1,5}(?:-\d{1,5})?)(?:/(?P<protocol>tcp|udp))?"
)
_MOST: Final = 32


@dataclass(frozen=True)
class ComposePort:
    """A port that Compose would publish; `host` is the host's port, as it is written."""

    number: int
    protocol: str
    host: str
    ip: str

    @property
    def port(self) -> str:
        """The container's port in a stack file's words."""
        return f"{self.number}/{self.protocol}"

    @property
    def is_local(self) -> bool:
        """Whether only the host itself would reach it."""
        return self.ip.startswith("127.") or self.ip in {"[::1]", "::1", "localhost"}


def published(value: Any) -> list[ComposePort] | None:
    """Return the ports of one entry of `ports`; None where it cannot be read, or is a long range."""
    if isinstance(value, dict):
        text = f"{value.get('host_ip', '')}:" if value.get("host_ip") else ""
        text += f"{value['published']}:" if value.get("published") else ("0:" if text else "")
        value = f"{text}{value.get('target', '')}/{value.get('protocol', 'tcp')}"
    match = _SHORT.fullmatch(str(value))
    if not match or isinstance(value, bool):
        return None
    first, _, end = match["inner"].partition("-")
    numbers = range(int(first), int(end or first) + 1)
    if not 0 < len(numbers) <= _MOST or not 0 < numbers[0] <= numbers[-1] <= 65535:  # noqa: PLR2004
        return None
    protocol, ip = match["protocol"] or "tcp", match["ip"] or ""
    return [ComposePort(each, protocol, match["host"] or "", ip) for each in numbers]
