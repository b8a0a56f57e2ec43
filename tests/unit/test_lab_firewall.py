"""The lab's translation of the API's firewall into nftables rules, rule by rule."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest

from lab.proxmox.firewall import node_ruleset, ruleset
from lab.proxmox.guests import LabGuest, read_nic

MAC = "bc:24:11:00:00:65"


def guest(net: str = "bridge=vmbr1,firewall=1,tag=10") -> LabGuest:
    """Return a guest with one card."""
    return LabGuest(vmid=101, name="site-1", nics=(read_nic(0, f"virtio={MAC},{net}"),))


def level(**options: Any) -> dict[str, Any]:
    """Return one level of the firewall, empty and enabled unless told otherwise."""
    return {"options": {"enable": 1, **options}, "rules": [], "aliases": {}, "ipset": {}, "groups": {}}


def chain(text: str, name: str) -> list[str]:
    """Return the rules of a chain without its hook."""
    (body,) = [part.partition("}\n")[0] for part in text.split(f"chain {name} {{\n")[1:]]
    lines = [line.strip() for line in text.split(f"chain {name} {{\n")[1].splitlines()]
    assert body
    return [line for line in lines[: lines.index("}")] if not line.startswith("type ")]


@pytest.mark.parametrize(
    ("datacenter", "own", "net"),
    [
        (0, 1, "bridge=vmbr1,firewall=1,tag=10"),
        (1, 0, "bridge=vmbr1,firewall=1,tag=10"),
        (1, 1, "bridge=vmbr1,tag=10"),
    ],
)
def test_a_switch_that_is_off_leaves_the_card_open(datacenter: int, own: int, net: str) -> None:
    """With the datacenter's, the guest's or the card's switch off, nothing is filtered."""
    assert ruleset(guest(net), level(enable=datacenter), level(enable=own)) == "flush ruleset\n"


def test_defaults_are_proxmoxs_own() -> None:
    """By default input is dropped, output accepted, DHCP passes, and another MAC address does not."""
    text = ruleset(guest(), level(), level())
    assert chain(text, "in0") == ["udp sport 67 udp dport 68 accept", "drop"]
    assert chain(text, "out0") == ["udp sport 68 udp dport 67 accept", "accept"]
    assert f'iifname "card0" ether saddr != {MAC} drop' in text


def test_the_ip_filter_pins_packets_and_arp() -> None:
    """With the IP filter a guest sends only from its set's addresses; with an empty set from none."""
    own = level(ipfilter=1, dhcp=0, policy_out="DROP")
    empty = ruleset(guest(), level(), own)
    own["ipset"]["ipfilter-net0"] = [{"cidr": "10.10.10.11"}]
    text = ruleset(guest(), level(), own)
    assert chain(text, "out0") == [
        "meta nfproto ipv4 ip saddr != { 10.10.10.11 } drop",
        "meta nfproto ipv6 drop",
        "drop",
    ]
    assert 'iifname "card0" ether type arp arp saddr ip != { 10.10.10.11 } drop' in text
    assert chain(empty, "out0")[0] == "meta nfproto ipv4 drop"
    assert 'iifname "card0" ether type arp drop' in empty


def test_a_containers_own_address_is_in_its_ip_filter() -> None:
    """Proxmox adds a container's address to its set, and to the empty set that the option implies."""
    net = f"name=eth0,bridge=vmbr1,firewall=1,hwaddr={MAC},ip=10.10.10.11/24,tag=10"
    container = LabGuest(vmid=203, name="dns", lxc=True, nics=(read_nic(0, net, net),))
    own = level(ipfilter=1, dhcp=0, policy_out="DROP")
    pinned = "meta nfproto ipv4 ip saddr != {{ {} }} drop"
    assert chain(ruleset(container, level(), own), "out0")[0] == pinned.format("10.10.10.11")
    own["ipset"]["ipfilter-net0"] = [{"cidr": "10.10.10.11"}]
    assert chain(ruleset(container, level(), own), "out0")[0] == pinned.format("10.10.10.11")
    own["ipset"]["ipfilter-net0"] = [{"cidr": "10.10.10.12"}]
    assert chain(ruleset(container, level(), own), "out0")[0] == pinned.format("10.10.10.12, 10.10.10.11")
    own["options"]["ipfilter"], own["ipset"] = 0, {}
    assert chain(ruleset(container, level(), own), "out0") == ["drop"]


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ({"proto": "tcp", "dport": "80"}, ["meta l4proto tcp th dport { 80 } accept"]),
        (
            {"proto": "tcp", "dport": "80,8000:8010", "source": "10.0.0.1,10.0.1.0/24"},
            ["ip saddr { 10.0.0.1, 10.0.1.0/24 } meta l4proto tcp th dport { 80, 8000-8010 } accept"],
        ),
        ({"action": "REJECT", "dest": "10.0.0.1-10.0.0.9"}, ["ip daddr { 10.0.0.1-10.0.0.9 } drop"]),
        ({"proto": "udp", "sport": "53"}, ["meta l4proto udp th sport { 53 } accept"]),
        ({"proto": "icmp", "icmp-type": "echo-request"}, ["icmp type echo-request accept"]),
        (
            {"macro": "Web"},
            ["meta l4proto tcp th dport { 80 } accept", "meta l4proto tcp th dport { 443 } accept"],
        ),
        ({"macro": "Ping"}, ["icmp type echo-request accept"]),
        ({"macro": "GRE"}, ["meta l4proto 47 accept"]),
        ({"proto": "0", "dport": "0"}, ["accept"]),
        ({"proto": "tcp", "dport": "0"}, ["meta l4proto tcp accept"]),
        (
            {"macro": "DNS"},
            ["meta l4proto udp th dport { 53 } accept", "meta l4proto tcp th dport { 53 } accept"],
        ),
        ({"source": "dc/Traefik"}, ["ip saddr { 10.9.9.9 } accept"]),
        (
            {"source": "+some"},
            ["ip saddr { 10.1.0.0/29, 10.1.0.8/31, 10.1.0.11 } accept", "ip6 saddr { fd00::/8 } accept"],
        ),
        ({"source": "10.0.0.1", "dest": "fd00::1"}, []),
        ({"source": "dc/nobody"}, []),
        ({"source": "+nothing"}, []),
        ({"source": "guest/traefik"}, []),
        ({"macro": "Nonsense"}, []),
        ({"dport": "80"}, []),
        ({"enable": 0}, []),
        ({"type": "out"}, []),
        ({"iface": "net1"}, []),
        ({"iface": "net0"}, ["accept"]),
    ],
)  # fmt: skip
def test_a_rule_on_the_wire(rule: dict[str, Any], lines: list[str]) -> None:
    """Each kind of match is translated as Proxmox means it; a rule that can't be resolved is left out."""
    datacenter, own = level(), level(dhcp=0)
    datacenter["aliases"]["traefik"] = {"cidr": "10.9.9.9"}
    datacenter["ipset"]["some"] = [
        {"cidr": "10.1.0.0/28"}, {"cidr": "10.1.0.8/29", "nomatch": 1}, {"cidr": "10.1.0.8/30"},
        {"cidr": "10.1.0.10", "nomatch": 1}, {"cidr": "fd00::/8"}
    ]  # fmt: skip
    own["rules"] = [{"type": "in", "action": "ACCEPT", "enable": 1, **rule}]
    assert chain(ruleset(guest(), datacenter, own), "in0") == [*lines, "drop"]


def test_rules_keep_their_order_and_groups_their_place() -> None:
    """The first match decides, so a group's rules are at the place where the guest includes the group."""
    datacenter, own = level(), level(dhcp=0, policy_in="ACCEPT")
    ports = [{"type": "in", "action": "ACCEPT", "enable": 1, "proto": "tcp", "dport": p} for p in "123"]
    datacenter["groups"]["web"] = [ports[1], {**ports[1], "type": "out"}, {**ports[1], "enable": 0}]
    own["rules"] = [
        ports[0],
        {"type": "group", "action": "web", "enable": 1},
        {"type": "group", "action": "nobody", "enable": 1},
        {**ports[2], "action": "DROP"},
    ]
    datacenter["ipset"]["blacklist"] = [{"cidr": "192.0.2.1"}]
    assert chain(ruleset(guest(), datacenter, own), "in0") == [
        "ip saddr { 192.0.2.1 } drop",
        "meta l4proto tcp th dport { 1 } accept",
        "meta l4proto tcp th dport { 2 } accept",
        "meta l4proto tcp th dport { 3 } drop",
        "accept",
    ]


def test_the_blacklist_is_the_datacenters_and_stands_before_dhcp() -> None:
    """A guest's own `blacklist` has no effect; the datacenter's drops even with the guest's switch off."""
    datacenter, own = level(), level()
    own["ipset"]["blacklist"] = [{"cidr": "192.0.2.9"}]
    assert "192.0.2.9" not in ruleset(guest(), datacenter, own)
    datacenter["ipset"]["blacklist"] = [{"cidr": "192.0.2.1"}]
    dropped = "ip saddr { 192.0.2.1 } drop"
    assert chain(ruleset(guest(), datacenter, own), "in0")[:2] == [
        dropped, "udp sport 67 udp dport 68 accept"
    ]  # fmt: skip
    text = ruleset(guest(), datacenter, level(enable=0))
    assert chain(text, "in0") == [dropped, "accept"]
    assert ("chain out0" in text, "ether saddr" in text) == (False, False)


def test_dhcp_comes_before_the_ip_filter() -> None:
    """DHCP passes before the IP filter, because a guest without an address must ask for one."""
    text = ruleset(guest(), level(), level(ipfilter=1))
    assert chain(text, "out0")[:2] == ["udp sport 68 udp dport 67 accept", "meta nfproto ipv4 drop"]


def test_a_set_is_looked_up_from_its_own_level() -> None:
    """A datacenter's set uses the datacenter's aliases for every guest; an alias precedes its address."""
    datacenter, own = level(), level(dhcp=0)
    datacenter["aliases"]["front"], own["aliases"]["front"] = (
        {"cidr": "10.1.0.1"},
        {"cidr": "10.9.0.1"},
    )
    datacenter["ipset"]["peers"] = [
        {"cidr": "front", "nomatch": 1}, {"cidr": "10.1.0.1"}, {"cidr": "10.1.0.2"}
    ]  # fmt: skip
    own["rules"] = [{"type": "in", "action": "ACCEPT", "enable": 1, "source": "+peers"}]
    assert chain(ruleset(guest(), datacenter, own), "in0") == ["ip saddr { 10.1.0.2 } accept", "drop"]


def test_management_in_a_rule_is_the_local_network_too() -> None:
    """A guest's rule with `+management` also admits the datacenter's alias `local_network`."""
    datacenter, own = level(), level(dhcp=0)
    datacenter["aliases"]["local_network"] = {"cidr": "10.10.1.0/24"}
    datacenter["ipset"]["management"] = [{"cidr": "192.0.2.7"}]
    own["rules"] = [{"type": "in", "action": "ACCEPT", "enable": 1, "source": "+management"}]
    accepted = "ip saddr { 10.10.1.0/24, 192.0.2.7 } accept"
    assert chain(ruleset(guest(), datacenter, own), "in0") == [accepted, "drop"]


LOCAL = IPv4Network("10.10.1.0/24")
STANDING = "tcp dport { 8006, 22, 3128, 5900-5999, 60000-60050 } accept"


@pytest.mark.parametrize(("datacenter", "own"), [({"enable": 0}, {}), ({}, {"enable": 0})])
def test_a_switch_that_is_off_leaves_the_node_open(datacenter: dict[str, Any], own: dict[str, Any]) -> None:
    """With the datacenter's or the node's switch off nothing is filtered; the node's is on by default."""
    assert node_ruleset(LOCAL, level(**datacenter), level(**own)) == "flush ruleset\n"
    untold = {**level(), "options": {}}
    assert chain(node_ruleset(LOCAL, level(), untold), "input")[-1] == "drop"


def test_a_nodes_input_is_proxmoxs() -> None:
    """A node's input chain: blacklist, node's rules, datacenter's rules, standing ports, policy."""
    datacenter, own = level(policy_in="DROP"), level()
    accept = {"type": "in", "action": "ACCEPT", "enable": 1, "proto": "tcp"}
    datacenter["ipset"]["blacklist"] = [{"cidr": "192.0.2.1"}]
    datacenter["rules"] = [
        {**accept, "dport": "8006", "source": "10.10.1.0/24"},
        {**accept, "dport": "1", "type": "out"},
        {**accept, "dport": "2", "enable": 0},
        {**accept, "dport": "3", "iface": "vmbr0"},
        {"type": "group", "action": "web", "enable": 0},
        {"type": "group", "action": "admin", "enable": 1},
    ]
    datacenter["groups"] = {"web": [{**accept, "dport": "4"}], "admin": [{**accept, "dport": "5"}]}
    own["rules"] = [{**accept, "action": "DROP", "dport": "22"}]
    assert chain(node_ruleset(LOCAL, datacenter, own), "input") == [
        "iifname lo accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        "ip saddr { 192.0.2.1 } drop",
        "meta l4proto tcp th dport { 22 } drop",
        "ip saddr { 10.10.1.0/24 } meta l4proto tcp th dport { 8006 } accept",
        "meta l4proto tcp th dport { 5 } accept",
        f"ip saddr {{ 10.10.1.0/24 }} {STANDING}",
        "drop",
    ]


def test_who_reaches_a_nodes_standing_ports() -> None:
    """The local network, or the alias of that name, and ipset `management` reach a node's standing ports."""
    datacenter = level()
    datacenter["aliases"]["local_network"] = {"cidr": "10.9.0.0/16"}
    datacenter["ipset"]["management"] = [{"cidr": "192.0.2.7"}]
    assert f"ip saddr {{ 10.9.0.0/16, 192.0.2.7 }} {STANDING}" in chain(
        node_ruleset(LOCAL, datacenter, level()), "input"
    )
