"""What a container takes in Compose's words besides its program: limits, names, order and volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from topology.model.compose import PAIRS, TEXT, VOLUME_NAME, ComposeValue, Text, pairs
from topology.model.values import FilePath, Flag, HostName


def _bytes(value: object) -> int:
    """Parse `64m`, `1gb` or a number of bytes; raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("not a size")
    return int(match[1]) * _FACTORS[match[2].lower()]


_SIZE: Final = re.compile(r"(\d{1,12}) ?([kmgKMG]?)[bB]?", re.ASCII)
_FACTORS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_MIB: Final = 1024**2


def _mib(value: object) -> object:
    size = _bytes(value)
    if size % _MIB:
        raise ValueError("not a whole number of MiB")
    return size // _MIB


_SIZE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"type": "integer", "minimum": _MIB}, {"type": "string", "pattern": "^[0-9]+ ?[kmgKMG]?[bB]?$"}]
}
Mebibytes = Annotated[int, BeforeValidator(_mib), Field(ge=1, le=1_048_576), WithJsonSchema(_SIZE_SCHEMA)]
"""MiB; written like `64m` or `1gb`, as Compose does."""


class Scratch(ComposeValue):
    """A folder in memory, of a bounded size, in which no program can be run."""

    target: FilePath
    size: int = Field(default=64 * _MIB, ge=4096, le=1_048_576 * _MIB)
    """Bytes."""
    mode: Annotated[str, StringConstraints(pattern="^[0-7]{3,4}$")] = "1777"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("not a scratch folder")  # noqa: TRY004  # pydantic wants a ValueError
        target, _, options = value.partition(":")
        found: dict[str, object] = {"target": target}
        for option in filter(None, options.split(",")):
            name, given, text = option.partition("=")
            if given and name == "size":
                found[name] = _bytes(text)
            elif given and name == "mode":
                found[name] = text
            elif option not in ("rw", "noexec", "nosuid", "nodev"):
                raise ValueError("not an option of a scratch folder")
        return found


def _one_or_more(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


_SCRATCH_SCHEMA: Final = {"type": "string", "pattern": "^/[^:]+(:.*)?$"}
Scratches = Annotated[
    tuple[Scratch, ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [_SCRATCH_SCHEMA, {"type": "array", "items": _SCRATCH_SCHEMA}]}),
]
"""Written like `/run:size=16m,mode=755`, or as a list of such."""


class Ulimit(ComposeValue):
    """A limit of a process; -1 is none."""

    soft: int = Field(ge=-1)
    hard: int = Field(ge=-1)

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        return {"soft": value, "hard": value} if isinstance(value, int) else value


Ulimits = Annotated[
    Mapping[str, Ulimit],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "integer", "minimum": -1},
                    {
                        "type": "object",
                        "properties": {key: {"type": "integer", "minimum": -1} for key in ("soft", "hard")},
                        "required": ["soft", "hard"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]
"""Name -> limit; written as a number, or as `soft` and `hard`."""

Texts = Annotated[
    Mapping[str, Text],
    BeforeValidator(pairs),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": TEXT}, PAIRS]}),
]
"""Name -> text; written as a mapping, or as a list of `name=text`."""


def _address(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise ValueError("not an address")  # noqa: TRY004  # pydantic wants a ValueError
    return IPv4Address(value)


Address = Annotated[IPv4Address, PlainValidator(_address)]


def _hosts(value: object) -> object:
    """Return a list of `name:address` or `name=address` as a mapping; raises ValueError."""
    if not isinstance(value, list):
        return value
    pairs = [re.split("[:=]", each, maxsplit=1) if isinstance(each, str) else [] for each in value]
    if any(len(pair) != 2 for pair in pairs) or len({name for name, _ in pairs}) != len(pairs):  # noqa: PLR2004
        raise ValueError("not a list of hosts")
    return dict(pairs)


ExtraHosts = Annotated[
    Mapping[HostName, Address],
    BeforeValidator(_hosts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "string", "format": "ipv4"}},
                {"type": "array", "items": {"type": "string", "pattern": "^[^:=]+[:=][0-9.]+$"}},
            ]
        }
    ),
]
"""Host name -> address; written as a mapping, or as a list of `name:address`."""

_IPV4: Final = {"type": "string", "format": "ipv4"}
NameServers = Annotated[
    tuple[Address, ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [_IPV4, {"type": "array", "items": _IPV4}]}),
]


def _capability(value: object) -> object:
    return f"CAP_{value.upper().removeprefix('CAP_')}" if isinstance(value, str) else value


Capability = Annotated[
    str,
    BeforeValidator(_capability),
    StringConstraints(pattern="^CAP_[A-Z_]{3,30}$"),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_]{3,30}$"}),
]
"""A capability, with `CAP_` before it."""


class Device(ComposeValue):
    """A device of Docker-SRV in a container."""

    source: FilePath
    target: FilePath
    permissions: Annotated[str, StringConstraints(pattern="^r?w?m?$", min_length=1)] = "rwm"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        source, *rest = value.split(":") if isinstance(value, str) else [""]
        if not source or len(rest) > 2:  # noqa: PLR2004  # a path and permissions
            raise ValueError("not a device")
        return {
            "source": source,
            "target": source,
            **dict(zip(("target", "permissions"), rest, strict=False)),
        }


Devices = Annotated[
    tuple[Device, ...],
    WithJsonSchema({"type": "array", "items": {"type": "string", "pattern": "^/dev/[^:]+(:[^:]+){0,2}$"}}),
]
"""Written like `/dev/dri:/dev/dri:rw`."""


def _cpus(value: object) -> object:
    text = f"{value}" if isinstance(value, int | float) and not isinstance(value, bool) else value
    if (
        not isinstance(text, str)
        or not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text, re.ASCII)
        or not float(text)
    ):
        raise ValueError("not a number of processors")
    return f"{float(text):g}"


Cpus = Annotated[
    str,
    BeforeValidator(_cpus),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": "^[0-9]{1,4}(\\.[0-9]{1,3})?$"},
            ]
        }
    ),
]
"""Processors, in Go's shortest form; written as a number or a text."""

Signal = Annotated[str, StringConstraints(pattern="^SIG[A-Z]{2,6}[0-9]?$")]

Condition = Literal["service_started", "service_healthy"]


def _conditions(value: object) -> object:
    """Return a list of services, or a mapping to conditions, as name -> condition."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return dict.fromkeys(value, "service_started")
    if not isinstance(value, dict):
        raise ValueError("not a list of services")  # noqa: TRY004  # pydantic wants a ValueError
    return {name: _condition(each) for name, each in value.items()}


def _condition(value: object) -> object:
    plain = {"required": True, "restart": False}
    if not isinstance(value, dict) or any(
        value[key] is not plain.get(key) for key in value.keys() - {"condition"}
    ):
        return None
    return value.get("condition", "service_started")


DependsOn = Annotated[
    Mapping[str, Condition],
    BeforeValidator(_conditions),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {
                            "condition": {"enum": ["service_started", "service_healthy"]},
                            "required": {"const": True},
                            "restart": {"const": False},
                        },
                        "additionalProperties": False,
                    },
                },
            ]
        }
    ),
]
"""Service -> condition; written as a list, or as a mapping with `condition` below each."""


# -------------------------------------------------------------------------------------------- volumes

VolumeName = Annotated[str, StringConstraints(pattern=f"^{VOLUME_NAME.pattern}$")]


class FileServer(ComposeValue):
    """A folder of a file server, which the engine mounts."""

    type: Literal["nfs", "nfs4"]
    o: Annotated[
        str, StringConstraints(pattern=r"^([\w.-]+(=[\w.:-]+)?,)*addr=[\d.]+(,[\w.-]+(=[\w.:-]+)?)*$")
    ]
    device: Annotated[str, StringConstraints(pattern=r"^:/[\w./-]*$")]


class NamedVolume(ComposeValue):
    """A named volume that is not simply made by this stack, as Compose's section `volumes` says it."""

    external: Flag = False
    """Whether the volume is on the engine already, where this stack neither makes nor removes it."""
    name: VolumeName | None = None
    """Name of an external volume in the engine; None: that of the entry."""
    driver: Literal["local"] | None = None
    driver_opts: FileServer | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_nothing(cls, value: object) -> object:
        return {} if value is None else value
