"""Base class of all values, and the types of their strings, dates and durations."""

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
"""The source and destination of flows that stands for every address outside the site."""
LOCAL_NETWORK = "local_network"
"""The datacenter's alias for the network that may reach a Proxmox node's own ports. Proxmox's default is the
network that the node is routed in.
"""
MARK = "homelab-network.stack"
"""Label of the stack's containers and networks, and key in its guests' notes; the value is the stack's name.
Volumes have no such label: a new label would replace the volume and lose its data.
"""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)]
"""A DNS label (RFC 1123) in lower case that begins with a letter."""

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

HostName = Annotated[
    str, StringConstraints(pattern=rf"^({LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$", max_length=253)
]
"""Dot-separated DNS labels (RFC 1123) in lower case, the last of which begins with a letter."""

Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]*)?$", max_length=20)]
"""Prefix of physical names: empty, or one that keeps them valid DNS labels."""

StorageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")]
InterfaceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=10)]
"""A network interface's name; ten characters leave room for `.4094` within the kernel's limit of fifteen."""

MacAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$", to_upper=True),
]
"""The address of one card: an odd first byte would be a group's (IEEE 802)."""
UserId = Annotated[str, StringConstraints(pattern=r"^\d{1,10}:\d{1,10}$")]
"""A numeric user and group, which do not depend on the image's user names."""

UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*$", max_length=200)]
"""Path of a URL without a query."""

PathPrefix = Annotated[
    str, StringConstraints(pattern=r"^(/\.?[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$", max_length=100)
]
"""Path of a URL without a slash at its end, of segments that no program takes for `.` or `..`."""

FilePath = Annotated[str, StringConstraints(pattern=r"^[^\r\n]+$")]
"""A file's path on one line, so that the file's content can't be pasted instead."""

Argument = Annotated[str, StringConstraints(pattern=r"^[^@\x00-\x1f][^\x00-\x1f]*$")]
"""A program's argument on one line; `@file` would have the program read further ones from a file."""

PublicKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\r\n]*)?$")
]
"""A public key in the format of authorized_keys, without options."""

_MIDNIGHT = re.compile(r"T00:00:00Z$| 00:00:00 \+0000 UTC$")

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
"""Why something that needs a reason is there; blanks around it are none."""

HostKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$")]
"""A host's public key in the format of known_hosts: `ssh-ed25519 AAAA…`."""


def _day(value: object) -> object:
    return date.fromisoformat(_MIDNIGHT.sub("", value)) if isinstance(value, str) else value


Day = Annotated[date, BeforeValidator(_day)]
"""A date. The engine converts an unquoted YAML date to a timestamp at midnight, in two different formats."""

Flag = Annotated[
    bool,
    BeforeValidator(lambda value: value == "true" if value in ("true", "false") else value),
    WithJsonSchema({"enum": [True, False, "true", "false"]}),
]
"""A boolean, also as text: `pulumi config set` quotes every scalar of the file that it writes."""

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(value: object, info: ValidationInfo) -> object:
    """Parse `30s`, `5m` or `1h` into seconds."""
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
"""An interval in seconds, at most a day; written `30s`, `5m` or `1h`."""


class Value(BaseModel):
    """Base class of frozen values that reject unknown keys; `data_root` is `data-root` in YAML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
    )
