"""Slots: services whose container another Pulumi project makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import ConfigDict, StringConstraints

from topology.model.services import Container, Service

ProjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
"""Name of a Pulumi project."""


class Slot(Container):
    """A declared container of another project: its name, addresses, ports and flows are reserved for it.

    Of a container's keys it takes `KEYS` alone; that project decides on the rest.
    """

    model_config = ConfigDict(alias_generator=str)

    project: ProjectName
    """The one project whose stack fills the slot."""
    image: str = ""
    """Empty: the project chooses it."""


KEYS: Final = (
    "project",
    "addresses",
    *(
        str(field.validation_alias)
        for name, field in Service.model_fields.items()
        if name not in {"name", "memory", "forward_auth"}
    ),
)
"""The keys of a stack file that a slot takes."""


def made_here(containers: Iterable[Container]) -> tuple[Container, ...]:
    """Return the containers that this program makes: all but slots."""
    return tuple(each for each in containers if not isinstance(each, Slot))


def slots_of(containers: Iterable[Container]) -> tuple[Slot, ...]:
    """Return the slots among containers."""
    return tuple(each for each in containers if isinstance(each, Slot))
