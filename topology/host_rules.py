"""The rules that Docker-SRV itself keeps: what its bridges may do with the host and with what lies behind it.

Owns the text of one nftables table of the project's own. The engine's tables are left alone, so a restart of
Docker changes nothing here. What a reader would get wrong: `accept` ends only this table's chain; the
engine's own rules still judge the packet afterwards, and either side's drop is final.
"""

from topology.model import Topology

INSTALL = "nft --file -"
"""Reads the rules from standard input and puts them in place of the old ones in one step."""


def remove(topology: Topology) -> str:
    """Write the command that takes the rules away; it is content where there are none."""
    return f"nft 'add table {table(topology)}; delete table {table(topology)}'"


def rules(topology: Topology) -> str:
    """Write the table.

    Input: no container opens a connection to the host; facts.md measured that one on an internal network
    reaches the host's services on the gateway address. Forward: only published ports lead into a bridge, and
    only declared egress out of one; Docker's own rules let a neighbour on the LAN reach container addresses.
    """
    name = table(topology)
    bridges = [topology.bridge(zone) for zone in topology.zones.values() if zone.is_docker]
    outside = [
        topology.bridge(zone) for zone in topology.zones.values() if zone.is_docker and not zone.internal
    ]
    each = ", ".join(f'"{bridge}"' for bridge in bridges)
    edge = ", ".join(f'"{bridge}"' for bridge in outside)
    inside = "\n".join(f'    iifname "{bridge}" oifname "{bridge}" accept' for bridge in bridges)
    egress = "".join(
        f"    iifname {{ {edge} }} {port.protocol} dport {port.number} accept\n" for port in topology.egress
    )
    return f"""\
add table {name}
delete table {name}
table {name} {{
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname {{ {each} }} ct state established,related accept
    iifname {{ {each} }} drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
{inside}
    ct state established,related accept
    oifname {{ {edge} }} ct status dnat accept
{egress}    iifname {{ {each} }} drop
    oifname {{ {each} }} drop
  }}
}}
"""


def table(topology: Topology) -> str:
    """Return the table's family and name."""
    return f"inet {topology.physical('homelab-network')}"
