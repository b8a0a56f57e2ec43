"""The rules of a site's router, rendered from the flows that cross it: for nftables, and as VyOS commands.

Input and forward drop by default, IPv6 as well. Answers pass, and exactly the declared flows, each from its
own interface and addresses to those of its destination, so no sender can use another network's addresses.
The router itself answers at its address on the sender's interface alone: else a flow to machines among which
another of its addresses is would lead to its own programs.

Note: `accept` decides for this table alone; a drop of another table or of the router's own rules is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

from rendered.host_rules import SYSTEMD
from topology.model import Crossing, Flow, RouterHost, RouterSystem, Side, Topology, table

INSTALL = "nft --file -"
"""Reads the rules from standard input and replaces the old ones in one step."""
KEEP = "sh -s"
"""Reads the script of `keep` from standard input."""
ANSWERS: Final = "ct state established,related accept"
_FORWARDING: Final = "net.ipv4.ip_forward"
NEARBY: Final = "NEARBY"
"""VyOS's group of the prefixes that are not the internet."""


@dataclass(frozen=True, kw_only=True)
class Entering:
    """A flow to the router itself: from where, and to which of its addresses (None: all)."""

    flow: Flow
    source: Side
    address: IPv4Address | None


def entering(topology: Topology) -> Iterator[Entering]:
    """Yield the flows to the router's own ports."""
    routing = topology.routing
    for flow in topology.flows_to(topology.router.name) if topology.router else ():
        if routing and (source := routing.side(flow.source)):
            yield Entering(flow=flow, source=source, address=_own(topology, source.interface))


def _own(topology: Topology, interface: str) -> IPv4Address | None:
    """Return the router's address on an interface; None: its provider chooses it."""
    router = _router(topology)
    legs = (name for name, leg in router.legs.items() if leg.interface == interface)
    zone = next((topology.zones[name] for name in legs), None)
    if zone:
        return router.address(zone)
    return router.wan.address if router.wan else None


def forwards(topology: Topology) -> Iterator[Crossing]:
    """Yield one flow for each port that the router forwards from its own address."""
    seen = set()
    for each in topology.crossings:
        if each.forward and each.flow.port not in seen:
            seen.add(each.flow.port)
            yield each


def masqueraded(topology: Topology) -> list[tuple[str, IPv4Network]]:
    """Return the networks whose connections to the WAN carry the router's address, after its interface."""
    router = topology.router
    if not (router and router.wan and router.wan.masquerade):
        return []
    return sorted((router.wan.interface, topology.zones[name].prefix) for name in router.legs)


def nearby(topology: Topology) -> list[IPv4Network]:
    """Return the prefixes that are not the internet, none of which holds another."""
    return sorted(collapse_addresses(topology.nearby))


def rules(topology: Topology) -> str:
    """Return the rules in the form of the router's system; the site must have a router."""
    return _FORMS[_router(topology).system](topology)


# ----------------------------------------------------------------------------------------------- nftables


def remove(topology: Topology) -> str:
    """Return the command that removes the rules of a Linux router; it succeeds where there are none.

    A guest forwards nothing afterwards.
    """
    closed = f"sysctl --write {_FORWARDING}=0 && " if _router(topology).guest else ""
    return f"{closed}nft 'add table {table_name(topology)}; delete table {table_name(topology)}'"


def keep(topology: Topology) -> str:
    """Return the script by which systemd loads the rules at each boot, before the network is up."""
    (file, rules), (unit, text) = kept(topology).items()
    start = f"systemctl restart {unit_name(topology)}\n" if _router(topology).guest else ""
    return f"""\
set -e
[ -d {SYSTEMD} ] || exit 0
mkdir -p {file.rpartition("/")[0]}
cat >{file} <<'KEPT'
{rules}KEPT
cat >{unit} <<'KEPT'
{text}KEPT
systemctl daemon-reload
systemctl enable {unit_name(topology)}
{start}"""


def kept(topology: Topology) -> Mapping[str, str]:
    """Return the file with the rules, and the unit that loads it, by path.

    On a guest the unit switches forwarding on as well, so that nothing is forwarded without the rules.
    """
    file, unit = _kept(topology)
    forwards = f"ExecStartPost=/usr/sbin/sysctl --write {_FORWARDING}=1\n"
    text = f"""\
[Unit]
Description=Rules of {table_name(topology)}
DefaultDependencies=no
After=nftables.service
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft --file {file}
{forwards if _router(topology).guest else ""}
[Install]
WantedBy=sysinit.target
"""
    return {file: nftables(topology), unit: text}


def forget(topology: Topology) -> str:
    """Return the command that removes unit and file; it succeeds where there are none."""
    file, unit = _kept(topology)
    gone = f"systemctl disable {unit_name(topology)}; rm -f {unit} {file}; systemctl daemon-reload"
    return f"[ ! -e {unit} ] || {{ {gone}; }}"


def unit_name(topology: Topology) -> str:
    """Return the name of the unit that loads the rules at boot."""
    return f"{topology.physical('homelab-network-router')}.service"


def _kept(topology: Topology) -> tuple[str, str]:
    name = topology.physical("homelab-network-router")
    return f"/etc/homelab-network/{name}.nft", f"/etc/systemd/system/{unit_name(topology)}"


def table_name(topology: Topology) -> str:
    """Return the table's family and name."""
    return f"inet {topology.physical('homelab-network-router')}"


def nftables(topology: Topology) -> str:
    """Return the nftables file of a Linux router, which replaces the project's table in one step."""
    name, router = table_name(topology), _router(topology)
    wan = _leased(router)
    lease = [f'iifname "{wan}" udp sport 67 udp dport 68 accept'] if wan else []
    own = [*lease, *map(_entering, entering(topology))]
    outward = [f'oifname "{to}" ip saddr {prefix} masquerade' for to, prefix in masqueraded(topology)]
    return f"""\
add table {name}
delete table {name}
table {name} {{
  set nearby {{
    type ipv4_addr
    flags interval
    elements = {{
{_lines(f"  {prefix}," for prefix in nearby(topology))}    }}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    {ANSWERS}
    iifname "lo" accept
{_lines(own)}  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {ANSWERS}
{_lines(dict.fromkeys(map(_crossing, topology.crossings)))}  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{_lines(_forward(router, each) for each in forwards(topology))}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{_lines(outward)}  }}
}}
"""


def _lines(found: Iterable[str]) -> str:
    return "".join(f"    {line}\n" for line in found)


def _entering(each: Entering) -> str:
    own = f" ip daddr {each.address}" if each.address else ""
    return f'iifname "{each.source.interface}" {_among("saddr", each.source)}{own} {_port(each.flow)} accept'


def _crossing(each: Crossing) -> str:
    ways = f'iifname "{each.source.interface}" oifname "{each.destination.interface}"'
    ends = f"{_among('saddr', each.source)} {_among('daddr', each.destination)}"
    asked = " ct status dnat" if each.forwarded_alone else ""
    return f"{ways} {ends} {_port(each.flow)}{asked} accept"


def _forward(router: RouterHost, each: Crossing) -> str:
    asked = f"ip daddr {router.wan.address}" if router.wan and router.wan.address else "fib daddr type local"
    to = f"{_address(each.destination)}:{each.flow.port.number}"
    return f'iifname "{each.source.interface}" {asked} {_port(each.flow)} dnat ip to {to}'


def _among(end: str, side: Side) -> str:
    return f"ip {end} {_address(side) if side.prefix else '!= @nearby'}"


def _port(flow: Flow) -> str:
    return f"{flow.port.protocol} dport {flow.port.number}"


# --------------------------------------------------------------------------------------------------- VyOS

_Words = tuple[str, ...]
"""What follows `rule <number>` in the commands of one rule."""
_ACCEPT: Final = "action accept"
_ANSWERS: Final = (_ACCEPT, "state established", "state related")
_LOOPBACK: Final = (_ACCEPT, "inbound-interface name lo")


def vyos(topology: Topology) -> str:
    """Return the `set` commands of a VyOS router, in the words of VyOS 1.4 and newer."""
    router = _router(topology)
    lines = [f"firewall group network-group {NEARBY} network {prefix}" for prefix in nearby(topology)]
    for chain in ("input", "forward"):
        lines += [f"firewall ipv{number} {chain} filter default-action drop" for number in (4, 6)]
    own = [_ANSWERS, _LOOPBACK, *_vyos_lease(router), *map(_vyos_entering, entering(topology))]
    lines += _numbered("firewall ipv4 input filter", own)
    lines += _numbered(
        "firewall ipv4 forward filter", [_ANSWERS, *dict.fromkeys(map(_vyos_crossing, topology.crossings))]
    )
    lines += _numbered("nat destination", [_vyos_forward(router, each) for each in forwards(topology)])
    lines += _numbered("nat source", [_vyos_masquerade(*each) for each in masqueraded(topology)])
    return "".join(f"set {line}\n" for line in lines)


def _numbered(chain: str, found: Iterable[_Words]) -> Iterator[str]:
    for number, words in enumerate(found, start=1):
        yield from (f"{chain} rule {number * 10} {each}" for each in words)


def _vyos_lease(router: RouterHost) -> Iterator[_Words]:
    if wan := _leased(router):
        ports = ("protocol udp", "source port 67", "destination port 68")
        yield (_ACCEPT, f"inbound-interface name {wan}", *ports)


def _vyos_entering(each: Entering) -> _Words:
    source = (f"inbound-interface name {each.source.interface}", _vyos_addresses("source", each.source))
    own = (f"destination address {each.address}",) if each.address else ()
    return (_ACCEPT, *source, *own, *_vyos_port(each.flow))


def _vyos_crossing(each: Crossing) -> _Words:
    return (
        _ACCEPT,
        f"inbound-interface name {each.source.interface}",
        f"outbound-interface name {each.destination.interface}",
        _vyos_addresses("source", each.source),
        _vyos_addresses("destination", each.destination),
        *_vyos_port(each.flow),
        *(("connection-status nat destination",) if each.forwarded_alone else ()),
    )


def _vyos_forward(router: RouterHost, each: Crossing) -> _Words:
    asked = (f"destination address {router.wan.address}",) if router.wan and router.wan.address else ()
    return (
        f"inbound-interface name {each.source.interface}",
        *asked,
        *_vyos_port(each.flow),
        f"translation address {_address(each.destination)}",
        f"translation port {each.flow.port.number}",
    )


def _vyos_masquerade(to: str, prefix: IPv4Network) -> _Words:
    return (f"outbound-interface name {to}", f"source address {prefix}", "translation address masquerade")


def _vyos_addresses(end: str, side: Side) -> str:
    return f"{end} address {_address(side)}" if side.prefix else f"{end} group network-group !{NEARBY}"


def _vyos_port(flow: Flow) -> _Words:
    return (f"protocol {flow.port.protocol}", f"destination port {flow.port.number}")


def _leased(router: RouterHost) -> str | None:
    """Return the interface whose address a server gives the router; None where there is none."""
    return router.wan.interface if router.wan and router.wan.address is None else None


def _address(side: Side) -> str:
    return str(side.prefix).removesuffix("/32")


def _router(topology: Topology) -> RouterHost:
    if topology.router is None:
        raise LookupError("the site has no router")
    return topology.router


_FORMS: Final[Mapping[RouterSystem, Callable[[Topology], str]]] = table(
    "FORMS", RouterSystem, {RouterSystem.LINUX: nftables, RouterSystem.VYOS: vyos}
)
FILES: Final[Mapping[RouterSystem, str]] = table(
    "FILES", RouterSystem, {RouterSystem.LINUX: "router.nft", RouterSystem.VYOS: "router.vyos"}
)
"""Name of the file with the rules."""
