"""The rules that Docker-SRV itself keeps: what its bridges may do with the host and with what lies behind it.

Owns the text of one nftables table of the project's own, of the systemd unit that brings it back at boot,
and of the two rules that a probe zone needs in Docker's DOCKER-USER chain. All else of the engine's is left
alone, and it keeps both, so a restart of Docker changes nothing here. What a reader would get wrong: `accept`
ends only this table's chain; the engine's own rules still judge the packet afterwards, and either side's drop
is final.
"""

from topology.model import Role, Topology
from topology.prefixes import DOCUMENTATION

INSTALL = "nft --file -"
"""Reads the rules from standard input and puts them in place of the old ones in one step."""
KEEP = "sh -s"
"""Reads the script of `keep` from standard input."""
_FOLDER = "/etc/homelab-network"
_UNITS = "/etc/systemd/system"


def remove(topology: Topology) -> str:
    """Write the command that takes the rules away; it is content where there are none."""
    return f"nft 'add table {table(topology)}; delete table {table(topology)}'"


def rules(topology: Topology) -> str:
    """Write the table.

    Input: no container opens a connection to the host; facts.md measured that one on an internal network
    reaches the host's services on the gateway address. Forward: only published ports lead into a bridge, and
    only declared egress out of one, to public addresses; Docker's own rules let a neighbour on the LAN reach
    container addresses. Prefixes for documentation count as public, for the live probe's own internet.
    A probe zone sees all that is published here, by whomever, since that is what it is for.
    """
    name = table(topology)
    # By name: the engine hands the zones over sorted, a stack file has them as somebody wrote them.
    docker = sorted((zone for zone in topology.zones.values() if zone.is_docker), key=topology.bridge)
    each = ", ".join(f'"{topology.bridge(zone)}"' for zone in docker)
    edge = ", ".join(f'"{topology.bridge(zone)}"' for zone in docker if zone.role is Role.EDGE)
    inside = "\n".join(f'    iifname "{b}" oifname "{b}" accept' for b in map(topology.bridge, docker))
    probes = "".join(
        f'    iifname "{topology.bridge(zone)}" ct status dnat accept\n'
        for zone in docker
        if zone.role is Role.PROBE
    )
    near = ", ".join(map(str, sorted({*topology.nearby} - {*DOCUMENTATION})))
    egress = "".join(
        f"    iifname {{ {edge} }} ip daddr != {{ {near} }} {port.protocol} dport {port.number} accept\n"
        for port in topology.egress
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
{probes}{egress}    iifname {{ {each} }} drop
    oifname {{ {each} }} drop
  }}
}}
"""


def keep(topology: Topology) -> str:
    """Write the script by which the rules are there at boot before Docker starts a container.

    Docker needs the unit, so without the rules it does not start at all. A machine without systemd keeps
    nothing: its rules last until it is switched off.
    """
    name, unit = _unit(topology), f"{_unit(topology)}.service"
    return f"""\
set -e
[ -d /run/systemd/system ] || exit 0
mkdir -p {_FOLDER}
cat >{_FOLDER}/{name}.nft <<'RULES'
{rules(topology)}RULES
cat >{_UNITS}/{unit} <<'UNIT'
[Unit]
Description=Rules of {table(topology)} before Docker starts
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft --file {_FOLDER}/{name}.nft

[Install]
RequiredBy=docker.service
UNIT
systemctl daemon-reload
systemctl enable {unit}
"""


def forget(topology: Topology) -> str:
    """Write the command that takes unit and file away; it is content where there are none."""
    name, unit = _unit(topology), f"{_unit(topology)}.service"
    files = f"{_UNITS}/{unit} {_FOLDER}/{name}.nft"
    return (
        f"[ ! -e {_UNITS}/{unit} ] || {{ systemctl disable {unit}; rm -f {files}; systemctl daemon-reload; }}"
    )


def _unit(topology: Topology) -> str:
    return topology.physical("homelab-network-rules")


def open_probes(topology: Topology) -> str:
    """Write the command that lets probe zones through Docker's isolation of its bridges, to published ports.

    Docker drops between two of its bridges even what it has led to a published port itself. It is idempotent;
    it asks for DOCKER-USER, which every engine with iptables has since it first started.
    """
    return "; ".join(
        ("set -e", *(f"{_user('C', r)} 2>/dev/null || {_user('I', r)}" for r in _through(topology)))
    )


def close_probes(topology: Topology) -> str:
    """Write the command that takes these rules away; it is content where there are none."""
    return "; ".join(f"{_user('D', rule)} 2>/dev/null || true" for rule in _through(topology))


def _through(topology: Topology) -> list[str]:
    return [
        rule
        for bridge in sorted(map(topology.bridge, topology.probes))
        for rule in (
            f"-i {bridge} -m conntrack --ctstate DNAT -j ACCEPT",
            f"-o {bridge} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        )
    ]


def _user(action: str, rule: str) -> str:
    return f"iptables --wait -{action} DOCKER-USER {rule}"


def table(topology: Topology) -> str:
    """Return the table's family and name."""
    return f"inet {topology.physical('homelab-network')}"
