"""Slots on Docker-SRV: whether the container of another project is there, and at the reserved addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from topology.model import Slot, Topology, slots_of


def is_filled(topology: Topology, slot: Slot, there: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a container with the slot's name runs."""
    name = topology.physical(slot.name)
    return any(str(one["Name"]).lstrip("/") == name and one["State"]["Running"] for one in there)


def states(topology: Topology, there: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each slot: filled, or empty."""
    found = tuple(there)
    for slot in slots_of(topology.containers):
        state = "filled" if is_filled(topology, slot, found) else "empty"
        yield f"slot {slot.name} of project {slot.project}: {state}"


def misplaced(topology: Topology, one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each address of a slot's container that is not the reserved one, with the reserved one.

    `one` is as `docker inspect` prints it; another container has none.
    """
    name = str(one["Name"]).lstrip("/")
    for slot in slots_of(topology.containers):
        for zone in (topology.zones[each] for each in slot.zones):
            joined = (one["NetworkSettings"]["Networks"] or {}).get(topology.physical(zone.network)) or {}
            ip, own = joined.get("IPAddress"), str(topology.address_on(slot.name, zone))
            if name == topology.physical(slot.name) and ip and ip != own:
                yield f"{ip} on {zone.name}", own
