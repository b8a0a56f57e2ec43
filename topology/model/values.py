"""What all values have in common, and the texts, days and times that they are made of."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

INTERNET = "internet"
LOCAL_NETWORK = "local_network"
"""The datacenter's alias whose network reaches a Proxmox node's own ports; without it, the routed one."""
MARK = "homelab-network.stack"
"""Label of the stack's containers and networks, and key in the notes of its guests; its value is the stack's
name. Volumes bear none: a new label replaces the volume, and with it the data.
"""
"""The one source and destination that is nobody's: every address outside the site."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)]
"""A DNS label (RFC 1123) in lower case that begins with a letter."""

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

HostName = Annotated[
    str, StringConstraints(pattern=rf"^({LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$", max_length=253)
]
"""Dot-separated DNS labels (RFC 1123) in lower case, the last of which begins with a letter."""

Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]*)?$", max_length=20)]
"""What physical names begin with; nothing, or something that keeps them DNS labels."""

Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=10)]
"""A network interface; ten characters leave room for `.4094` within the kernel's fifteen."""

UserId = Annotated[str, StringConstraints(pattern=r"^\d{1,10}:\d{1,10}$")]
"""A user and a group by number, so that no image decides what a name means."""

FilePath = Annotated[str, StringConstraints(pattern=r"^[^\r\n]+$")]
"""A file's path: one line, so that nobody pastes the file itself."""

PublicKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\r\n]*)?$")
]
"""A public key as authorized_keys holds it, without options."""

_MIDNIGHT = re.compile(r"T00:00:00Z$| 00:00:00 \+0000 UTC$")

HostKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$")]
"""A host's public key as known_hosts writes it: `ssh-ed25519 AAAA…`."""


def _day(value: object) -> object:
    return date.fromisoformat(_MIDNIGHT.sub("", value)) if isinstance(value, str) else value


Day = Annotated[date, BeforeValidator(_day)]
"""A date; the engine hands an unquoted YAML one over as midnight, in a list of texts in words of its own."""

Flag = Annotated[
    bool,
    BeforeValidator(lambda value: value == "true" if value in ("true", "false") else value),
    WithJsonSchema({"enum": [True, False, "true", "false"]}),
]
"""True or false, also as text: `pulumi config set` quotes every scalar of the file that it writes."""

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(value: object, info: ValidationInfo) -> object:
    """Read `30s`, `5m` or `1h`."""
    if isinstance(value, str) and (match := re.fullmatch(r"([1-9]\d{0,4})([smh])", value, re.ASCII)):
        return int(match[1]) * _UNITS[match[2]]
    if info.mode == "python" and isinstance(value, int):
        return value
    raise ValueError("not a length of time")


Every = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(ge=1, le=86_400),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,4}[smh]$"}),
]
"""Seconds between two times that something is done, at most a day; written `30s`, `5m` or `1h`."""


class Value(BaseModel):
    """A frozen value that refuses unknown keys; `data_root` is written `data-root` in YAML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
    )
