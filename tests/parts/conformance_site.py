"""The conformance suite's site out of network namespaces, behind the rules that the program makes for it.

This machine is Docker-SRV: it has the bridges, the host's own rules, and a table that publishes the ingress's
ports and separates bridges, as the engine does. Containers, guests, the node and the NAS are namespaces, and
so is the switch between VLANs. Each guest's firewall is what the lab makes of the program's resources.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.process import run
from lab.proxmox.firewall import Held, node_ruleset, ruleset
from lab.proxmox.guests import LabGuest, read_nic
from reachability.facts import Datacenter, Facts, GuestFirewall, HostFirewallFact, ProxmoxRule
from rendered import host_rules, leg_rules
from tests.conformance import MANAGEMENT, NAS
from topology.model import Guest, Protocol, Topology, Zone

BY_IPV6 = 445
"""The port on which each service listens by IPv6."""
LISTEN = f"""
import json, socket, sys, threading
def answer(udp):
    while True:
        udp.sendto(*udp.recvfrom(65535))
for protocol, address, port in json.loads(sys.argv[1]):
    if protocol == "tcp":
        socket.create_server((address, port), backlog=512).detach()
        continue
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, port))
    threading.Thread(target=answer, args=(udp,), daemon=True).start()
socket.create_server(("::", {BY_IPV6}), family=socket.AF_INET6).detach()
print("ready", flush=True)
sys.stdin.read()
"""
SWITCH = "switch"
"""Namespace of the switch between VLANs, in which each is a bridge."""
_NEAR, _FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"


def ip(*words: str, at: str = "") -> None:
    """Run `ip`, in a namespace if one is named."""
    run(["ip", *(["-n", at] if at else []), *words], f"ip {' '.join(words)}")


def nft(text: str, at: str = "") -> None:
    """Load rules, in a namespace if one is named."""
    run([*(["ip", "netns", "exec", at] if at else []), "nft", "--file", "-"], f"rules of {at}", stdin=text)


@contextmanager
def made(topology: Topology, facts: Facts) -> Iterator[list[dict[str, Any]]]:
    """Make the site with its rules in force; yields its containers as `docker inspect` prints them.

    `facts` are those of the resources, for the guests' firewalls. The caller's namespaces end with it, and
    what is in them.
    """
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(["sh", "-c", host_rules.SWITCH_ON], "switch")
    nft(engines_own(topology))
    ip("netns", "add", SWITCH)
    for zone in topology.zones.values():
        if zone.is_docker:
            _bridge(topology, zone)
        elif zone.has_guests:
            _vlan(topology, zone)
    with ExitStack() as undo:
        containers = [undo.enter_context(_container(topology, one.name)) for one in topology.containers]
        for guest in topology.guests:
            undo.enter_context(_guest(topology, guest))
        undo.enter_context(_nas(topology))
        undo.enter_context(_node(topology))
        install(topology, facts)
        yield containers


def install(topology: Topology, facts: Facts) -> None:
    """Put the host's, the guests' and the node's rules of a site in force."""
    run(host_rules.INSTALL.split(), "host rules", stdin=host_rules.rules(topology))
    run(["sh", "-c", leg_rules.install(topology)], "rules of legs", stdin=leg_rules.rules(topology))
    assert facts.datacenter
    shared = _shared(facts.datacenter)
    firewalls = {guest.name: guest.firewall for guest in facts.guests}
    for guest in topology.guests:
        nft(ruleset(_lab_guest(topology, guest), shared, _own(firewalls[guest.name])), f"fw-{guest.vmid}")
    node = next(host.firewall for host in facts.hosts if host.firewall)
    local = topology.zones[MANAGEMENT].prefix
    nft(node_ruleset(local, shared, _of_node(node)), topology.proxmox.node)


def engines_own(topology: Topology) -> str:
    """Return what an engine does itself: it publishes the ingress's ports, and separates bridges.

    The table's name is that of an engine with the nftables backend, which needs no rule for probe zones.
    """
    bridges = [topology.bridge(zone) for zone in topology.zones.values() if zone.is_docker]
    ports = ", ".join(str(port.number) for port in topology.published)
    published = f"fib daddr type local tcp dport {{ {ports} }} dnat to {topology.edge_address}"
    apart = "\n".join(f'    iifname "{each}" oifname "br-*" oifname != "{each}" drop' for each in bridges)
    return f"""\
table ip docker-bridges {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {published}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    {published}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ct status dnat accept
{apart}
  }}
}}
"""


def _bridge(topology: Topology, zone: Zone) -> None:
    bridge = topology.bridge(zone)
    # As the engine does it: a bridge without an address of its own takes another with each newcomer.
    ip("link", "add", bridge, "address", _mac_of_bridge(zone), "type", "bridge")
    if not zone.internal:
        ip("address", "add", f"{zone.gateway}/{zone.prefix.prefixlen}", "dev", bridge)
    ip("link", "set", bridge, "up")


def _mac_of_bridge(zone: Zone) -> str:
    return "02:00:" + zone.gateway.packed.hex(":")


def _vlan(topology: Topology, zone: Zone) -> None:
    """Make a VLAN as a bridge of the switch, and this machine's interface on it."""
    bridge, parent = f"vlan{zone.vlan}", topology.parent(zone)
    ip("link", "add", bridge, "type", "bridge", "mcast_snooping", "0", at=SWITCH)
    ip("link", "set", bridge, "up", at=SWITCH)
    ip("link", "add", parent, "type", "veth", "peer", "name", f"up{zone.vlan}", "netns", SWITCH)
    ip("link", "set", f"up{zone.vlan}", "master", bridge, "up", at=SWITCH)
    ip("link", "set", parent, "up")


@contextmanager
def _listening(name: str, ends: list[tuple[Protocol, IPv4Address, int]]) -> Iterator[int]:
    """Run a service's listeners in its namespace; yields the process's id."""
    given = json.dumps([(str(protocol), str(at), number) for protocol, at, number in ends])
    words = ["ip", "netns", "exec", name, sys.executable, "-c", LISTEN, given]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", name
        yield process.pid
        process.kill()


@contextmanager
def _container(topology: Topology, name: str) -> Iterator[dict[str, Any]]:
    service = topology.services[name]
    zones = [topology.zones[each] for each in service.zones]
    found = {zone: topology.address_on(name, zone) for zone in zones}
    ip("netns", "add", name)
    ip("link", "set", "lo", "up", at=name)
    for number, (zone, address) in enumerate(found.items()):
        port = f"port{int(address):x}"
        ip("link", "add", port, "type", "veth", "peer", "name", f"eth{number}", "netns", name)
        ip("link", "set", port, "master", topology.bridge(zone), "up")
        _up(name, f"eth{number}", address, zone)
    # An internal network has no default route; here its members try one, too.
    way = next((zone for zone in zones if not zone.internal), zones[0])
    ip("route", "add", "default", "via", str(way.gateway), at=name)
    legs = {}
    if name == topology.ingress_name:
        for zone in topology.legs.zones:
            leg, parent = f"leg{zone.vlan}", topology.parent(zone)
            kind = ("type", "macvlan", "mode", "private")
            ip("link", "add", "link", parent, "name", leg, "netns", name, *kind)
            assert zone.ingress
            _up(name, leg, zone.ingress, zone)
            legs[zone] = zone.ingress
    ends = [(port.protocol, at, port.number) for at in found.values() for port in service.ports]
    if name == topology.ingress_name:
        ears = {**topology.ears, topology.edge_address: tuple(port.number for port in service.ports)}
        ends = [(Protocol.TCP, at, number) for at, numbers in ears.items() for number in numbers]
    with _listening(name, ends) as pid:
        networks = {topology.physical(z.network): {"IPAddress": str(a)} for z, a in (found | legs).items()}
        published = topology.published if name == topology.ingress_name else ()
        yield {
            "Name": f"/{topology.physical(name)}",
            "State": {"Running": True, "Pid": pid},
            "Config": {},
            "NetworkSettings": {
                "Networks": networks,
                "Ports": {str(p): [{"HostIp": "::", "HostPort": str(p.number)}] for p in published},
            },
        }


def _up(at: str, card: str, address: IPv4Address, zone: Zone) -> None:
    ip("address", "add", f"{address}/{zone.prefix.prefixlen}", "dev", card, at=at)
    ip("link", "set", card, "up", at=at)


@contextmanager
def _guest(topology: Topology, guest: Guest) -> Iterator[None]:
    """Make a guest behind its filter: switch - bridge of `fw-<id>`, where the rules are - guest."""
    zone, name, wall = topology.zones[guest.zones[0]], f"vm-{guest.vmid}", f"fw-{guest.vmid}"
    for each in (name, wall):
        ip("netns", "add", each)
        ip("link", "set", "lo", "up", at=each)
    for switch in host_rules.SWITCHES:
        run(["ip", "netns", "exec", wall, "sh", "-c", f"echo 1 >{switch}"], f"switch of {wall}")
    ip("link", "add", "fwbr0", "type", "bridge", "mcast_snooping", "0", at=wall)
    ip("link", "add", f"tap{guest.vmid}", "type", "veth", "peer", "name", "net0", "netns", wall, at=SWITCH)
    far = ("peer", "name", "eth0", "address", _mac(guest), "netns", name)
    ip("link", "add", "card0", "type", "veth", *far, at=wall)
    for card in ("net0", "card0"):
        ip("link", "set", card, "master", "fwbr0", "up", at=wall)
    ip("link", "set", "fwbr0", "up", at=wall)
    ip("link", "set", f"tap{guest.vmid}", "master", f"vlan{zone.vlan}", "up", at=SWITCH)
    _up(name, "eth0", guest.address, zone)
    ip("route", "add", "default", "via", str(zone.gateway), at=name)
    with _listening(name, [(port.protocol, guest.address, port.number) for port in guest.ports]):
        yield


@contextmanager
def _nas(topology: Topology) -> Iterator[None]:
    """Make the machine on a guests' VLAN that is there already."""
    nas = topology.zones[NAS]
    zone = topology.around(nas)
    assert zone
    ip("netns", "add", NAS)
    ip("link", "add", NAS, "type", "veth", "peer", "name", "eth0", "netns", NAS, at=SWITCH)
    ip("link", "set", NAS, "master", f"vlan{zone.vlan}", "up", at=SWITCH)
    _up(NAS, "eth0", nas.prefix[0], zone)
    with _listening(NAS, [(port.protocol, nas.prefix[0], port.number) for port in nas.ports]):
        yield


@contextmanager
def _node(topology: Topology) -> Iterator[None]:
    """Make the node on a link of its own, as the lab does: this machine has no address there."""
    name, address = topology.proxmox.node, topology.proxmox.address
    ip("netns", "add", name)
    ip("link", "set", "lo", "up", at=name)
    far = ("peer", "name", "eth0", "address", _FAR, "netns", name)
    ip("link", "add", "node", "address", _NEAR, "type", "veth", *far)
    ip("link", "set", "node", "up")
    ip("link", "set", "eth0", "up", at=name)
    ip("address", "add", f"{address}/32", "dev", "eth0", at=name)
    ip("route", "add", f"{address}/32", "dev", "node")
    ip("neigh", "replace", str(address), "lladdr", _FAR, "dev", "node")
    gateway = "169.254.0.1"
    ip("neigh", "replace", gateway, "lladdr", _NEAR, "dev", "eth0", at=name)
    ip("route", "add", "default", "via", gateway, "dev", "eth0", "onlink", at=name)
    assert address
    with _listening(name, [(port.protocol, address, port.number) for port in topology.proxmox.ports]):
        yield


def _mac(guest: Guest) -> str:
    return f"02:00:00:00:01:{guest.vmid % 256:02x}"


def _lab_guest(topology: Topology, guest: Guest) -> LabGuest:
    zone = topology.zones[guest.zones[0]]
    net = f"virtio={_mac(guest)},bridge={topology.proxmox.bridge},firewall=1,tag={zone.vlan}"
    nic = read_nic(0, net, f"ip={guest.address}/{zone.prefix.prefixlen}")
    return LabGuest(vmid=guest.vmid, name=guest.name, nics=(nic,))


def _rule(rule: ProxmoxRule) -> Mapping[str, object]:
    fields = ("macro", "proto", "source", "dest", "sport", "dport", "iface")
    given = {key: value for key in fields if (value := getattr(rule, key)) is not None}
    return {**given, "type": rule.type, "action": rule.group or rule.action, "enable": int(rule.enabled)}


def _level(scope: GuestFirewall | Datacenter, **options: object) -> Held:
    return {
        "options": {
            "enable": int(scope.enabled),
            "policy_in": scope.input_policy,
            "policy_out": scope.output_policy,
            **options,
        },
        "rules": [*map(_rule, scope.rules)],
        "aliases": {name.lower(): {"cidr": cidr} for name, cidr in scope.aliases.items()},
        "ipset": {
            name: [{"cidr": entry.cidr, "nomatch": entry.nomatch} for entry in entries]
            for name, entries in scope.ipsets.items()
        },
        "groups": {},
    }


def _own(firewall: GuestFirewall) -> Held:
    return _level(firewall, dhcp=int(firewall.dhcp), ipfilter=int(firewall.ipfilter))


def _shared(datacenter: Datacenter) -> Held:
    groups = {name: [*map(_rule, rules)] for name, rules in datacenter.groups.items()}
    return {**_level(datacenter), "groups": groups}


def _of_node(firewall: HostFirewallFact) -> Held:
    return {"options": {"enable": int(firewall.enabled)}, "rules": [*map(_rule, firewall.rules)]}
