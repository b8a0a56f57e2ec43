"""What a container takes in the Compose specification's words and forms.

A value may be written in each form that Compose knows; here it has one. Nothing is replaced in a text: `$$`
is a dollar sign, and any other `$` is refused, because Compose would replace it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from topology.model.values import FilePath, Flag, Value

_CONFIGURATION_KEY: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,62}:[A-Za-z][A-Za-z0-9_.-]{0,62}$"
_REPLACED: Final = re.compile(r"(?<!\$)(\$\$)*\$(?!\$)")
"""A dollar sign that Compose would replace with a variable."""
_SPAN: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?(?:(\d{1,6})ms)?", re.ASCII)
VOLUME_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
"""Docker's volume names, of at most 63 characters."""

SecretKey = Annotated[str, StringConstraints(pattern=_CONFIGURATION_KEY)]
"""Configuration key of a secret of the stack, such as `wiki:db-password`."""


class ComposeValue(Value):
    """Base class of values whose keys are Compose's own, with underscores."""

    model_config = ConfigDict(alias_generator=str)


class SecretVariable(ComposeValue):
    """A variable whose text is a secret of the stack."""

    secret: SecretKey


def as_text(value: object) -> str:
    """Return a text with `$$` as `$`; an integer is a text, too. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or "\0" in value or _REPLACED.search(value):
        raise ValueError("not a text")
    return value.replace("$$", "$")


def _variable(value: object) -> str | SecretVariable:
    if isinstance(value, SecretVariable):
        return value
    if isinstance(value, dict):
        key = value.get("secret")
        if (
            value.keys() != {"secret"}
            or not isinstance(key, str)
            or not re.fullmatch(_CONFIGURATION_KEY, key)
        ):
            raise ValueError("not a secret")
        return SecretVariable(secret=key)
    return as_text(value)


def pairs(value: object) -> object:
    """Return a list of `name=text` as a mapping; a name without text is None, which is refused."""
    if not isinstance(value, list):
        return value
    found: dict[str, str | None] = {}
    for item in value:
        name, equals, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not name or name in found:
            raise ValueError("not a list of variables")
        found[name] = text if equals else None
    return found


TEXT: Final[dict[str, Any]] = {"type": ["string", "integer"]}
PAIRS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}}
_KEY: Final[dict[str, Any]] = {"type": "string", "pattern": _CONFIGURATION_KEY}
_SECRET_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"secret": _KEY},
    "required": ["secret"],
    "additionalProperties": False,
}

Text = Annotated[str, BeforeValidator(as_text), WithJsonSchema(TEXT)]
"""A text, or an integer as one."""

Variables = Annotated[
    Mapping[str, Annotated[str | SecretVariable, PlainValidator(_variable)]],
    BeforeValidator(pairs),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"anyOf": [TEXT, _SECRET_SCHEMA]}},
                PAIRS,
            ]
        }
    ),
]
"""Name -> text or secret; written as a mapping, or as a list of `name=text`."""


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004  # pydantic wants a ValueError
    return value


def _words(value: object) -> object:
    """Split a text as a shell does, without replacing anything; raises ValueError for an open quote."""
    return tuple(shlex.split(value) if isinstance(value, str) else _list(value))


Words = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(_words),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": TEXT, "minItems": 1}]}
    ),
]
"""A program and its arguments; written as a list, or as one text."""


def _span(value: object) -> object:
    """Parse `1m30s` into milliseconds; raises ValueError."""
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if not match or not value:
        raise ValueError("not a length of time")
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS, strict=True))


_UNITS: Final = (3_600_000, 60_000, 1000, 1)
Span = Annotated[
    int,
    BeforeValidator(_span),
    Field(ge=0, le=86_400_000),
    WithJsonSchema(
        {"type": "string", "minLength": 2, "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"}
    ),
]
"""Milliseconds, at most a day; written like `1m30s`, as Compose does."""


def _test(value: object) -> object:
    if isinstance(value, str):
        return ("CMD-SHELL", value)
    match value:
        case ["NONE"] | ["CMD-SHELL", _] | ["CMD", _, *_]:
            return tuple(_list(value))
    raise ValueError("not a test")


Test = Annotated[
    tuple[Text, ...],
    BeforeValidator(_test),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": TEXT, "minItems": 1}]}
    ),
]
"""`CMD` and a program, `CMD-SHELL` and a line, or `NONE`; a text is a line for the shell."""


class Healthcheck(ComposeValue):
    """How the engine finds out whether a container works; what is left out is the engine's default."""

    test: Test = ()
    """Empty: the check is switched off by `disable`; anything else is refused."""
    interval: Span | None = Field(default=None, ge=1)
    timeout: Span | None = Field(default=None, ge=1)
    retries: int | None = Field(default=None, ge=1, le=100)
    start_period: Span | None = None
    start_interval: Span | None = Field(default=None, ge=1)
    disable: Flag = False

    @property
    def is_off(self) -> bool:
        """Whether the container has no health check, not even its image's."""
        return self.disable or self.test == ("NONE",)


def _mount(value: object) -> object:
    """Return `source:target[:ro]` as the long form; raises ValueError."""
    if not isinstance(value, str):
        return value
    source, *rest = value.split(":")
    if len(rest) not in (1, 2) or not source or (len(rest) == 2 and rest[1] not in ("ro", "rw")):  # noqa: PLR2004
        raise ValueError("not a mount")
    kind = "volume" if VOLUME_NAME.fullmatch(source) and source not in {".", ".."} else "bind"
    return {"type": kind, "source": source, "target": rest[0], "read_only": rest[1:] == ["ro"]}


class Mount(ComposeValue):
    """A named volume, or a folder of Docker-SRV, at a path in the container."""

    _from_text = model_validator(mode="before")(_mount)

    type: Annotated[str, StringConstraints(pattern="^(volume|bind)$")]
    source: FilePath
    target: FilePath
    read_only: Flag = False

    @property
    def is_bind(self) -> bool:
        """Whether the source is a folder of the host."""
        return self.type == "bind"


def _files(value: object) -> object:
    """Return one file, or a list of files or of mappings with `path`, as a list of paths."""
    files = value if isinstance(value, list) else [value]
    return tuple(
        each["path"] if isinstance(each, dict) and each.keys() == {"path"} else each for each in files
    )


_FILE: Final = {"type": "string", "minLength": 1}
_PATH: Final = {
    "type": "object",
    "properties": {"path": _FILE},
    "required": ["path"],
    "additionalProperties": False,
}
EnvFiles = Annotated[
    tuple[FilePath, ...],
    BeforeValidator(_files),
    WithJsonSchema({"anyOf": [_FILE, {"type": "array", "items": {"anyOf": [_FILE, _PATH]}}]}),
]
"""Paths of files with variables; written as one path, as a list, or as Compose's `path` below each."""
