"""Base models for the inputs of all providers; an unsupported, unknown or malformed value becomes a fault.

Note: a property that no class names is a fault. `inert` lists the properties that are known to carry no
traffic; they are dropped before validation, so only they may be unknown before creation.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


class Inputs(BaseModel):
    """Inputs of a resource, or a value inside them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        coerce_numbers_to_str=True,
        defer_build=True,
    )
    _inert: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, inert: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._inert |= {to_camel(name) for name in inert.split()}

    @model_validator(mode="before")
    @classmethod
    def _without_inert(cls, values: Any) -> Any:
        """Return the values that count; an engine gives null for what is not set."""
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if key not in cls._inert and value is not None}


class Settings(Inputs):
    """Inputs of which only the named ones matter; all others are ignored."""

    model_config = ConfigDict(extra="ignore")


class Ignored(Settings):
    """Inputs of a type that carries no traffic of its own."""


class Unsupported(Settings):
    """Inputs of an unsupported type."""


def interface(value: Any) -> Any:
    """Return an address as IPv4Interface, a /32 without a prefix length; None for `dhcp` and other text."""
    if not isinstance(value, str):
        return value
    try:
        return IPv4Interface(value)
    except ValueError:
        return None


def address(value: Any) -> Any:
    """Return an address, with or without a prefix length, as IPv4Address; None for `dhcp` and other text."""
    found = interface(value)
    return found.ip if isinstance(found, IPv4Interface) else found


Address = Annotated[IPv4Address | None, BeforeValidator(address)]
Interface = Annotated[IPv4Interface | None, BeforeValidator(interface)]
