"""Proxmox's firewall, evaluated as Proxmox evaluates it: for a port and a destination, which sources pass.

Owns the meaning of rules, groups, macros, aliases, ipsets, policies and the three switches, after
pve-firewall's own `src/PVE/Firewall.pm` (named `Firewall.pm` below). It deliberately knows nothing of who is
plugged in where. What a reader would get wrong: whatever cannot be resolved (`UNKNOWN`, a name that no fact
has, a macro or service name that is not listed here) matches every packet in an accept rule and none in a
drop rule; a source port is the sender's choice, so a drop rule with one stops nobody.

IPv4, TCP and UDP alone: an IPv6 address matches nothing, ICMP carries no flow. The standing permission for
DHCP (option `dhcp`) is left out.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, ip_address, ip_network
from typing import NamedTuple, TypeVar

from reachability.address_sets import ALL, NONE, Spans, cut, holds, join, meet, prefix
from reachability.facts import UNKNOWN, Datacenter, Guest, Host, IpsetEntry, Nic, Rule
from topology.model import Protocol

MACROS: Mapping[str, str] = {
    "bgp": "tcp 179",
    "ceph": "tcp 3300,6789,6800:7300",
    "dns": "udp 53; tcp 53",
    "ftp": "tcp 21",
    "git": "tcp 9418",
    "http": "tcp 80",
    "https": "tcp 443",
    "imap": "tcp 143",
    "imaps": "tcp 993",
    "ldap": "tcp 389",
    "ldaps": "tcp 636",
    "mail": "tcp 25,465,587",
    "mdns": "udp 5353",
    "munin": "tcp 4949",
    "mysql": "tcp 3306",
    "ntp": "udp 123",
    "openvpn": "udp 1194",
    "ping": "",
    "pop3": "tcp 110",
    "pop3s": "tcp 995",
    "postgresql": "tcp 5432",
    "rdp": "tcp 3389",
    "rsync": "tcp 873",
    "smtp": "tcp 25",
    "smtps": "tcp 465",
    "snmp": "udp 161:162; tcp 161",
    "spiceproxy": "tcp 3128",
    "squid": "tcp 3128",
    "ssh": "tcp 22",
    "submission": "tcp 587",
    "syslog": "udp 514; tcp 514",
    "telnet": "tcp 23",
    "tftp": "udp 69",
    "vnc": "tcp 5900:5999",
    "web": "tcp 80,443",
    "webcache": "tcp 8080",
}
"""Macros of Proxmox's documentation by lower-case name: protocol, then ports. `ping` is ICMP: no port."""

MANAGEMENT = "management"
"""Ipset whose members reach a node's own ports even without a rule; the local network is always in it."""

BUILT_IN = "8006,22,3128,5900:5999,60000:60050"
"""TCP ports that Proxmox opens on a node to `MANAGEMENT` (`enable_host_firewall` in Firewall.pm)."""

_MAX_PORT = 65535
_DENY = ("DROP", "REJECT")
_T = TypeVar("_T")
_PROTOCOLS = {"tcp": Protocol.TCP, "6": Protocol.TCP, "udp": Protocol.UDP, "17": Protocol.UDP}


class Range(NamedTuple):
    """Ports `low` to `high`, both included, of one protocol."""

    protocol: Protocol
    low: int
    high: int


EVERY_PORT = tuple(Range(protocol, 1, _MAX_PORT) for protocol in Protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a rule's names mean: those of the guest first, then the datacenter's, as in Firewall.pm.

    Names of aliases are in lower case.
    """

    guest_aliases: Mapping[str, str]
    guest_ipsets: Mapping[str, tuple[IpsetEntry, ...]]
    aliases: Mapping[str, str]
    ipsets: Mapping[str, tuple[IpsetEntry, ...]]


class Match(NamedTuple):
    """A rule made ready. `possible` fields hold for some packet of the kind, `certain` ones for each."""

    accept: bool
    ports: tuple[Range, ...]
    source: Spans
    dest: Spans
    why: str


class Passage(NamedTuple):
    """Which sources pass a chain, and what stops the others."""

    accepted: Spans
    denied: tuple[tuple[Spans, str], ...]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Rules in the order in which they are tried, then the policy: the first match decides."""

    matches: tuple[Match, ...]
    accept: bool
    policy: str

    @cached_property
    def breaks(self) -> dict[Protocol, list[int]]:
        """Ports at which a verdict can change, by protocol, in order."""
        found: dict[Protocol, set[int]] = {protocol: set() for protocol in Protocol}
        for match in self.matches:
            for protocol, low, high in match.ports:
                found[protocol] |= {low, high + 1}
        return {protocol: sorted(ports) for protocol, ports in found.items()}

    def regions(self, ports: Range) -> Iterator[Range]:
        """Split a range where a verdict can change; within a part every port has the same."""
        breaks = self.breaks[ports.protocol]
        inner = breaks[bisect_right(breaks, ports.low) : bisect_left(breaks, ports.high + 1)]
        starts = (ports.low, *inner)
        for low, after in zip(starts, (*inner, ports.high + 1), strict=True):
            yield Range(ports.protocol, low, after - 1)

    def destinations(self, within: Spans) -> tuple[int, ...]:
        """Return one address of each part of `within` in which the rules do not tell addresses apart."""
        edges = {low for low, _ in within}
        for match in self.matches:
            edges |= {edge for low, high in match.dest for edge in (low, high + 1) if holds(within, edge)}
        return tuple(sorted(edges))

    def walk(self, protocol: Protocol, port: int, dest: int | None) -> Passage:
        """Try a packet to `dest` (None: unknown) from every source at once."""
        left, accepted, denied = ALL, NONE, []
        for match in self.matches:
            if not any(p is protocol and low <= port <= high for p, low, high in match.ports):
                continue
            if dest is None:
                if not match.accept and match.dest != ALL:
                    continue
            elif not holds(match.dest, dest):
                continue
            hit = meet(left, match.source)
            if not hit:
                continue
            if match.accept:
                accepted = join(accepted, hit)
            else:
                denied.append((hit, match.why))
            left = cut(left, match.source)
            if not left:
                return Passage(accepted, tuple(denied))
        if self.accept:
            return Passage(join(accepted, left), tuple(denied))
        return Passage(accepted, (*denied, (left, self.policy)))


def ports_of(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Read Proxmox's port list (`80,443,8000:8010`); None is one that cannot be read, as a service name."""
    if not text:
        return ((1, _MAX_PORT),)
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        if not low.isdigit() or (high and not high.isdigit()):
            return None
        found.append((int(low), int(high or low)))
    return tuple(found)


def addresses_of(text: str | None, scope: Scope) -> Spans | None:
    """Read a rule's source or destination; None is one that cannot be read.

    An ipset `+name`, an alias, an address, a prefix, a range `a-b`, or a list of addresses and prefixes;
    names may begin with `dc/` or `guest/` (`ipt_gen_src_or_dst_match` in Firewall.pm).
    """
    if not text:
        return ALL
    if text == UNKNOWN:
        return None
    if text.startswith("+"):
        entries = _named(text[1:], scope.guest_ipsets, scope.ipsets)
        return None if entries is None else ipset(entries, scope)
    if text[0].isalpha() and ":" not in text:
        cidr = _named(text.lower(), scope.guest_aliases, scope.aliases)
        return None if cidr is None or cidr == UNKNOWN else _literal(cidr)
    spans = NONE
    for part in text.split(","):
        read = _literal(part.strip())
        if read is None:
            return None
        spans = join(spans, read)
    return spans


def ipset(entries: Iterable[IpsetEntry], scope: Scope) -> Spans | None:
    """Return the members of an ipset: of the entries that hold an address, the longest prefix decides.

    That is the kernel's `hash:net` with `nomatch`. None when an entry cannot be read.
    """
    spans, read = NONE, []
    for entry in entries:
        found = addresses_of(entry.cidr, scope)
        if found is None:
            return None
        read += [(high - low, low, high, entry.nomatch) for low, high in found]
    for _, low, high, nomatch in sorted(read, key=lambda r: -r[0]):
        spans = cut(spans, ((low, high),)) if nomatch else join(spans, ((low, high),))
    return spans


def _named(name: str, guest: Mapping[str, _T], datacenter: Mapping[str, _T]) -> _T | None:
    scope, slash, rest = name.rpartition("/")
    if slash and scope not in ("dc", "guest"):
        return None
    found = guest.get(rest) if scope != "dc" else None
    return found if found is not None or scope == "guest" else datacenter.get(rest)


def _lower(names: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in names.items()}


def _literal(text: str) -> Spans | None:
    first, dash, last = text.partition("-")
    try:
        if dash:
            low, high = ip_address(first), ip_address(last)
            return ((int(low), int(high)),) if low.version == 4 else NONE  # noqa: PLR2004
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return prefix(network) if isinstance(network, IPv4Network) else NONE


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """The chains of every guest and node, from the datacenter's facts."""

    datacenter: Datacenter
    _groups: dict[tuple[str, str], tuple[Match, ...]] = field(default_factory=dict, repr=False, compare=False)

    def inbound(self, guest: Guest, nic: Nic) -> Chain | None:
        """Return what a packet passes on its way in; None when a switch is off, so that all of them do."""
        if not self.effective(guest, nic):
            return None
        own = guest.firewall
        matches = (*self._blacklist, *self._matches(own.rules, "in", nic.name, self._guest_scope(guest)))
        return _chain(matches, own.input_policy, f"input policy of {own.origin}")

    def outbound(self, guest: Guest, nic: Nic) -> Chain | None:
        """Return what a packet passes on its way out; None when a switch is off."""
        if not self.effective(guest, nic):
            return None
        own = guest.firewall
        matches = self._matches(own.rules, "out", nic.name, self._guest_scope(guest))
        return _chain(matches, own.output_policy, f"output policy of {own.origin}")

    def effective(self, guest: Guest, nic: Nic) -> bool:
        """Whether a guest's rules are applied: all three switches are on (`compile_iptables_filter`)."""
        return self.datacenter.enabled and guest.firewall.enabled and nic.firewall

    def sources(self, guest: Guest, nic: Nic) -> Spans:
        """Return the addresses that a guest's packets may carry.

        Any, unless the IP filter is on, which is an option or the presence of ipset `ipfilter-<card>`. Then
        that ipset's members; a system container's own address is added by Proxmox, a machine's is not, and
        an empty ipset lets nothing out (`compile_ipsets`, `ruleset_create_vm_chain`).
        """
        own = guest.firewall
        name = f"ipfilter-{nic.name}"
        if not self.effective(guest, nic) or not (own.ipfilter or name in own.ipsets):
            return ALL
        members = ipset(own.ipsets.get(name, ()), self._guest_scope(guest))
        if members is None or (guest.lxc and nic.address is None):
            return ALL
        return join(members, prefix(IPv4Network(nic.address))) if guest.lxc and nic.address else members

    def node_inbound(self, host: Host, local: Spans) -> Chain | None:
        """Return what a packet to a node passes: its own rules, the datacenter's, Proxmox's standing ones.

        `local` is the node's network where no alias `local_network` says otherwise. None: a switch is off.
        """
        if host.firewall is None or not host.firewall.enabled or not self.datacenter.enabled:
            return None
        rules = (*host.firewall.rules, *self.datacenter.rules)
        if "local_network" in self._scope.aliases:
            local = _or_all(addresses_of("local_network", self._scope))
        if MANAGEMENT in self._scope.ipsets:
            local = join(local, _or_all(addresses_of(f"+{MANAGEMENT}", self._scope)))
        ports = tuple(Range(Protocol.TCP, low, high) for low, high in ports_of(BUILT_IN) or ())
        standing = Match(True, ports, local, ALL, "Proxmox's standing management rule")
        matches = (*self._blacklist, *self._matches(rules, "in", None, self._scope), standing)
        return _chain(matches, self.datacenter.input_policy, f"input policy of {self.datacenter.origin}")

    def node_outbound(self, host: Host) -> Chain | None:
        """Return what a node's own packets pass; None when a switch is off."""
        if host.firewall is None or not host.firewall.enabled or not self.datacenter.enabled:
            return None
        matches = self._matches((*host.firewall.rules, *self.datacenter.rules), "out", None, self._scope)
        return _chain(matches, self.datacenter.output_policy, f"output policy of {self.datacenter.origin}")

    @cached_property
    def _blacklist(self) -> tuple[Match, ...]:
        """Ipset `blacklist` is dropped before any rule (`ruleset_chain_add_input_filters`)."""
        members = ipset(self.datacenter.ipsets.get("blacklist", ()), self._scope)
        return (Match(False, EVERY_PORT, members, ALL, "ipset blacklist"),) if members else ()

    @cached_property
    def _scope(self) -> Scope:
        own = self.datacenter
        return Scope(guest_aliases={}, guest_ipsets={}, aliases=_lower(own.aliases), ipsets=own.ipsets)

    def _guest_scope(self, guest: Guest) -> Scope:
        own, shared = guest.firewall, self._scope
        return Scope(
            guest_aliases=_lower(own.aliases),
            guest_ipsets=own.ipsets,
            aliases=shared.aliases,
            ipsets=shared.ipsets,
        )

    def _matches(
        self, rules: Iterable[Rule], direction: str, card: str | None, scope: Scope
    ) -> Iterator[Match]:
        """Flatten rules and, in their place, the groups that they include; those switched off do not count.

        `card` is the guest's card that a rule's `iface` must name. Which interface of a node (None) a packet
        comes by is not known here, so there a rule with one accepts and does not drop.
        """
        for rule in rules:
            other = rule.iface is not None and rule.iface != card
            if not rule.enabled or (other and card is not None and rule.iface != UNKNOWN):
                continue
            if rule.type == "group":
                found = self._group(rule.group or "", direction)
            else:
                found = tuple(compile_rule(rule, scope)) if rule.type == direction else ()
            yield from (match for match in found if match.accept or not other)

    def _group(self, name: str, direction: str) -> tuple[Match, ...]:
        """Return a security group's rules in one direction; a group that no fact has accepts everything."""
        key = (name, direction)
        if key not in self._groups:
            unknown = (Rule(origin=f"unknown security group {name}", type=direction),)
            self._groups[key] = tuple(
                match
                for rule in self.datacenter.groups.get(name, unknown)
                if rule.enabled and rule.type == direction
                for match in compile_rule(rule, self._scope)
            )
        return self._groups[key]


def _or_all(spans: Spans | None) -> Spans:
    return ALL if spans is None else spans


def _chain(matches: Iterable[Match], policy: str, why: str) -> Chain:
    return Chain(matches=tuple(matches), accept=policy not in _DENY, policy=f"{why}: {policy}")


def compile_rule(rule: Rule, scope: Scope) -> Iterator[Match]:
    """Make a rule ready; REJECT is DROP here. A drop rule that cannot be read in full drops nothing."""
    accept = rule.action not in _DENY
    source, dest = addresses_of(rule.source, scope), addresses_of(rule.dest, scope)
    ports = _rule_ports(rule)
    if accept or not (source is None or dest is None or ports is None or rule.sport):
        why = f"{rule.action} rule of {rule.origin}"
        yield Match(accept, EVERY_PORT if ports is None else ports, _or_all(source), _or_all(dest), why)


def _rule_ports(rule: Rule) -> tuple[Range, ...] | None:
    """Return the ports that a rule is about; None when that cannot be read."""
    if rule.macro is not None:
        known = MACROS.get(rule.macro.lower())
        return None if known is None else tuple(_macro_ports(known))
    ports = ports_of(rule.dport)
    if rule.proto is None:
        # Proxmox does not apply a rule with ports and no protocol: it may accept here, never drop.
        protocols = tuple(Protocol)
        ports = ports if rule.action not in _DENY or not rule.dport else None
    elif rule.proto in _PROTOCOLS:
        protocols = (_PROTOCOLS[rule.proto],)
    else:
        return None if rule.proto == UNKNOWN else ()
    if ports is None:
        return None if rule.action in _DENY else tuple(r for r in EVERY_PORT if r.protocol in protocols)
    return tuple(Range(protocol, low, high) for protocol in protocols for low, high in ports)


def _macro_ports(known: str) -> Iterator[Range]:
    for part in filter(None, known.split("; ")):
        protocol, ports = part.split()
        for low, high in ports_of(ports) or ():
            yield Range(Protocol(protocol), low, high)
