"""Docker-SRV's rules for legs: what a network of guests reaches of the containers that have legs there.

The kernel takes a packet for any address of a machine on each of its interfaces. Without these rules a
machine on the VLAN therefore reaches the ingress's address on edge by the hardware address of the ingress's
leg, and every port on which a program in the container listens. Packets to a leg meet no chain of the host's
other table; the chains here see each frame before macvlan hands it to the leg. What one leg sends to another
they do not see: the networks' private mode keeps these apart.

Note: connections are not tracked yet where these chains are. An answer is known by its source and port, and
of TCP by its flags.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Network

from rendered.nft import elements
from topology.model import Flow, Guest, Leg, Topology


def rules(topology: Topology) -> str:
    """Return the tables of all legs."""
    return "".join(tables(topology).values())


def install(topology: Topology) -> str:
    """Return the command that reads the tables from standard input and replaces all old ones atomically."""
    return f"{{ {_old(topology)}; cat; }} | nft --file -"


def remove(topology: Topology) -> str:
    """Return the command that removes the tables, also of former legs; it succeeds where there are none."""
    return f"{_old(topology)} | nft --file -"


def names(topology: Topology) -> tuple[str, ...]:
    """Return the family and name of each table."""
    return tuple(_name(topology, parent) for parent in tables(topology))


def tables(topology: Topology) -> Mapping[str, str]:
    """Return the nftables table of each of Docker-SRV's interfaces that carry legs, by interface.

    To a leg pass its declared flows, the answers of guests that its container asks, later fragments, which
    are nothing without the first, and ICMP errors. Nothing passes from there to another of the site's
    networks: a container that forwards packets would be a router between them. All else is the host's and of
    other machines behind the interface, ARP included, and passes.
    """
    found: defaultdict[str, list[Leg]] = defaultdict(list)
    for leg in topology.legs.every:
        found[topology.parent(leg.zone)].append(leg)
    return {parent: _table(topology, parent, legs) for parent, legs in found.items()}


def _table(topology: Topology, parent: str, legs: Iterable[Leg]) -> str:
    name, own = _name(topology, parent), sorted(leg.address for leg in legs)
    # On an interface that is the host's own, too, tagged frames are those of the VLANs on it.
    shared = any(leg.zone in topology.lans for leg in legs)
    tagged = "    vlan id 1-4095 accept\n" if shared else ""
    return f"""\
add table {name}
delete table {name}
table {name} {{
  set declared {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
{elements(_of_guests(topology, legs, topology.flows_to))}  }}
  set asked {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
{elements(_of_guests(topology, legs, topology.flows_from))}  }}
  chain leg {{
    ip saddr . ip daddr . meta l4proto . th dport @declared accept
    ip saddr . ip daddr . meta l4proto . th sport @asked meta l4proto udp accept
    ip saddr . ip daddr . meta l4proto . th sport @asked tcp flags & (syn | ack) != syn accept
    ip frag-off & 0x1fff != 0 accept
    icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} accept
    counter drop
  }}
  chain ingress {{
    type filter hook ingress device "{parent}" priority filter; policy accept;
{tagged}    ip daddr {{ {", ".join(map(str, _others(topology, parent)))} }} counter drop
    ip daddr {{ {", ".join(map(str, own))} }} goto leg
  }}
}}
"""


def _of_guests(
    topology: Topology, legs: Iterable[Leg], flows: Callable[[str], Iterable[Flow]]
) -> Iterator[str]:
    """Yield `guest . leg . protocol . port` of each of a leg's flows to or from a guest of its network."""
    for leg in legs:
        for flow in flows(leg.service):
            end = flow.source if flow.destination == leg.service else flow.destination
            guest = topology.services.get(end)
            if isinstance(guest, Guest) and leg.zone.name in guest.zones:
                yield f"{guest.address} . {leg.address} . {flow.port.protocol} . {flow.port.number}"


def _others(topology: Topology, parent: str) -> list[IPv4Network]:
    """Return the site's networks, and legs on shared ones, that are not behind an interface."""
    apart = [zone for zone in topology.zones.values() if zone.is_docker]
    apart += [zone for zone in topology.vlans if zone not in topology.lans]
    here = {leg.zone.name for leg in topology.legs.every if topology.parent(leg.zone) == parent}
    legs = (leg for leg in topology.legs.every if leg.zone in topology.lans)
    return sorted(
        {zone.prefix for zone in apart if zone.name not in here}
        | {IPv4Network(leg.address) for leg in legs if leg.zone.name not in here}
    )


def _old(topology: Topology) -> str:
    """Return the command that prints how to delete the tables that are there.

    An interface's name has at most 15 characters; a longer end is of another stack, by its prefix.
    """
    return rf"nft list tables netdev | sed -n 's/^table {_name(topology, '')}.\{{1,15\}}$/delete &/p'"


def replaces(topology: Topology, table: str) -> bool:
    """Whether `install` replaces a table, such as `netdev homelab-network-trunk.10`, others' too."""
    return re.fullmatch(rf"{_name(topology, '')}.{{1,15}}", table) is not None


def _name(topology: Topology, parent: str) -> str:
    return f"netdev {topology.physical('homelab-network')}-{parent}"
