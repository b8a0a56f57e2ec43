"""A decoded resource, from the engine, a state file or a test.

Inputs are plain Python values, with `UNKNOWN` for values that are not known yet, and the paths of secrets.
`resources.typed` interprets them by provider.

Note: secrets are in plain text. Compare and parse them, but never print them; messages name paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value  # type: ignore[import-untyped]

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_MARK: Final = "1b47061264138c4ac30d75fd1eb44270"
"""The key that marks an object as a special value, and the key's value for a secret."""
SECRET: Final = {_SIGNATURE: _MARK}
"""An encrypted value of a stack file, in the form that a state has."""
_UNKNOWN: Final = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # a boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # a number
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # a string
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # an array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # an asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # an archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # an object
    }
)
"""`pulumi_policy.proxy` has the same, but importing it is a fifth of a short command's time."""


class Unknown:
    """A value that is unknown before the resource exists; equal to nothing, of no type."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = Unknown()

HIDDEN: Final = "[secret]"
"""What stands in place of a secret that is encrypted."""

Trail = tuple[str | int, ...]
"""Path of a value in a resource's inputs."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A decoded resource; `inputs` have camelCase keys as the provider spells them.

    `provider` is the URN of the resource's provider, empty for a component. `protect` is the engine's option
    of that name; it is the only option that the pack receives and a rule needs.
    """

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    secrets: frozenset[Trail] = frozenset()
    provider: str = ""
    protect: bool = False

    @property
    def stack(self) -> str:
        """Name of the stack, without the organisation."""
        return self.urn.partition("::")[0].rpartition(":")[2]

    @property
    def project(self) -> str:
        """Name of the Pulumi project."""
        return self.urn.partition("::")[2].partition("::")[0]


@dataclass(kw_only=True)
class _Decoder:
    secrets: set[Trail] = field(default_factory=set)

    def mapping(self, fields: Mapping[str, Any], at: Trail = ()) -> dict[str, Any]:
        return {
            key: self.value(value, (*at, key))
            for key, value in fields.items()
            if key not in {"__defaults", "__meta"}
        }

    def value(self, value: Any, at: Trail) -> Any:
        if isinstance(value, Value):
            value = _unwrapped(value)
        if isinstance(value, str):
            return UNKNOWN if value in _UNKNOWN else value
        if isinstance(value, Mapping):
            if _text(value.get(_SIGNATURE)) == _MARK:
                self.secrets.add(at)
                return self._secret(value, at)
            return self.mapping(value, at)
        if isinstance(value, Iterable):
            return [self.value(item, (*at, index)) for index, item in enumerate(value)]
        return value

    def _secret(self, value: Mapping[str, Any], at: Trail) -> Any:
        if "value" in value:
            return self.value(value["value"], at)
        try:
            return self.value(json.loads(_text(value["plaintext"])), at)
        except (KeyError, TypeError, ValueError, RecursionError):
            return HIDDEN


def _unwrapped(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return value.struct_value.fields
        case "list_value":
            return value.list_value.values
        case None | "null_value":
            return None
        case kind:
            return getattr(value, kind)


def _text(value: Any) -> Any:
    return value.string_value if isinstance(value, Value) else value


def decode(
    *,
    urn: str,
    type: str,  # noqa: A002
    inputs: Struct | Mapping[str, Any],
    provider: str = "",
    protect: bool = False,
) -> Resource:
    """Return a resource, decoded from the engine's form (a Struct) or a state file's (a mapping)."""
    decoder = _Decoder()
    plain = decoder.mapping(inputs.fields if isinstance(inputs, Struct) else inputs)
    return Resource(
        urn=urn,
        type=type,
        name=urn.rsplit("::", 1)[-1],
        inputs=plain,
        secrets=frozenset(decoder.secrets),
        provider=provider,
        protect=protect,
    )


_URN: Final = re.compile(r"urn:pulumi:[^:]*::[^:]+::[^:]+(:[^:]+)*::.")


class StateError(Exception):
    """A file that is not an exported state, as `path: fault; remedy`."""


def from_state(path: Path) -> list[Resource]:
    """Read a `pulumi stack export`; encrypted secrets are `[secret]`; raises StateError."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        resources = state["deployment"].get("resources", [])
        return [_of_state(each) for each in resources if not each.get("delete")]
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; name a file that `pulumi stack export` wrote.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise StateError(f"{path}: {line}no exported state; write one with `pulumi stack export`.") from None


def _of_state(resource: Mapping[str, Any]) -> Resource:
    """Return a resource of an exported state; raises an error of Python's where it is none."""
    if not _URN.match(resource["urn"]) or not isinstance(resource["type"], str):
        raise ValueError
    return decode(
        urn=resource["urn"],
        type=resource["type"],
        inputs=resource.get("inputs", {}),
        provider=resource.get("provider", "").rpartition("::")[0],
        protect=resource.get("protect", False) is True,
    )
