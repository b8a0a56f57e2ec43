"""Tables with one row for each member of an enumeration."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

_Member = TypeVar("_Member", bound=StrEnum)
_Row = TypeVar("_Row")


class IncompleteTableError(TypeError):
    """A table that lacks rows, as `table: fault; remedy`. It stops the program before a stack is read."""


def table(name: str, members: type[_Member], rows: Mapping[_Member, _Row]) -> Mapping[_Member, _Row]:
    """Return the rows, read-only and in the members' order; raises IncompleteTableError.

    A set derived from a table would otherwise treat a member without a row as one without the trait, which
    can grant a permission.
    """
    if missing := [f"{members.__name__}.{member.name}" for member in members if member not in rows]:
        raise IncompleteTableError(f"{name}: no row for {', '.join(missing)}; add one for each")
    return MappingProxyType({member: rows[member] for member in members})
