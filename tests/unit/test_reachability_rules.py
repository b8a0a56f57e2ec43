"""Proxmox's firewall and its sets."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reachability.address_sets import (
    ALL,
    NONE,
    IPSet,
    contains,
    difference,
    intersection,
    prefix,
    public,
    union,
)
from reachability.facts import (
    UNKNOWN,
    Datacenter,
    GuestFact,
    GuestFirewall,
    Host,
    HostFirewallFact,
    IpsetEntry,
    Nic,
    ProxmoxRule,
)
from reachability.faults import RulesOwner, rule_faults
from reachability.names import Scope
from reachability.rules import EVERY_PORT, Chain, Firewall
from reachability.words import MAX_PORT, CompileError, KernelError, Range, WordError, service
from topology.model import Port, Protocol

NIC = Nic(name="net0", bridge="vmbr1", tag=10, firewall=True, address=IPv4Address("10.10.10.11"))
SOURCE, OTHER = IPv4Address("10.10.10.2"), IPv4Address("10.10.10.9")
WEB = Port(number=80)
DATACENTER = Datacenter(
    origin="datacenter",
    enabled=True,
    groups={
        "web": (ProxmoxRule(origin="group", type="in", dport="80", proto="tcp"),),
        "off": (ProxmoxRule(origin="group", type="in", enabled=False),),
        "drop": (ProxmoxRule(origin="group", type="in", action="DROP"),),
    },
    ipsets={"both": (IpsetEntry(cidr="10.10.10.0/24"), IpsetEntry(cidr="10.10.10.9", nomatch=True))},
    aliases={"Ingress": "10.10.10.2/32"},
)


def rule(kind: str = "in", **fields: Any) -> ProxmoxRule:
    """Return an accept rule for input."""
    return ProxmoxRule(origin="rule", type=kind, **fields)


def guest(*rules: ProxmoxRule, nic: Nic = NIC, lxc: bool = False, **fields: Any) -> GuestFact:
    """Return a guest with its firewall on."""
    usual: dict[str, Any] = {"enabled": True, "rules": rules}
    firewall = GuestFirewall(**usual | fields, origin="guest")
    return GuestFact(name="guest", origin="guest", nics=(nic,), lxc=lxc, firewall=firewall)


def chain(*rules: ProxmoxRule, datacenter: Datacenter = DATACENTER, **fields: Any) -> Chain:
    """Return a guest's input chain."""
    found = Firewall(datacenter=datacenter).inbound(guest(*rules, **fields), NIC)
    assert found is not None
    return found


def passes(found: Chain | None, source: IPv4Address = SOURCE, port: Port = WEB) -> bool:
    """Whether a packet to the guest passes its input chain."""
    if found is None:
        return True
    address = None if NIC.address is None else int(NIC.address)
    return contains(found.walk(port.protocol, port.number, address).accepted, int(source))


@pytest.mark.parametrize("switch", ["datacenter", "guest", "card"])
def test_three_switches(switch: str) -> None:
    """With any of the three switches off, every packet passes in both directions."""
    nic = replace(NIC, firewall=switch != "card")
    own = guest(nic=nic, enabled=switch != "guest", output_policy="DROP")
    firewall = Firewall(datacenter=replace(DATACENTER, enabled=switch != "datacenter"))
    assert (firewall.inbound(own, nic), firewall.outbound(own, nic), firewall.sources(own, nic)) == (
        None,
        None,
        ALL,
    )


@pytest.mark.parametrize(
    ("policy", "expected"), [("DROP", False), ("REJECT", False), ("ACCEPT", True), (UNKNOWN, True)]
)
def test_policy_decides_last(policy: str, *, expected: bool) -> None:
    """The policy decides where no rule matches; an unknown policy accepts."""
    assert passes(chain(input_policy=policy)) == expected


def test_policies_by_default() -> None:
    """Proxmox drops input and accepts output by default."""
    assert not passes(chain())
    out = Firewall(datacenter=DATACENTER).outbound(guest(), NIC)
    assert out is not None
    assert out.walk(Protocol.TCP, 80, 0).accepted == ALL


def test_first_match_decides() -> None:
    """The first matching rule decides: a drop before an accept drops; after it, it does not."""
    drop, accept = rule(action="DROP"), rule()
    assert (passes(chain(drop, accept)), passes(chain(accept, drop))) == (False, True)
    assert passes(chain(replace(drop, action="REJECT"), accept)) is False


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"type": "out"}, False),
        ({"iface": "net0"}, True),
        ({"iface": "net1"}, False),
        ({"iface": UNKNOWN}, True),
        ({"proto": "tcp"}, True),
        ({"proto": "6"}, True),
        ({"proto": "udp"}, False),
        ({"proto": "icmp"}, False),
        ({"proto": UNKNOWN}, True),
        ({"proto": "tcp", "dport": "80"}, True),
        ({"proto": "tcp", "dport": "22,80"}, True),
        ({"proto": "tcp", "dport": "1:1024"}, True),
        ({"proto": "tcp", "dport": "443"}, False),
        ({"proto": "tcp", "dport": "www"}, True),
        ({"proto": "udp", "dport": "www"}, False),
        ({"proto": "tcp", "dport": "443", "sport": "1"}, False),
        ({"proto": "tcp", "sport": "1"}, True),
        ({"macro": "HTTP"}, True),
        ({"macro": "http"}, True),
        ({"macro": "Web"}, True),
        ({"macro": "SSH"}, False),
        ({"macro": "Ping"}, False),
        ({"macro": "Nonsense"}, True),
        ({"source": "10.10.10.2"}, True),
        ({"source": "10.10.10.0/24"}, True),
        ({"source": "10.10.10.9"}, False),
        ({"source": "10.10.10.1-10.10.10.3"}, True),
        ({"source": "10.10.10.9,10.10.10.2"}, True),
        ({"source": "fe80::/10"}, False),
        ({"source": "ingress"}, True),
        ({"source": "dc/INGRESS"}, True),
        ({"source": "guest/ingress"}, True),
        ({"source": "+both"}, True),
        ({"source": "+dc/both"}, True),
        ({"source": "+sdn/both"}, True),
        ({"source": "no-such-alias"}, True),
        ({"source": "+no-such-set"}, True),
        ({"source": UNKNOWN}, True),
        ({"dest": "10.10.10.11"}, True),
        ({"dest": "10.10.10.12"}, False),
        ({"type": "group", "group": "web"}, True),
        ({"type": "group", "group": "off"}, False),
        ({"type": "group", "group": "drop"}, False),
        ({"type": "group", "group": "no-such-group"}, True),
        ({"type": "group", "group": UNKNOWN}, True),
    ],
)
def test_an_accept_rule_matches(fields: dict[str, Any], *, expected: bool) -> None:
    """Each field of an accept rule narrows the rule, unless the field cannot be read."""
    assert passes(chain(replace(rule(), **fields))) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"source": UNKNOWN},
        {"source": "+no-such-set"},
        {"dest": "no-such-alias"},
        {"macro": "Nonsense"},
        {"proto": UNKNOWN},
        {"proto": "tcp", "dport": "www"},
        {"proto": "tcp", "sport": "1024"},
        {"dport": "80"},
    ],
)
def test_a_drop_rule_that_cannot_be_read_drops_nothing(fields: dict[str, Any]) -> None:
    """A drop rule with an unknown field, or a field that the sender chooses, drops nothing."""
    assert passes(chain(replace(rule(action="DROP"), **fields), rule()))


def test_a_group_stands_in_its_place() -> None:
    """A group's rules are evaluated at the group's position."""
    group = rule("group", group="web")
    assert (passes(chain(rule(action="DROP"), group)), passes(chain(group, rule(action="DROP")))) == (
        False,
        True,
    )


def test_a_guests_names_come_first() -> None:
    """A guest's alias or ipset hides the datacenter's of the same name, unless the rule names `dc/`."""
    own: dict[str, Any] = {
        "aliases": {"ingress": "10.10.10.9"},
        "ipsets": {"both": (IpsetEntry(cidr="10.10.10.9"),)},
    }
    for name in ("ingress", "guest/ingress", "+both", "+guest/both"):
        found = chain(rule(source=name), **own)
        assert (passes(found), passes(found, OTHER)) == (False, True)
    assert passes(chain(rule(source="dc/ingress"), **own))


def test_the_longest_prefix_of_an_ipset_decides() -> None:
    """`nomatch` excludes a part of a wider entry, and a longer entry includes its part again."""
    entries = (
        IpsetEntry(cidr="10.10.10.0/24"),
        IpsetEntry(cidr="10.10.10.0/28", nomatch=True),
        IpsetEntry(cidr="ingress"),
    )
    found = chain(rule(source="+set"), datacenter=replace(DATACENTER, ipsets={"set": entries}))
    assert [passes(found, IPv4Address(f"10.10.10.{n}")) for n in (2, 9, 20)] == [True, False, True]


def test_blacklist_comes_first() -> None:
    """Members of the datacenter's ipset `blacklist` are dropped before any rule."""
    banned = replace(DATACENTER, ipsets={"blacklist": (IpsetEntry(cidr=str(SOURCE)),)})
    found = chain(rule(), datacenter=banned)
    assert (passes(found), passes(found, OTHER)) == (False, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ALL),
        ({"ipfilter": True}, NONE),
        ({"ipfilter": True, "lxc": True}, prefix(IPv4Network("10.10.10.11"))),
        ({"ipsets": {"ipfilter-net0": (IpsetEntry(cidr="10.10.10.7"),)}}, prefix(IPv4Network("10.10.10.7"))),
        ({"ipsets": {"ipfilter-net1": ()}}, ALL),
        ({"ipfilter": True, "ipsets": {"ipfilter-net0": (IpsetEntry(cidr=UNKNOWN),)}}, ALL),
    ],
)
def test_ip_filter(fields: dict[str, Any], expected: IPSet) -> None:
    """The IP filter limits a guest to its ipset; a system container's own address is included."""
    assert Firewall(datacenter=DATACENTER).sources(guest(**fields), NIC) == expected


# --------------------------------------------------------------------------------------------- nodes


def node(*rules: ProxmoxRule, own: tuple[ProxmoxRule, ...] = (), **fields: Any) -> Chain:
    """Return the input chain of a node on 10.10.10.0/24."""
    local = IPv4Network("10.10.10.0/24")
    datacenter = replace(DATACENTER, rules=rules, local_network=local, **fields)
    host = Host(name="node", origin="node", legs=(), firewall=HostFirewallFact(origin="node", rules=own))
    found = Firewall(datacenter=datacenter).node_inbound(host)
    assert found is not None
    return found


@pytest.mark.parametrize("number", [8006, 22, 3128, 5900, 5999, 60000, 60050])
def test_proxmox_keeps_its_own_ports_open(number: int) -> None:
    """The local network and ipset `management` reach a node's own ports without a rule; others don't."""
    port, far = Port(number=number), IPv4Address("10.99.0.1")
    assert (passes(node(), SOURCE, port), passes(node(), far, port)) == (True, False)
    named = node(ipsets={"management": (IpsetEntry(cidr="10.99.0.0/16"),)})
    assert (passes(named, SOURCE, port), passes(named, far, port)) == (True, True)
    moved = node(aliases={"local_network": "10.99.0.0/16"})
    assert (passes(moved, SOURCE, port), passes(moved, far, port)) == (False, True)
    assert not passes(node(), SOURCE, Port(number=number, protocol=Protocol.UDP))


def test_a_rule_can_close_them() -> None:
    """The node's rules come first, then the datacenter's, then Proxmox's standing rules."""
    ssh = Port(number=22)
    assert not passes(node(rule(action="DROP")), SOURCE, ssh)
    assert passes(node(rule(action="DROP"), own=(rule(),)), SOURCE, ssh)


def test_a_nodes_interface_is_not_known() -> None:
    """A node's rule for one interface may accept but never drops, since the interface is unknown."""
    assert passes(node(rule(iface="vmbr0")))
    assert passes(node(rule(iface="vmbr0", action="DROP"), rule()))


def test_a_node_can_be_switched_off() -> None:
    """A node whose own switch or the datacenter's is off has no chain."""
    off = Host(name="node", origin="node", legs=(), firewall=HostFirewallFact(origin="node", enabled=False))
    on = replace(off, firewall=HostFirewallFact(origin="node"))
    assert Firewall(datacenter=DATACENTER).node_inbound(off) is None
    assert Firewall(datacenter=Datacenter(origin="dc")).node_inbound(on) is None
    assert Firewall(datacenter=Datacenter(origin="dc")).node_outbound(on) is None
    assert Firewall(datacenter=DATACENTER).node_outbound(on) is not None


# ------------------------------------------------------------------------------------ reading, sets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ((0, MAX_PORT),)),
        ("", ((0, MAX_PORT),)),
        ("0", ((0, MAX_PORT),)),
        ("0,80", ((0, 0), (80, 80))),
        ("80", ((80, 80),)),
        ("80,8000:8010", ((80, 80), (8000, 8010))),
        ("http,8000", ((80, 80), (8000, 8000))),
        ("www", None),
        ("80:www", None),
        ("²", None),
        ("80,", None),
        ("65536", None),
        ("9:8", None),
        (",".join(map(str, range(16))), None),
    ],
)
def test_port_lists(text: str | None, expected: tuple[tuple[int, int], ...] | None) -> None:
    """Port lists are read as in Proxmox; a lone 0 is no restriction."""
    if expected is None:
        with pytest.raises(WordError):
            service("tcp", text, None)
    else:
        found = service("tcp", text, None)
        assert found.ports == tuple(Range(Protocol.TCP, low, high) for low, high in expected)


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (None, {"proto": "tcp", "dport": "http"}),
        (None, {"proto": "udp", "dport": "http"}),  # a single service of UDP is looked up in any protocol
        (None, {"proto": "tcp", "sport": "syslog,80"}),
        (KernelError, {"proto": "tcp", "dport": "ntp"}),
        (KernelError, {"proto": "sctp", "dport": "http"}),
        (KernelError, {"proto": "udp", "dport": "http,8000"}),
        (KernelError, {"proto": "udplite", "dport": "80"}),
        (KernelError, {"proto": "262"}),
        (None, {"proto": "mptcp"}),
        (KernelError, {"source": "10.0.0.0/24-10.0.1.0/24"}),
        (KernelError, {"source": "10.0.0.0/24/8"}),
        (WordError, {"source": "10.0.0.0-10.0.1.0/24"}),
        (CompileError, {"proto": "icmp", "dport": "300"}),
        (CompileError, {"proto": "icmp", "dport": "echo-request,echo-reply"}),
        (WordError, {"proto": "icmp", "dport": "65536"}),
        (WordError, {"proto": "icmpv6", "dport": "80-81"}),
        (WordError, {"proto": "sctp", "dport": "http,8000", "macro": "RDP"}),
    ],
)
def test_a_word_fails_where_it_does_at_proxmox(fault: type[WordError] | None, fields: dict[str, str]) -> None:
    """Proxmox refuses a word, fails to build it, or has it refused by iptables, as its code does."""
    found = [type(each) for each in rule_faults(rule(**fields), Scope.of(DATACENTER), RulesOwner.GROUP)]
    assert found == ([fault] if fault else [])


def test_a_service_has_the_port_that_iptables_finds_first() -> None:
    """Debian names 104 and 11112 dicom; iptables takes the former."""
    assert service("tcp", "dicom", None).ports == (Range(Protocol.TCP, 104, 104),)


def test_regions_are_where_a_verdict_can_change() -> None:
    """A range is split at each rule's bounds, and its parts cover the range."""
    found = chain(rule(proto="tcp", dport="80:443"), rule(proto="tcp", dport="100"))
    assert list(found.regions(Range(Protocol.TCP, 1, 65535))) == [
        Range(Protocol.TCP, 1, 79),
        Range(Protocol.TCP, 80, 99),
        Range(Protocol.TCP, 100, 100),
        Range(Protocol.TCP, 101, 443),
        Range(Protocol.TCP, 444, 65535),
    ]
    assert list(found.regions(EVERY_PORT[1])) == [EVERY_PORT[1]]


def _spans(members: set[int]) -> IPSet:
    spans = NONE
    for member in members:
        spans = union(spans, ((member, member),))
    return spans


SMALL = st.sets(st.integers(min_value=0, max_value=12))


@given(SMALL, SMALL)
def test_spans_are_sets(left: set[int], right: set[int]) -> None:
    """Operations on address ranges agree with union, intersection and difference of sets."""
    pairs = [(union, left | right), (intersection, left & right), (difference, left - right)]
    for operation, expected in pairs:
        found = operation(_spans(left), _spans(right))
        assert {n for low, high in found for n in range(low, high + 1)} == expected
        assert all(contains(found, n) == (n in expected) for n in range(14))


def test_public_addresses() -> None:
    """The internet has neither private addresses nor the site's."""
    found = public((IPv4Network("198.41.0.0/24"),))
    inside = ("8.8.8.8", "172.15.0.1", "198.41.1.1")
    outside = ("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "198.41.0.4", "224.0.0.1")
    assert [contains(found, int(IPv4Address(text))) for text in (*inside, *outside)] == [True] * 3 + [
        False
    ] * 7
