"""Resolves the names in a Proxmox firewall: aliases and ipsets, and the scopes in which each is looked up.

A guest's rule looks up the guest's own names first, then the datacenter's. A rule of a group, a node or the
datacenter looks up the datacenter's names only. `dc/` and `guest/` restrict the search. Modelled on
pve-firewall's `ipt_gen_src_or_dst_match` and `generate_ipset_chains`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from reachability.address_sets import ALL, NONE, IPSet, nested, prefix, union_all
from reachability.facts import UNKNOWN, Datacenter, GuestFirewall, IpsetEntry
from reachability.words import CompileError, KernelError, WordError, decimal
from topology.model import LOCAL_NETWORK

NAME: Final = r"[A-Za-z][A-Za-z0-9_-]+"
MANAGEMENT: Final = "management"
"""Ipset whose members reach a node's standing ports; it always contains the node's local network."""
_ALIAS: Final = re.compile(rf"(dc/|guest/)?({NAME})")
_SET: Final = re.compile(rf"\+(dc/|guest/|sdn/)?({NAME})")
_BEYOND: Final = re.compile(r"\d+(\.\d+){3}/\d+[-/]")
"""A network with more behind it, such as `10.0.0.0/24-10.0.1.0/24`; Proxmox checks the network alone."""
_LITERAL: Final = re.compile(r"[0-9A-Fa-f:.]+(/\d{1,3})?")
_WIDEST: Final = 32
Prefix = IPv4Network | IPv6Network


class UnknownError(ValueError):
    """A value that is not known yet, or a set that contains one."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Aliases by lower-case name and ipsets of one level; a guest's scope has the datacenter's as `outer`.

    `local` is the network in which the node itself is routed, None if unknown.
    """

    aliases: Mapping[str, str]
    ipsets: Mapping[str, tuple[IpsetEntry, ...]]
    outer: Scope | None = None
    local: IPv4Network | None = None
    _read: dict[str, IPSet] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, firewall: Datacenter | GuestFirewall, outer: Scope | None = None) -> Scope:
        """Return the scope of the datacenter or, with the datacenter's scope as `outer`, of a guest."""
        lower = {name.lower(): value for name, value in firewall.aliases.items()}
        local = firewall.local_network if isinstance(firewall, Datacenter) else None
        return cls(aliases=lower, ipsets=firewall.ipsets, outer=outer, local=local)

    def _levels(self, scope: str) -> Iterator[Scope]:
        """Yield the levels in which a name is looked up. `guest/` never matches the datacenter's level."""
        if scope != "dc/" and self.outer is not None:
            yield self
        if scope != "guest/":
            yield self.outer or self

    @property
    def shared(self) -> Scope:
        """The datacenter's scope."""
        return self.outer or self

    def _everywhere(self) -> Iterator[Scope]:
        yield from (self, self.outer) if self.outer else (self,)

    def alias(self, text: str) -> str:
        """Return the value of an alias as it is written; raises WordError or UnknownError."""
        found = _ALIAS.fullmatch(text)
        scope, name = (found[1] or "", found[2].lower()) if found else ("", "")
        for level in self._levels(scope):
            if name in level.aliases:
                return _known(level.aliases[name])
        if any(name in level.aliases for level in self._everywhere()):
            raise CompileError(f"alias {text} is not in this scope")
        raise WordError(f"alias {text} is not in the stack")

    def ipset(self, text: str) -> IPSet:
        """Return the members of the ipset that `+name` refers to; raises WordError or UnknownError."""
        found = _SET.fullmatch(text)
        scope, name = (found[1] or "", found[2]) if found else ("", "")
        for level in self._levels(scope) if scope != "sdn/" else ():
            if name in level.ipsets:
                return level.members(name)
        if any(name in level.ipsets for level in self._everywhere()):
            raise CompileError(f"ipset {text} is not in this scope")
        raise WordError(f"ipset {text} is not in the stack")

    def members(self, name: str) -> IPSet:
        """Return the members of an ipset of this level; raises UnknownError.

        The longest prefix that contains an address decides whether the address is a member.
        """
        if name not in self._read:
            self._read[name] = ipset(self.ipsets.get(name, ()), self, self.added(name))
        return self._read[name]

    def added(self, name: str) -> tuple[str, ...]:
        """Return the entries that Proxmox adds to an ipset itself: its local network to `management`."""
        return (self.local_network,) if name == MANAGEMENT and self.outer is None else ()

    def local_addresses(self) -> IPSet:
        """Return the addresses of the node's local network; raises WordError or UnknownError."""
        return _spans(network_of(_known(self.local_network)))

    @property
    def local_network(self) -> str:
        """The node's local network as Proxmox writes it: the alias, or where the node is routed."""
        return self.aliases.get(LOCAL_NETWORK) or (str(self.local) if self.local else UNKNOWN)


def addresses_of(text: str | None, scope: Scope) -> IPSet:
    """Return the IPv4 addresses of a rule's source or destination; raises WordError or UnknownError.

    `text` is an ipset `+name`, an alias, an address, a prefix, a range `a-b`, or a list of addresses and
    prefixes.
    """
    if not text:
        return ALL
    _known(text)
    if text.startswith("+"):
        return scope.ipset(text)
    if _ALIAS.fullmatch(text):
        return _spans(network_of(scope.alias(text)))
    parts = [_literal(part) for part in text.split(",")]
    versions = {version for version, _ in parts}
    if len(versions) > 1:
        raise WordError(f"{text} mixes IPv4 and IPv6")
    if len(parts) > 1 and "-" in text:
        raise WordError(f"{text} has a range in a list")
    return union_all(spans for _, spans in parts)


def version_of(text: str | None, scope: Scope) -> int | None:
    """Return the IP version of a source or destination; None if it has none or cannot be read."""
    if not text or text == UNKNOWN or text.startswith("+"):
        return None
    try:
        if _ALIAS.fullmatch(text):
            return network_of(scope.alias(text)).version
        return _literal(text.split(",")[0])[0]
    except (WordError, UnknownError):
        return None


def ipset(entries: Iterable[IpsetEntry], scope: Scope, added: Iterable[str] = ()) -> IPSet:
    """Return the members of an ipset; `added` are the entries that Proxmox adds itself. Raises UnknownError.

    Entries that Proxmox skips are skipped.
    """
    chosen = {text: (network, inside) for text, network, inside in written(entries, scope, added)}
    networks = [(network, inside) for network, inside in chosen.values() if isinstance(network, IPv4Network)]
    return nested((*prefix(network)[0], inside) for network, inside in networks)


def written(
    entries: Iterable[IpsetEntry], scope: Scope, added: Iterable[str] = ()
) -> Iterator[tuple[str, Prefix, bool]]:
    """Yield text, network and membership of each entry, in the order in which Proxmox writes them.

    A later entry replaces an earlier one of the same text, so an alias wins over its address.
    """
    for entry in sorted(entries, key=lambda entry: entry.cidr):
        try:
            text, network = member(entry.cidr, scope)
        except WordError:
            continue
        yield text, network, not entry.nomatch
    for cidr in added:
        yield _bare(_known(cidr)), network_of(cidr), True


def member(cidr: str, scope: Scope) -> tuple[str, Prefix]:
    """Return what Proxmox writes into the kernel's set for an entry; raises WordError or UnknownError."""
    _known(cidr)
    if _ALIAS.fullmatch(cidr):
        text = scope.alias(cidr)
        return _bare(text), network_of(text)
    return _entry(cidr)


@lru_cache(maxsize=65536)
def _entry(cidr: str) -> tuple[str, Prefix]:
    network = network_of(cidr)
    if network.prefixlen == 0:
        raise WordError(f"{cidr} is a zero prefix")
    return _bare(str(network)), network


def _bare(text: str) -> str:
    return text.removesuffix("/32").removesuffix("/128")


def set_faults(name: str, entries: Iterable[IpsetEntry], scope: Scope) -> Iterator[WordError]:
    """Yield the reasons why Proxmox refuses an ipset or a member of it, or why the kernel refuses the set."""
    if not re.fullmatch(NAME, name) or name != name.lower():
        yield WordError(f"ipset {name} is no name that Proxmox finds again: use lower-case letters")
    entries = tuple(entries)
    taken: dict[str, tuple[str, Prefix]] = {}
    for entry in entries:
        try:
            text, network = member(entry.cidr, scope)
        except UnknownError:
            continue
        except WordError as error:
            yield error
            continue
        given = entry.cidr if _ALIAS.fullmatch(entry.cidr) else text
        if given in taken:
            yield WordError(f"{entry.cidr} is in it already")
        taken[given] = text, network
    try:
        texts = {text: network for text, network, _ in written(entries, scope, scope.added(name))}
    except UnknownError:
        texts = dict(taken.values())
    held: dict[Prefix, str] = {}
    for text, network in texts.items():
        if network.prefixlen == 0:
            yield KernelError(f"the kernel takes no zero prefix ({text})")
        if network in held:
            yield KernelError(f"the kernel takes {held[network]} and {text} for one network")
        held[network] = text


def alias_faults(name: str, cidr: str) -> Iterator[WordError]:
    """Yield the reasons why Proxmox refuses an alias."""
    if not re.fullmatch(NAME, name):
        yield WordError(f"alias {name} is no name")
    try:
        network_of(_known(cidr))
    except UnknownError:
        return
    except WordError as error:
        yield error


def _known(text: str) -> str:
    if text == UNKNOWN:
        raise UnknownError
    return text


@lru_cache(maxsize=65536)
def network_of(text: str) -> Prefix:
    """Return the network of an address or prefix, with host bits or without; raises WordError."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise WordError(f"{text} is no address or network") from None
    if not _LITERAL.fullmatch(text):
        raise WordError(f"{text} is no address or network")
    decimal(f"the prefix of {text}", text.partition("/")[2])
    return network


@lru_cache(maxsize=65536)
def _literal(text: str) -> tuple[int, IPSet]:
    """Return the IP version and the addresses of one list item; raises WordError."""
    if _BEYOND.match(text):
        raise KernelError(f"iptables takes no network with more behind it ({text})")
    first, dash, last = text.partition("-")
    decimal(f"the prefix of {text}", first.partition("/")[2])
    try:
        if not dash and _LITERAL.fullmatch(first):
            network = ip_network(first)
            return network.version, _spans(network)
        low, high = ip_address(first), ip_address(last)
    except ValueError:
        raise WordError(f"{text} is no address, network or range") from None
    if low.version != high.version or int(low) > int(high):
        raise WordError(f"range {text} is backwards")
    return low.version, ((int(low), int(high)),) if isinstance(low, IPv4Address) else NONE


def _spans(network: Prefix) -> IPSet:
    return prefix(network) if isinstance(network, IPv4Network) else NONE
