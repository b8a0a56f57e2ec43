"""The kinds of guests that a stack file may declare: one row of `GUEST_KINDS` for each, with its traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from topology.model.apps import FROM_DEBIAN
from topology.model.lxc import LxcGuest
from topology.model.services import Guest
from topology.model.table import table


class GuestKind(StrEnum):
    """A guest's `kind` in the stack file; a guest without one is a `vm`."""

    VM = "vm"
    LXC = "lxc"


class Machine(StrEnum):
    """What Proxmox makes for a guest."""

    VIRTUAL_MACHINE = "virtual machine"
    SYSTEM_CONTAINER = "system container"


@dataclass(frozen=True, kw_only=True)
class GuestKindTraits:
    """Properties of a kind of guest. No field has a default."""

    meaning: str
    """Description of the kind for the documentation, without a full stop."""
    entry: type[Guest]
    """What an entry of the stack file is read as; no two kinds have the same."""
    machine: Machine
    cloud_init: bool
    """Whether cloud-init runs at the first boot, so that the guest can set up its app."""


GUEST_KINDS: Final[Mapping[GuestKind, GuestKindTraits]] = table(
    "GUEST_KINDS",
    GuestKind,
    {
        GuestKind.VM: GuestKindTraits(
            meaning="virtual machine, cloned from the host's template",
            entry=Guest,
            machine=Machine.VIRTUAL_MACHINE,
            cloud_init=True,
        ),
        GuestKind.LXC: GuestKindTraits(
            meaning="system container, made from an archive",
            entry=LxcGuest,
            machine=Machine.SYSTEM_CONTAINER,
            cloud_init=False,
        ),
    },
)

_BY_ENTRY: Final = {traits.entry: kind for kind, traits in GUEST_KINDS.items()}


def kind_of(guest: Guest) -> GuestKind:
    """Return a guest's kind."""
    return _BY_ENTRY[type(guest)]


def machine_of(guest: Guest) -> Machine:
    """Return what Proxmox makes for a guest."""
    return GUEST_KINDS[kind_of(guest)].machine


def sets_itself_up(guest: Guest) -> bool:
    """Whether the guest sets up its app at its first boot. Apps from Debian's packages need no image."""
    return GUEST_KINDS[kind_of(guest)].cloud_init and (guest.image is not None or guest.app in FROM_DEBIAN)
