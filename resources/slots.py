"""Facts of slots: the containers of other projects, which are in no stack of the site.

Each is assumed to be there, at the addresses that the stack file reserves. The same pack judges the other
project's stack, so that its container has these addresses and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import reachability.facts as fact
from topology.index import TopologyIndex
from topology.model import slots_of


def slot_facts(topology: TopologyIndex, networks: Collection[str], host: str) -> Iterator[fact.ContainerFact]:
    """Yield a container for each slot on those of its networks that are in the stack, by physical name."""
    for slot in slots_of(topology.containers):
        zones = (topology.zones[name] for name in slot.zones)
        yield fact.ContainerFact(
            name=slot.name,
            origin=f"slot of project {slot.project}",
            host=host,
            legs=tuple(
                fact.Leg(network=zone.name, address=topology.address_on(slot.name, zone))
                for zone in zones
                if topology.physical(zone.network) in networks
            ),
            names=(topology.physical(slot.name),),
            ports=slot.ports,
        )
