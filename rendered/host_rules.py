"""Docker-SRV's own firewall rules, which limit what its bridges reach on the host and in networks beyond it.

They consist of the project's nftables table, the kernel's switch that shows it frames within a bridge, two
rules in Docker's DOCKER-USER chain for each probe zone, the tables of legs (`rendered.leg_rules`), and the
systemd units that restore all of them.

Note: `accept` ends only this table's chain. The engine's own rules still evaluate the packet afterwards, and
a drop on either side is final.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from ipaddress import IPv4Address, IPv4Network

from rendered import leg_rules
from rendered.nft import elements
from topology.model import INTERNET, Flow, Role, Topology
from topology.prefixes import DOCUMENTATION, SPECIAL, nearby

INSTALL = "nft --file -"
"""Reads the rules from standard input and replaces the old ones atomically."""
SWITCHES = tuple(f"/proc/sys/net/bridge/bridge-nf-call-{name}" for name in ("iptables", "ip6tables"))
"""With 1 in both, the kernel passes frames from one port of a bridge to another to the forward chain."""
SWITCH_ON = f"""\
[ -d {SWITCHES[0].rpartition("/")[0]} ] || modprobe br_netfilter || {{
  echo "br_netfilter: the kernel has no such module, so no rule tells neighbours apart; install it" >&2
  exit 1
}}
for switch in {" ".join(SWITCHES)}; do
  grep -qx 1 $switch || echo 1 >$switch || exit 1
done
"""
"""Script that sets the switches; engines from 28 on do so only where they need it themselves."""
SWITCH_OFF = "true"
"""Leaves the switches on, since an engine or another stack may need them."""
KEEP = "sh -s"
"""Reads the script of `keep` from standard input."""
SYSTEMD = "/run/systemd/system"
"""Folder that exists where systemd runs (sd_booted(3))."""
_WITHOUT_IPTABLES = "nft list table ip docker-bridges >/dev/null 2>&1"
"""Succeeds on an engine with the nftables backend, which keeps its rules for bridges in this table."""
REMEMBERED = 4096
"""Undeclared tries that the kernel remembers, each by its ends and port; a flood costs no more memory."""
PERIOD = timedelta(days=30)
"""How long a try and a flow's last use are remembered."""
BEGIN = "0.0.0.0 . 0.0.0.0 . tcp . 0"
"""Element of the set `tried` that is there from the rules' beginning, so its expiry tells since when."""
AGE = timedelta(days=3650)
"""The expiry that `BEGIN` starts with."""
_KEY = "ip saddr . ip daddr . meta l4proto . th dport"
_REMEMBER = (
    f"ct state new meta l4proto {{ tcp, udp }} meta l4proto != @paused update @tried {{ {_KEY} counter }}"
)
_FOLDER = "/etc/homelab-network"
_UNITS = "/etc/systemd/system"
_DASH = r"\x2d"
"""A hyphen of an interface's name in that of its unit (systemd-escape(1))."""


def remove(topology: Topology) -> str:
    """Return the command that removes the rules; it succeeds where there are none."""
    return f"nft 'add table {table(topology)}; delete table {table(topology)}'"


def rules(topology: Topology) -> str:
    """Return the nftables table.

    Input: containers open no connection to the host; without this rule a container on an internal network
    reaches the host's services on the gateway address. On a closed host nothing else opens one either, but by
    declared flows (`_closed`). Forward: only published ports lead into a bridge, and only declared egress to
    public addresses, and the ingress's flows to guests by a router, lead out; Docker's own rules let a
    neighbour on the LAN reach container addresses. A probe zone may reach every port published on the host,
    by any container, but those of the ingress that only certain prefixes may use.

    In an egress zone each address has its own ports (set `leaving`), and a line for each flow to external
    machines, or by the router to a guest, which need not be public. Packets from a bridge are judged before
    those to published ports, because a port published on the host's address leads to the ingress. The
    destination's address is the one after the engine's own translation, so it is never a container's.

    Within a bridge only answers and declared flows pass, addresses included: no ping and no IPv6. ICMP errors
    are answers (`related`), ARP meets no rule, conntrack puts fragments together first. A new set replaces
    the old one in one step, and established connections remain.

    In an observed zone, what members of it ask of each other passes until the end of its day, as the kernel's
    own clock has it. It is remembered as if it were dropped.

    What the bridges' rules drop is remembered in the set `tried`, and logged a few times a minute; the uses
    of declared flows are in `used` (`verify.learned`). Both forget, and while the probe runs neither learns
    (`pause`). What a probe zone asks of the host is dropped without either: it asks closed ports all day.
    """
    name = table(topology)
    # Sorted by bridge: the engine passes zones sorted by name, a stack file in its own order.
    docker = sorted((zone for zone in topology.zones.values() if zone.is_docker), key=topology.bridge)
    each = ", ".join(f'"{topology.bridge(zone)}"' for zone in docker)
    edge = ", ".join(f'"{topology.bridge(zone)}"' for zone in docker if zone.role is Role.EDGE)
    inside = "\n".join(f'    iifname "{b}" oifname "{b}" jump within' for b in map(topology.bridge, docker))
    probing = [topology.bridge(zone) for zone in docker if zone.role is Role.PROBE]
    probes = "".join(f'    iifname "{bridge}" ct status dnat accept\n' for bridge in probing)
    asking = "".join(f'    iifname "{bridge}" drop\n' for bridge in probing)
    near = ", ".join(map(str, _nearby(topology)))
    egress = "".join(
        f"    iifname {{ {edge} }} ip saddr {topology.edge_address} ip daddr != {{ {near} }} "
        f"{port.protocol} dport {port.number} accept\n"
        for port in topology.egress
    )
    egress += "".join(
        f'    iifname "{topology.bridge(zone)}" ip saddr {topology.edge_address} '
        f"ip daddr {topology.address(topology.services[flow.destination])} "
        f"{flow.port.protocol} dport {flow.port.number} accept\n"
        for flow in topology.routed
        if flow.source == topology.ingress_name
        for zone in docker
        if zone.role is Role.EDGE
    )
    limits = "".join(
        f"    oifname {{ {edge} }} ip saddr != {{ {', '.join(map(str, prefixes))} }} "
        f"{port.protocol} dport {port.number} drop\n"
        for port, prefixes in topology.admitted.items()
    )
    published = f"    oifname {{ {edge} }} ct status dnat accept\n" if edge else ""
    own, exits = "", ""
    if topology.exits:
        own = f"  set leaving {{\n    type ipv4_addr . inet_proto . inet_service\n{_leaving(topology)}  }}\n"
        bridges = ", ".join(f'"{bridge}"' for bridge in sorted(map(topology.bridge, topology.exits)))
        exits = (
            f"    iifname {{ {bridges} }} ip saddr . meta l4proto . th dport @leaving "
            f"ip daddr != {{ {near} }} accept\n{_to_machines(topology)}"
            f"    iifname {{ {bridges} }} goto undeclared\n"
        )
    return f"""\
add table {name}
delete table {name}
table {name} {{
  set declared {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
{elements(_declared(topology))}  }}
{own}{_learned()}\
{_observing(topology)}  chain undeclared {{
    {_REMEMBER}
    limit rate 6/minute log prefix "{topology.physical("homelab-network")}: "
    counter drop
  }}
  chain within {{
    ct state established,related accept
    {_KEY} @declared meta l4proto != @paused update @used {{ {_KEY} counter }}
    {_KEY} @declared accept
{_observed(topology)}    goto undeclared
  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname {{ {each} }} ct state established,related accept
{asking}    iifname {{ {each} }} goto undeclared
{_closed(topology)}\
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
{inside}
    ct state established,related accept
{limits}{exits}{probes}{egress}    iifname {{ {each} }} goto undeclared
{published}    oifname {{ {each} }} goto undeclared
  }}
}}
"""


def _observing(topology: Topology) -> str:
    """Return the set of members of observed zones, and the chain that lets them connect."""
    members = sorted(
        topology.address_on(each.name, zone)
        for zone in topology.observed
        for each in topology.containers
        if zone.name in each.zones
    )
    if not members:
        return ""
    return f"""\
  set observed {{
    type ipv4_addr
    elements = {{ {", ".join(map(str, members))} }}
  }}
  chain observe {{
    {_REMEMBER}
    accept
  }}
"""


def _observed(topology: Topology) -> str:
    """Return the lines that send to `observe`, each for a bridge and its last second."""
    return "".join(
        f'    iifname "{topology.bridge(zone)}" ip saddr @observed ip daddr @observed '
        f"meta time < {int(end.timestamp())} goto observe\n"
        for zone in topology.observed
        if zone.observed_until
        for end in [datetime.combine(zone.observed_until + timedelta(days=1), time.min, UTC)]
    )


def _learned() -> str:
    """Return the sets that the kernel fills, which are empty when the rules begin."""
    key, days = "type ipv4_addr . ipv4_addr . inet_proto . inet_service", PERIOD.days
    return f"""\
  set tried {{
    {key}
    size {REMEMBERED}
    flags dynamic,timeout
    timeout {days}d
    elements = {{ {BEGIN} timeout {AGE.days}d }}
  }}
  set used {{
    {key}
    flags dynamic,timeout
    timeout {days}d
  }}
  set paused {{
    type inet_proto
    flags timeout
  }}
"""


def pause(topology: Topology, seconds: int) -> str:
    """Return the command that keeps the rules from learning; 0 seconds: that ends it."""
    name = table(topology)
    for_ = f"; add element {name} paused {{ tcp timeout {seconds}s, udp timeout {seconds}s }}"
    return f"flush set {name} paused{for_ * bool(seconds)}"


def _closed(topology: Topology) -> str:
    """Return the lines that close the host to everything but answers and declared flows, IPv6 included.

    Published ports are forwarded and meet no input rule; where Docker's proxy answers them, for IPv6, they
    are closed. The host keeps its neighbours, its routers and its addresses: ND and MLD (RFC 4890), and
    answers of DHCP servers, which come from other addresses than those that were asked.
    """
    if not topology.docker.closed:
        return ""
    flows = "".join(
        f"    ip saddr {topology.zones[source].prefix} {port.protocol} dport {port.number} accept\n"
        for source, port in ((flow.source, flow.port) for flow in topology.flows_to(topology.docker.name))
    )
    return f"""\
    iifname "lo" accept
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query }} accept
    udp sport . udp dport {{ 67 . 68, 547 . 546 }} accept
{flows}    counter drop
"""


def pairs(topology: Topology, flow: Flow) -> list[tuple[IPv4Address, IPv4Address]]:
    """Return the addresses of a flow's ends on each Docker network that both are on."""
    ends = [topology.services.get(name) for name in (flow.source, flow.destination)]
    shared = set.intersection(*(set(end.zones) if end else set() for end in ends))
    zones = [topology.zones[name] for name in sorted(shared)]
    return [
        (topology.address_on(flow.source, zone), topology.address_on(flow.destination, zone))
        for zone in zones
        if zone.is_docker
    ]


def _declared(topology: Topology) -> Iterator[str]:
    """Yield `source . destination . protocol . port` of each flow within a bridge."""
    for flow in topology.flows:
        for source, destination in pairs(topology, flow):
            yield f"{source} . {destination} . {flow.port.protocol} . {flow.port.number}"


def _leaving(topology: Topology) -> str:
    """Return the elements `source . protocol . port` of each flow from an egress zone to the internet."""
    return elements(
        f"{topology.address_on(flow.source, zone)} . {flow.port.protocol} . {flow.port.number}"
        for flow in topology.flows_to(INTERNET)
        if flow.source in topology.services
        for zone in topology.exits
        if zone.name in topology.services[flow.source].zones
    )


def _to_machines(topology: Topology) -> str:
    """Return a line for each flow from an egress zone to external machines, or by the router to a guest."""
    machines = {name: str(zone.prefix) for name, zone in topology.zones.items()}
    guests = {guest.name: str(guest.address) for guest in topology.guests}
    return "".join(
        f'    iifname "{topology.bridge(zone)}" ip saddr {topology.address_on(flow.source, zone)} '
        f"ip daddr {(machines | guests)[flow.destination]} "
        f"{flow.port.protocol} dport {flow.port.number} accept\n"
        for flow in topology.flows
        if flow in topology.routed or (flow.destination in machines and flow.source in topology.services)
        for zone in topology.exits
        if zone.name in topology.services[flow.source].zones
    )


def _nearby(topology: Topology) -> list[IPv4Network]:
    """Return the prefixes that egress never reaches: the special-purpose ones and the site's own.

    Documentation prefixes count as public unless a zone has one: the live probe uses them as its internet.
    """
    special = [prefix for prefix in SPECIAL if prefix not in DOCUMENTATION]
    return sorted({*nearby(special, (zone.prefix for zone in topology.zones.values()))})


def kept(topology: Topology) -> Mapping[str, str]:
    """Return the files on Docker-SRV, path to text, that restore the rules at boot without a run of Pulumi.

    The switch is set and the table loaded before Docker starts a container; Docker requires the unit, so it
    does not start without the rules. Firewalls, such as nftables.service, whose file begins by flushing all
    tables, start before network-pre.target, and the unit after it. The probe zone's rules follow each start
    of Docker, since they are in Docker's chains, and a leg's table its interface, with which its chain goes.
    """
    name = _unit(topology)
    files = {
        f"{_FOLDER}/{name}.nft": rules(topology),
        f"{_FOLDER}/{name}-switch.sh": SWITCH_ON,
        f"{_UNITS}/{name}.service": _rules_unit(topology),
    }
    if topology.probes:
        files |= {
            f"{_FOLDER}/{name}-probes.sh": f"{open_probes(topology)}\n",
            f"{_UNITS}/{name}-probes.service": _probes_unit(topology),
        }
    for parent, text in leg_rules.tables(topology).items():
        files |= {
            f"{_FOLDER}/{name}-leg-{parent}.nft": text,
            f"{_UNITS}/{name}-leg-{parent}.service": _leg_unit(topology, parent),
        }
    return files


def units(topology: Topology) -> tuple[str, ...]:
    """Return the names of the systemd units among the kept files."""
    return tuple(file.rpartition("/")[2] for file in kept(topology) if file.startswith(_UNITS))


def _rules_unit(topology: Topology) -> str:
    return f"""\
[Unit]
Description=Rules of {table(topology)} before Docker starts
After=network-pre.target
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {_FOLDER}/{_unit(topology)}-switch.sh
ExecStart=/usr/sbin/nft --file {_FOLDER}/{_unit(topology)}.nft

[Install]
WantedBy=multi-user.target
RequiredBy=docker.service
"""


def _probes_unit(topology: Topology) -> str:
    return f"""\
[Unit]
Description=What lets the probe zone of {table(topology)} see published ports
After=docker.service
PartOf=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {_FOLDER}/{_unit(topology)}-probes.sh

[Install]
WantedBy=docker.service
"""


def _leg_unit(topology: Topology, parent: str) -> str:
    device = f"sys-subsystem-net-devices-{parent.replace('-', _DASH)}.device"
    return f"""\
[Unit]
Description=Rules of the legs on {parent}
BindsTo={device}
After={device} network-pre.target
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft --file {_FOLDER}/{_unit(topology)}-leg-{parent}.nft

[Install]
WantedBy={device} docker.service
"""


def keep(topology: Topology) -> str:
    """Return the script that installs the kept files and enables their units; former legs' units go.

    On a machine without systemd it does nothing: the rules last until shutdown.
    """
    files = "".join(f"cat >{path} <<'KEPT'\n{text}KEPT\n" for path, text in kept(topology).items())
    wanted, name = " ".join(units(topology)), _unit(topology)
    return f"""\
set -e
[ -d {SYSTEMD} ] || exit 0
mkdir -p {_FOLDER}
for unit in {_UNITS}/{name}-*.service; do
  [ -e "$unit" ] || continue
  former=$(basename "$unit" .service)
  case " {wanted} " in *" $former.service "*) continue ;; esac
  systemctl disable "$former.service"
  rm -f "$unit" {_FOLDER}/"$former".nft {_FOLDER}/"$former".sh
done
{files}systemctl daemon-reload
systemctl enable {wanted}
"""


def forget(topology: Topology) -> str:
    """Return the command that removes units and files; it succeeds where there are none."""
    first, *_ = (path for path in kept(topology) if path.startswith(_UNITS))
    remove_files = f"rm -f {' '.join(kept(topology))}; systemctl daemon-reload"
    return f"[ ! -e {first} ] || {{ systemctl disable {' '.join(units(topology))}; {remove_files}; }}"


def _unit(topology: Topology) -> str:
    return topology.physical("homelab-network-rules")


def open_probes(topology: Topology) -> str:
    """Return the command that lets probe zones reach published ports despite Docker's isolation of bridges.

    With iptables the engine drops packets between two of its bridges, even to published ports, but evaluates
    DOCKER-USER first. With nftables it needs no rule and has no such chain. The command is idempotent, and
    fails where neither backend is in use.
    """
    return "; ".join(
        (
            f"set -e; {_WITHOUT_IPTABLES} && exit 0",
            *(f"{_user('C', r)} 2>/dev/null || {_user('I', r)}" for r in _through(topology)),
        )
    )


def check_probes(topology: Topology) -> str:
    """Return the command that succeeds where the rules of `open_probes` are in force."""
    there = " && ".join(f"{_user('C', rule)} 2>/dev/null" for rule in _through(topology))
    return f"{_WITHOUT_IPTABLES} || {{ {there}; }}"


def close_probes(topology: Topology) -> str:
    """Return the command that removes the rules of `open_probes`; it succeeds where there are none."""
    gone = "; ".join(f"{_user('D', rule)} 2>/dev/null || true" for rule in _through(topology))
    return f"{_WITHOUT_IPTABLES} || {{ {gone}; }}"


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
