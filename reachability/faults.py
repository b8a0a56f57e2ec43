"""Firewall configuration that Proxmox refuses, cannot build, or builds so that the kernel refuses it.

Modelled on pve-firewall's `verify_rule` and `ipt_rule_to_cmds`. The API refuses a `WordError`; if a file
contains the rule anyway, Proxmox skips it. The API accepts a `CompileError`; in a security group the error
stops Proxmox from building the chains of the guests that include the group, so these guests are not
filtered at all. After a `KernelError` no further firewall update reaches the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from reachability.facts import Datacenter, Facts, ProxmoxRule
from reachability.names import (
    NAME,
    Scope,
    UnknownError,
    addresses_of,
    set_faults,
    version_of,
)
from reachability.words import CompileError, KernelError, PacketMatch, WordError, macro_services, service


class RulesOwner(StrEnum):
    """The kind of object that a list of rules belongs to."""

    GUEST = "guest"
    GROUP = "group"
    NODE = "node"
    """A node or the datacenter, whose rules every node applies."""


_ACTIONS: Final = {"ACCEPT", "DROP", "REJECT"}
_TYPES: Final = {
    RulesOwner.GUEST: {"in", "out"},
    RulesOwner.GROUP: {"in", "out", "forward"},
    RulesOwner.NODE: {"in", "out", "forward"},
}
_INTERFACE: Final = re.compile(r"(?=.{2,20}$)[A-Za-z][A-Za-z0-9_]{1,20}([:.]\d+)?")
_LONGEST_INTERFACE: Final = 15
_IPV6: Final = 6


def services_of(rule: ProxmoxRule) -> tuple[PacketMatch, ...]:
    """Return what a rule matches besides addresses, one service per line of its macro; raises WordError."""
    if rule.macro is not None:
        return macro_services(rule.macro, rule.proto, rule.dport, rule.sport)
    return (service(rule.proto, rule.dport, rule.sport),)


def rule_faults(rule: ProxmoxRule, scope: Scope, owner: RulesOwner) -> Iterator[WordError]:
    """Yield the reasons why Proxmox refuses or cannot build a rule of this owner."""
    yield from _interface_faults(rule.iface, owner)
    if rule.type == "group":
        if owner is RulesOwner.GROUP:
            yield WordError(f"group {rule.group} in a group")
        elif not re.fullmatch(NAME, rule.group or ""):
            yield WordError(f"group {rule.group} is no name")
        return
    if rule.type not in _TYPES[owner]:
        yield WordError(f"type {rule.type or '(none)'} is none of a {owner}")
    if rule.action not in _ACTIONS or (rule.type == "forward" and rule.action == "REJECT"):
        yield WordError(f"action {rule.action or '(none)'} is none of type {rule.type or '(none)'}")
    for read in (
        lambda: services_of(rule),
        lambda: addresses_of(rule.source, scope),
        lambda: addresses_of(rule.dest, scope),
    ):
        try:
            read()
        except UnknownError:
            continue
        except WordError as error:
            yield error
    if len(_versions(rule, scope)) > 1:
        yield WordError("source, dest and proto mix IPv4 and IPv6")


def group_faults(name: str, rules: Iterable[ProxmoxRule], datacenter: Scope) -> Iterator[WordError]:
    """Yield the reasons why Proxmox refuses a security group or an enabled rule in it."""
    yield from name_faults(name)
    for rule in rules:
        if rule.enabled and rule.type != "forward":
            yield from rule_faults(rule, datacenter, RulesOwner.GROUP)


def name_faults(name: str) -> Iterator[WordError]:
    """Yield the reasons why Proxmox refuses the name of a security group, or cannot look it up."""
    if not re.fullmatch(NAME, name) or name != name.lower() or len(name) > 18:  # noqa: PLR2004
        yield WordError(
            f"group {name} is no name that Proxmox finds again: use 2 to 18 lower-case characters"
        )


def blocks_updates(facts: Facts) -> bool:
    """Whether the kernel refuses part of the IPv4 ruleset that Proxmox builds, so that no rule is applied."""
    return any(isinstance(fault, KernelError) for fault in _every_fault(facts))


def _every_fault(facts: Facts) -> Iterator[WordError]:
    """Yield the faults of all that Proxmox compiles: every ipset, and the rules and groups in use."""
    datacenter = facts.datacenter or Datacenter(origin="none")
    outer = Scope.of(datacenter)
    yield from _set_faults(outer)
    for host in facts.hosts:
        if host.firewall and host.firewall.enabled:
            for rule in (*host.firewall.rules, *datacenter.rules):
                yield from _compiled_faults(rule, outer, RulesOwner.NODE, datacenter)
    for guest in facts.guests:
        scope = Scope.of(guest.firewall, outer)
        yield from _set_faults(scope)
        cards = {nic.name for nic in guest.nics if nic.firewall and guest.firewall.enabled}
        for rule in guest.firewall.rules if cards else ():
            if rule.iface is None or rule.iface in cards:
                yield from _compiled_faults(rule, scope, RulesOwner.GUEST, datacenter)


def _compiled_faults(
    rule: ProxmoxRule, scope: Scope, owner: RulesOwner, datacenter: Datacenter
) -> Iterator[WordError]:
    if not rule.enabled:
        return
    if rule.type == "group":
        yield from _compiled_group(datacenter.groups.get(rule.group or "", ()), scope.shared)
    elif rule.type != "forward" and _versions(rule, scope) != {_IPV6}:
        yield from rule_faults(rule, scope, owner)


def _compiled_group(rules: Iterable[ProxmoxRule], shared: Scope) -> Iterator[WordError]:
    """Yield the faults of a group's rules, inbound first, up to the first rule that cannot be built."""
    for rule in sorted(rules, key=lambda rule: rule.type):
        if not rule.enabled or rule.type not in ("in", "out") or _versions(rule, shared) == {_IPV6}:
            continue
        faults = list(rule_faults(rule, shared, RulesOwner.GROUP))
        yield from faults
        if any(isinstance(fault, CompileError) for fault in faults):
            return


def _set_faults(scope: Scope) -> Iterator[WordError]:
    for name, entries in scope.ipsets.items():
        yield from set_faults(name, entries, scope)


def _interface_faults(iface: str | None, owner: RulesOwner) -> Iterator[WordError]:
    if iface is None:
        return
    if owner is RulesOwner.GROUP:
        yield WordError(f"iface {iface} in a group")
    elif owner is RulesOwner.GUEST and not re.fullmatch(r"net\d+", iface):
        yield WordError(f"iface {iface} is no card of a guest")
    elif not _INTERFACE.fullmatch(iface):
        yield WordError(f"iface {iface} is no name of an interface")
    elif len(iface) > _LONGEST_INTERFACE:
        yield KernelError(
            f"iptables takes no interface of more than {_LONGEST_INTERFACE} characters ({iface})"
        )


def _versions(rule: ProxmoxRule, scope: Scope) -> set[int | None]:
    """Return the IP versions of a rule's addresses and protocol."""
    proto = {"icmp": 4, "icmpv6": _IPV6, "ipv6-icmp": _IPV6}.get(rule.proto or "")
    return {version_of(rule.source, scope), version_of(rule.dest, scope), proto} - {None}
