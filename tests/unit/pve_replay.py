"""Configurations of Proxmox's firewall with the verdicts of Proxmox's own code, read by the pack."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import reachability.facts as fact
from reachability.address_sets import contains
from reachability.faults import RulesOwner, group_faults, rule_faults
from reachability.rules import Chain, Firewall
from resources.resource import Resource
from resources.site import Graph
from resources.typed import TypedResource, view
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Protocol

CORPUS = Path(__file__).parent / "pve_firewall"


def cases(*files: str) -> Iterator[Case]:
    """Yield the configurations of some files of the corpus."""
    for name in files:
        path = CORPUS / name
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in text.splitlines():
            yield Case(json.loads(line))


@cache
def _declared() -> TopologyIndex:
    """Return a site whose Proxmox node is the corpus's."""
    config = configuration()
    config["hosts"]["proxmox-srv"]["node"] = "pve1"
    return TopologyIndex.of(load(config))


class Case:
    """One configuration, converted from resources to facts by the pack's own code."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.id: str = data["id"]
        self.packets: list[dict[str, Any]] = data["packets"]
        self.unfiltered: list[dict[str, Any]] = data.get("unfiltered", [])
        self.applied: bool = data.get("applied", True)
        self._data = data

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        """Return resources in the engine's form; URNs are unique by type and name."""
        return tuple(
            Resource(
                urn=f"urn:pulumi:dev::homelab-network::{each['type']}::{each['name']}",
                type=each["type"],
                name=each["name"],
                inputs=each["inputs"],
                provider="proxmoxve",
            )
            for each in self._data["resources"]
        )

    @cached_property
    def graph(self) -> Graph:
        """Return the pack's graph of the resources."""
        views: list[TypedResource[Any]] = [view(resource) for resource in self.resources]
        assert [fault for each in views for fault in each.faults] == []
        return Graph(tuple(views), _declared())

    @cached_property
    def facts(self) -> fact.Facts:
        """Return the graph's facts, with the node's local network, which no resource has."""
        found = self.graph.facts
        assert found.datacenter is not None
        local = IPv4Network(self._data["node_network"])
        return replace(found, datacenter=replace(found.datacenter, local_network=local))

    @cached_property
    def firewall(self) -> Firewall:
        """Return the engine's firewall for these facts."""
        return Firewall.of(self.facts)

    @cached_property
    def node(self) -> fact.Host:
        """Return the Proxmox node."""
        (found,) = (host for host in self.facts.hosts if host.firewall is not None)
        return found

    @cached_property
    def cards(self) -> Mapping[tuple[int, int], tuple[fact.GuestFact, fact.Nic]]:
        """Return guests and their cards by the guest's id and the card's number."""
        names = {guest.name: guest for guest in self.facts.guests}
        return {
            (each.inputs.vm_id, index): (guest, nic)
            for each in self.graph.guests
            for guest in (names[each.inputs.name],)
            for index in range(len(each.inputs.cards))
            for nic in guest.nics
            if nic.name == f"net{index}"
        }

    def chains(self, packet: Mapping[str, Any]) -> Iterator[Chain | None]:
        """Yield the chains that a packet passes, sender first."""
        source, dest = packet["from"], packet["to"]
        marked = False
        if source["kind"] == "guest":
            guest, nic = self.cards[source["id"], source["net"]]
            marked = self.firewall.marks(guest, nic)
            yield self.firewall.outbound(guest, nic)
        elif source["kind"] == "node":
            yield self.firewall.node_outbound(self.node, source["iface"])
        if dest["kind"] == "guest":
            yield self.firewall.inbound(*self.cards[dest["id"], dest["net"]])
        elif dest["kind"] == "node":
            inbound = self.firewall.node_inbound(self.node, dest["iface"])
            yield (marked and self.firewall.node_marked(self.node, dest["iface"])) or inbound

    def allows(self, packet: Mapping[str, Any]) -> bool:
        """Whether the engine lets a packet pass, with any source port."""
        source, dest = (int(IPv4Address(packet[end]["address"])) for end in ("from", "to"))
        protocol, number = numbers(packet)
        if packet["from"]["kind"] == "guest":
            card = self.cards[packet["from"]["id"], packet["from"]["net"]]
            if not contains(self.firewall.sources(*card), source):
                return False
        return all(
            contains(chain.walk(protocol, number, dest).accepted, source)
            for chain in self.chains(packet)
            if chain is not None
        )


def numbers(packet: Mapping[str, Any]) -> tuple[Protocol | int, int]:
    """Return a packet's protocol and port, or type and code, as the engine numbers them."""
    if packet["proto"] in ("tcp", "udp"):
        return Protocol(packet["proto"]), packet["dport"]
    if packet["proto"] == "icmp":
        return 1, packet["icmp"]["type"] * 256 + packet["icmp"]["code"]
    return int(packet["proto"]), packet.get("dport", 0)


LATITUDE = (
    "the sender's source port",
    "hardware address",
    "group that the stack does not have",
    "group that cannot be built",
    "rule that is left out",
    "container without an address",
)
"""Why the engine allows a packet that Proxmox stops, by the names in docs/reachability.md."""


def latitude(case: Case, packet: Mapping[str, Any]) -> str | None:
    """Return why the engine allows a packet that Proxmox stops, or None without an explanation."""
    if "passes_with_sport" in packet:
        return LATITUDE[0]
    if "mac" in packet["from"] or "mac" in packet:
        return LATITUDE[1]
    outward = packet["at"] in ("sender", "node-out")
    end = packet["from"] if outward else packet["to"]
    assert case.facts.datacenter is not None
    if end["kind"] == "node":
        assert case.node.firewall is not None
        rules, owner, scope = case.node.firewall.rules, RulesOwner.NODE, case.graph.scope(None)
        rules += case.facts.datacenter.rules
    else:
        guest, nic = case.cards[end["id"], end["net"]]
        rules, owner, scope = guest.firewall.rules, RulesOwner.GUEST, case.graph.scope(end["id"])
        if outward and guest.lxc and nic.address is None:
            return LATITUDE[5]
    used = [rule for rule in rules if rule.enabled]
    groups = {rule.group for rule in used if rule.type == "group"}
    held = case.facts.datacenter.groups
    shared = case.graph.scope(None)
    if any(name and next(group_faults(name, held.get(name, ()), shared), None) for name in groups):
        return LATITUDE[3]
    if groups - set(held):
        return LATITUDE[2]
    return LATITUDE[4] if any(next(rule_faults(rule, scope, owner), None) for rule in used) else None
