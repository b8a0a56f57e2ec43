"""Evaluates Proxmox's firewall as Proxmox does: which sources pass, for a port and a destination.

Covers rules, groups, macros, policies, standing permissions and the three switches, modelled on
pve-firewall's `src/PVE/Firewall.pm` (`Firewall.pm` below). `names` resolves names, `words` parses protocols
and ports, `faults` finds what Proxmox cannot build. IPv4 only: an IPv6 address matches nothing.

Note: what cannot be read (`UNKNOWN`, a name that no fact has, a word that Proxmox refuses) matches every
packet in an accept rule and none in a drop rule. The sender chooses the source port.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import NamedTuple, TypeVar

from reachability.address_sets import ALL, IPSet, contains, difference, intersection, union_all
from reachability.facts import UNKNOWN, Datacenter, Facts, GuestFact, Host, Nic, ProxmoxRule
from reachability.faults import blocks_updates, group_faults, services_of
from reachability.names import MANAGEMENT, Scope, UnknownError, addresses_of, ipset
from reachability.words import (
    EVERY_PACKET,
    ICMP_ERRORS,
    MAX_PORT,
    Bounds,
    PacketMatch,
    Range,
    WordError,
    service,
)
from topology.model import Protocol

STANDING = ((22, 22), (3128, 3128), (5900, 5999), (8006, 8006), (60000, 60050))
"""TCP ports that Proxmox opens on a node to ipset `management` (`enable_host_firewall` in Firewall.pm)."""

_STANDING_OUT = STANDING[:-1]
"""The standing ports that Proxmox lets a node open to its local network."""
_IGMP = 2
_DENY = ("DROP", "REJECT")
_T = TypeVar("_T")
EVERY_PORT = tuple(Range(protocol, 1, MAX_PORT) for protocol in Protocol)


class Match(NamedTuple):
    """A compiled rule. `sports` None is every source port."""

    accept: bool
    ports: tuple[Range, ...]
    source: IPSet
    dest: IPSet
    why: str
    sports: Bounds | None = None


class Passage(NamedTuple):
    """The sources that pass a chain, and what stops the others."""

    accepted: IPSet
    denied: tuple[tuple[IPSet, str], ...]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Rules in the order in which Proxmox tries them, then the policy: the first match decides."""

    matches: tuple[Match, ...]
    accept: bool
    policy: str
    _walked: dict[tuple[Protocol | int, int, int | None], Passage] = field(
        default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def breaks(self) -> dict[Protocol, list[int]]:
        """Sorted ports at which a verdict can change, by protocol."""
        found: dict[Protocol, set[int]] = {protocol: set() for protocol in Protocol}
        for match in self.matches:
            for protocol, low, high in match.ports:
                if isinstance(protocol, Protocol):
                    found[protocol] |= {low, high + 1}
        return {protocol: sorted(ports) for protocol, ports in found.items()}

    def regions(self, ports: Range) -> Iterator[Range]:
        """Split a range where a TCP or UDP verdict can change; all ports of a part share one verdict."""
        protocol, first, last = ports
        breaks = self.breaks[protocol] if isinstance(protocol, Protocol) else []
        inner = breaks[bisect_right(breaks, first) : bisect_left(breaks, last + 1)]
        for low, after in zip((first, *inner), (*inner, last + 1), strict=True):
            yield Range(protocol, low, after - 1)

    def destinations(self, within: IPSet) -> tuple[int, ...]:
        """Return one address of each part of `within` that all rules treat alike."""
        edges = {low for low, _ in within}
        for match in self.matches:
            if match.dest != ALL:
                edges |= {
                    edge for low, high in match.dest for edge in (low, high + 1) if contains(within, edge)
                }
        return tuple(sorted(edges))

    def walk(self, protocol: Protocol | int, port: int, dest: int | None) -> Passage:
        """Evaluate packets to `dest` (None: unknown) from every source address and source port."""
        key = (protocol, port, dest)
        if key not in self._walked:
            about = [match for match in self._about(protocol, port) if _leads(match, dest)]
            found, *others = [self._try(about, sport) for sport in _source_ports(about)]
            if others:
                accepted = union_all(passage.accepted for passage in (found, *others))
                denied = ((difference(hit, accepted), why) for hit, why in found.denied)
                found = Passage(accepted, tuple((hit, why) for hit, why in denied if hit))
            self._walked[key] = found
        return self._walked[key]

    def _try(self, matches: Iterable[Match], sport: int) -> Passage:
        """Evaluate packets from one source port; consecutive accept rules are merged into one address set."""
        left: IPSet = ALL
        accepted: list[IPSet] = []
        denied: list[tuple[IPSet, str]] = []
        hit = (match for match in matches if match.sports is None or _among(match.sports, sport))
        for accept, run in groupby(hit, key=lambda match: match.accept):
            if accept:
                sources = union_all(match.source for match in run)
                accepted.append(intersection(left, sources))
                left = difference(left, sources)
            else:
                for match in run:
                    if found := intersection(left, match.source):
                        denied.append((found, match.why))
                        left = difference(left, match.source)
            if not left:
                break
        if self.accept:
            accepted.append(left)
        elif left:
            denied.append((left, self.policy))
        return Passage(union_all(accepted), tuple(denied))

    def _about(self, protocol: Protocol | int, port: int) -> list[Match]:
        """Return the rules that apply to a port, in their order."""
        if not isinstance(protocol, Protocol):
            return [match for match in self.matches if any(r.holds(protocol, port) for r in match.ports)]
        whole, parts = self._index[protocol]
        numbers = {*whole, *parts.get(bisect_right(self.breaks[protocol], port), ())}
        return [self.matches[number] for number in sorted(numbers)]

    @cached_property
    def _index(self) -> dict[Protocol, tuple[list[int], dict[int, list[int]]]]:
        """Rules by protocol: those for all of its ports, and the others by region."""
        found: dict[Protocol, tuple[list[int], dict[int, list[int]]]] = {p: ([], {}) for p in Protocol}
        for number, match in enumerate(self.matches):
            for protocol, low, high in match.ports:
                if not isinstance(protocol, Protocol):
                    continue
                whole, parts = found[protocol]
                if (low, high) == (0, MAX_PORT):
                    whole.append(number)
                    continue
                breaks = self.breaks[protocol]
                for region in range(bisect_right(breaks, low), bisect_right(breaks, high) + 1):
                    parts.setdefault(region, []).append(number)
        return found


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """The chains of all guests and nodes. `blocked`: the kernel refuses the built ruleset; no rule acts."""

    datacenter: Datacenter
    blocked: bool = False
    _scopes: dict[str, Scope] = field(default_factory=dict, repr=False, compare=False)
    _groups: dict[tuple[str, str], tuple[Match, ...]] = field(default_factory=dict, repr=False, compare=False)
    _broken: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, facts: Facts) -> "Firewall":
        """Return the firewall of a site."""
        datacenter = facts.datacenter or Datacenter(origin="Proxmox's default")
        return cls(datacenter=datacenter, blocked=blocks_updates(facts))

    def inbound(self, guest: GuestFact, nic: Nic) -> Chain | None:
        """Return the chain of packets to a guest; None when a switch is off, so that all packets pass.

        The blacklist precedes the guest's own chain and does not need the guest's switch.
        """
        if not self._acts(nic):
            return None
        own = guest.firewall
        if not self.effective(guest, nic):
            return (
                _chain(self._blacklist, "ACCEPT", f"no firewall of {own.origin}") if self._blacklist else None
            )
        scope = self._guest_scope(guest)
        rules = self._matches(own.rules, "in", nic.name, scope)
        matches = (*self._blacklist, *_dhcp(own.dhcp, 68, 67), *rules)
        return _chain(matches, own.input_policy, f"input policy of {own.origin}")

    def outbound(self, guest: GuestFact, nic: Nic) -> Chain | None:
        """Return the chain of packets from a guest; None when a switch is off."""
        if not self.effective(guest, nic):
            return None
        own = guest.firewall
        rules = self._matches(own.rules, "out", nic.name, self._guest_scope(guest))
        first = self._dhcp_and_filter(guest, nic) if own.dhcp else ()
        return _chain((*first, *rules), own.output_policy, f"output policy of {own.origin}")

    def _dhcp_and_filter(self, guest: GuestFact, nic: Nic) -> tuple[Match, ...]:
        """Return the DHCP rule, then the IP filter. Without DHCP, `sources` alone models the IP filter."""
        foreign = difference(ALL, self._pinned(guest, nic))
        why = f"the IP filter of {guest.firewall.origin}"
        return (*_dhcp(True, 67, 68), Match(False, EVERY_PACKET, foreign, ALL, why))

    def effective(self, guest: GuestFact, nic: Nic) -> bool:
        """Whether a guest's rules are applied: all three switches are on, and its groups can be built.

        A group that cannot be built ends `compile_iptables_filter` for the guest before its chains are used.
        """
        return self._acts(nic) and guest.firewall.enabled and not self._unbuilt(guest)

    def _acts(self, nic: Nic) -> bool:
        return self.datacenter.enabled and not self.blocked and nic.firewall

    def _unbuilt(self, guest: GuestFact) -> bool:
        rules = (rule for rule in guest.firewall.rules if rule.enabled and rule.type == "group")
        return any(self._is_broken(rule.group or "") for rule in rules)

    def _is_broken(self, group: str) -> bool:
        if group not in self._broken:
            rules = self.datacenter.groups.get(group)
            faults = group_faults(group, rules, self._scope) if rules is not None else iter(())
            self._broken[group] = next(faults, None) is not None
        return self._broken[group]

    def marks(self, guest: GuestFact, nic: Nic) -> bool:
        """Whether a guest's packets carry the mark of its accepting chain, which a node's rules match."""
        return self._acts(nic) and guest.firewall.enabled

    def sources(self, guest: GuestFact, nic: Nic) -> IPSet:
        """Return the source addresses that a guest's packets may carry; a DHCP request may carry any."""
        if not self.effective(guest, nic) or guest.firewall.dhcp:
            return ALL
        return self._pinned(guest, nic)

    def _pinned(self, guest: GuestFact, nic: Nic) -> IPSet:
        """Return the addresses that the IP filter passes.

        Every address passes unless the filter is on, by option or by the presence of ipset `ipfilter-<card>`.
        With the filter on, only members of that ipset pass; Proxmox adds a system container's own address,
        but not a machine's. An empty ipset lets nothing out (`compile_ipsets`, `ruleset_create_vm_chain`).
        """
        own = guest.firewall
        name = f"ipfilter-{nic.name}"
        if not (own.ipfilter or name in own.ipsets) or (guest.lxc and nic.address is None):
            return ALL
        added = (str(nic.address),) if guest.lxc else ()
        return _or_all(lambda: ipset(own.ipsets.get(name, ()), self._guest_scope(guest), added))

    def node_inbound(self, host: Host, iface: str | None = None, *, marked: bool = False) -> Chain | None:
        """Return the chain of packets to a node: its own rules, the datacenter's and Proxmox's standing ones.

        `iface` is the interface on which packets arrive, None for any. `marked`: packets carry the mark of a
        guest's chain. Returns None when a switch is off.
        """
        if not self._filters(host):
            return None
        management = _or_all(lambda: self._scope.members(MANAGEMENT))
        ports = tuple(Range(Protocol.TCP, low, high) for low, high in STANDING)
        standing = Match(True, ports, management, ALL, "Proxmox's standing management rule")
        rules = self._node_matches(host, "in", iface, marked=marked)
        matches = (*self._blacklist, _igmp(), *rules, standing)
        return _chain(matches, self.datacenter.input_policy, f"input policy of {self.datacenter.origin}")

    def node_marked(self, host: Host, iface: str | None = None) -> Chain | None:
        """Return the chain of packets with a guest chain's mark; None if the mark makes no difference."""
        own = host.firewall.rules if host.firewall else ()
        rules = (rule for rule in (*own, *self.datacenter.rules) if rule.type == "group" and rule.iface)
        return self.node_inbound(host, iface, marked=True) if any(rules) else None

    def node_outbound(self, host: Host, iface: str | None = None) -> Chain | None:
        """Return the chain of a node's own packets; None when a switch is off."""
        if not self._filters(host):
            return None
        local = _or_all(self._scope.local_addresses)
        ports = tuple(Range(Protocol.TCP, low, high) for low, high in _STANDING_OUT)
        standing = Match(True, ports, ALL, local, "Proxmox's standing management rule")
        matches = (_igmp(), *self._node_matches(host, "out", iface), standing)
        return _chain(matches, self.datacenter.output_policy, f"output policy of {self.datacenter.origin}")

    def _filters(self, host: Host) -> bool:
        own = host.firewall
        return self.datacenter.enabled and not self.blocked and own is not None and own.enabled

    @cached_property
    def _blacklist(self) -> tuple[Match, ...]:
        """Drop rules for ipset `blacklist`, ahead of every other rule (`ruleset_chain_add_input_filters`)."""
        if "blacklist" not in self.datacenter.ipsets:
            return ()
        try:
            members = self._scope.members("blacklist")
        except UnknownError:
            return ()
        return (Match(False, EVERY_PACKET, members, ALL, "ipset blacklist"),) if members else ()

    @cached_property
    def _scope(self) -> Scope:
        return Scope.of(self.datacenter)

    def _guest_scope(self, guest: GuestFact) -> Scope:
        if guest.name not in self._scopes:
            self._scopes[guest.name] = Scope.of(guest.firewall, self._scope)
        return self._scopes[guest.name]

    def _matches(
        self, rules: Iterable[ProxmoxRule], direction: str, card: str, scope: Scope
    ) -> Iterator[Match]:
        """Yield a guest's rules, with each group's rules in place of the reference to the group.

        Disabled rules and rules whose `iface` is another card are skipped.
        """
        for rule in rules:
            if not rule.enabled or rule.iface not in (None, card, UNKNOWN):
                continue
            if rule.type == "group":
                yield from self._group(rule.group or "", direction)
            elif rule.type == direction:
                yield from compile_rule(rule, scope)

    def _node_matches(
        self, host: Host, direction: str, iface: str | None, *, marked: bool = False
    ) -> Iterator[Match]:
        """Yield a node's rules, then the datacenter's, with groups flattened.

        Proxmox tests for the mark after each reference to a group, and the group clears the mark first. If
        the reference is for another interface, the mark of the sending guest therefore still passes the
        packet.
        """
        own = host.firewall.rules if host.firewall else ()
        for rule in (*own, *self.datacenter.rules):
            if not rule.enabled:
                continue
            certain = rule.iface in (None, iface)
            possible = certain or iface is None or rule.iface == UNKNOWN
            if rule.type == "group":
                certain = certain and not self._is_broken(rule.group or "")
                found = self._group(rule.group or "", direction) if possible else ()
                if marked and (rule.iface is not None and rule.iface != iface):
                    yield Match(True, EVERY_PACKET, ALL, ALL, f"the mark of a guest at {rule.origin}")
            else:
                found = tuple(compile_rule(rule, self._scope)) if possible and rule.type == direction else ()
            yield from (match for match in found if match.accept or certain)

    def _group(self, name: str, direction: str) -> tuple[Match, ...]:
        """Return a security group's rules in one direction; a group that no fact has accepts everything."""
        key = (name, direction)
        if key not in self._groups:
            unknown = (ProxmoxRule(origin=f"unknown security group {name}", type=direction),)
            self._groups[key] = tuple(
                match
                for rule in self.datacenter.groups.get(name, unknown)
                if rule.enabled and rule.type == direction
                for match in compile_rule(rule, self._scope)
            )
        return self._groups[key]


def _or_all(read: Callable[[], IPSet]) -> IPSet:
    """Return the result of `read`, or every address if it cannot be read."""
    try:
        return read()
    except (UnknownError, WordError):
        return ALL


def _chain(matches: Iterable[Match], policy: str, why: str) -> Chain:
    accept = policy not in _DENY
    errors = () if accept else (Match(True, ICMP_ERRORS, ALL, ALL, "Proxmox's standing ICMP rule"),)
    return Chain(matches=(*matches, *errors), accept=accept, policy=f"{why}: {policy}")


def _dhcp(on: bool, port: int, sport: int) -> tuple[Match, ...]:
    """Return the DHCP rule, which precedes every rule and the IP filter (`ruleset_create_vm_chain`)."""
    ports = (Range(Protocol.UDP, port, port),)
    return (Match(True, ports, ALL, ALL, "option dhcp", ((sport, sport),)),) if on else ()


def _igmp() -> Match:
    return Match(True, (Range(_IGMP, 0, MAX_PORT),), ALL, ALL, "Proxmox's standing IGMP rule")


def _leads(match: Match, dest: int | None) -> bool:
    """Whether a match applies to `dest` (None: unknown); with `dest` unknown, a drop rule must cover all."""
    if match.dest == ALL:
        return True
    return match.accept if dest is None else contains(match.dest, dest)


def _source_ports(matches: Iterable[Match]) -> list[int]:
    """Return one source port of each range that the rules treat alike, an ephemeral one first."""
    edges = {edge for match in matches for low, high in match.sports or () for edge in (low, high + 1)}
    return [MAX_PORT, *sorted(edge for edge in {1, *edges} if 0 < edge < MAX_PORT)] if edges else [MAX_PORT]


def _among(bounds: Bounds, number: int) -> bool:
    return any(low <= number <= high for low, high in bounds)


def compile_rule(rule: ProxmoxRule, scope: Scope) -> Iterator[Match]:
    """Yield a rule's matches; REJECT counts as DROP. An unreadable drop rule drops nothing."""
    accept = rule.action not in _DENY
    source, dest = (
        _read(lambda: addresses_of(rule.source, scope)),
        _read(lambda: addresses_of(rule.dest, scope)),
    )
    services = None if UNKNOWN in (rule.macro, rule.proto, rule.dport) else _read(lambda: services_of(rule))
    if not accept and (None in (source, dest, services) or rule.sport == UNKNOWN):
        return
    if services is None and rule.macro is None:
        services = _read(lambda: (service(rule.proto, None, None),))
    why = f"{rule.action} rule of {rule.origin}"
    for ports, sports in services if services is not None else (PacketMatch(EVERY_PACKET),):
        yield Match(
            accept, ports, ALL if source is None else source, ALL if dest is None else dest, why, sports
        )


def _read(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except (UnknownError, WordError):
        return None
