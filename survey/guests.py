"""Adds what a Proxmox API knows to a Docker host's facts, and weighs who reaches its nodes and guests.

Note: VLANs meet at a router that is not read, so it counts as letting everything through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import reachability.facts as fact
from reachability.engine import Reachability
from survey.finding import SurveyFinding, SurveySeverity
from survey.proxmox import RunningProxmox, SeenGuest
from topology.model import INTERNET, Port

_ANY = Port(number=61_321)
"""A port that no rule names by itself: what reaches it reaches every port."""
_FIRST = "first allow your own address there, or you lock yourself out"


def joined(facts: fact.Facts, found: RunningProxmox) -> fact.Facts:
    """Return facts with those of a Proxmox API; names that both have get the guest's number."""
    taken = {each.name for things in (facts.outsides, facts.hosts, facts.containers) for each in things}
    lans = dict(_lans(facts, found))
    added = {
        name: fact.Outside(name=name, origin=found.url, prefix=prefix)
        for name, prefix in lans.values()
        if name not in taken
    }
    known = {each.name for each in facts.outsides}
    if INTERNET not in known:
        added[INTERNET] = fact.Outside(name=INTERNET, origin=found.url, inbound=False)
    vlans = dict.fromkeys((*lans, *(vlan for guest in found.guests for vlan in guest.routed)))
    segments: tuple[fact.Segment, ...] = (*vlans, *known, *added)
    return replace(
        facts,
        outsides=(*facts.outsides, *added.values()),
        hosts=(*facts.hosts, *(replace(each, name=_free(each.name, taken, "node")) for each in found.nodes)),
        guests=tuple(
            replace(each.guest, name=name)
            for name, each in zip(
                _names({*taken, *added, *(n.name for n in found.nodes)}, found), found.guests, strict=True
            )
        ),
        gateways=(fact.Gateway(name="router", origin=found.url, segments=segments),),
        datacenter=found.datacenter,
    )


def _names(taken: set[str], found: RunningProxmox) -> Iterator[str]:
    """Yield each guest's name among the facts."""
    for guest in found.guests:
        name = _free(guest.guest.name, taken, f"{guest.kind} {guest.number}")
        taken = {*taken, name}
        yield name


def _free(name: str, taken: set[str], what: str) -> str:
    return f"{name} ({what})" if name in taken else name


def _lans(facts: fact.Facts, found: RunningProxmox) -> Iterator[tuple[fact.Vlan, tuple[str, IPv4Network]]]:
    """Yield each node's own VLAN with the name of the machines there, the Docker host's name if it is one."""
    known = {outside.prefix: outside.name for outside in facts.outsides if outside.prefix}
    for vlan, prefix in found.lans.items():
        yield vlan, (known.get(prefix, f"lan-{vlan}"), prefix)


def findings(found: RunningProxmox, reachability: Reachability) -> Iterator[SurveyFinding]:
    """Yield a finding for each guest whose every port is open, with the first switch that is off.

    A datacenter's firewall that is off is one finding about all of them.
    """
    facts = reachability.facts
    outsides = [each.name for each in facts.outsides if each.inbound]
    called = {guest.name: seen for guest, seen in zip(facts.guests, found.guests, strict=True)}
    ways = {name: _way(name, outsides, reachability) for name in called}
    opened = {name: way for name, way in ways.items() if way}
    groups = [[name] for name in opened] if found.datacenter.enabled else [list(opened)] if opened else []
    for group in groups:
        sources = tuple(dict.fromkeys(source for name in group for source in opened[name][0]))
        why, change = _closes(found, called[group[0]])
        yield SurveyFinding(
            rule="guest-open" if found.datacenter.enabled else "proxmox-firewall-off",
            severity=SurveySeverity.HIGH if set(sources) & set(outsides) else SurveySeverity.MEDIUM,
            sources=sources,
            destination=", ".join(group),
            port="*",
            path=opened[group[0]][1],
            why=why,
            change=change,
        )


def _way(name: str, outsides: list[str], reachability: Reachability) -> tuple[tuple[str, ...], str] | None:
    """Return who reaches every port of a guest, and how: machines outside, else others of the site."""
    answers = {
        source: reachability.evaluate(source, name, _ANY) for source in reachability.names if source != name
    }
    traces = {source: answer.trace for source, answer in answers.items() if answer.allowed}
    near = tuple(source for source in traces if source in outsides) or tuple(traces)
    return (near, str(traces[near[0]])) if near else None


def _closes(found: RunningProxmox, guest: SeenGuest) -> tuple[str, str]:
    """Return why a guest is open, and the change that closes it: the first switch that is off."""
    own, path = guest.guest.firewall, f"{guest.path}/firewall"
    if not found.datacenter.enabled:
        return (
            "the datacenter's firewall is off, so nothing filters guests and nodes",
            f"pvesh set /cluster/firewall/options --enable 1 ({_FIRST})",
        )
    if not own.enabled:
        return "its firewall is off", f"pvesh set {path}/options --enable 1 ({_FIRST})"
    for nic in guest.guest.nics:
        if not nic.firewall:
            command = "pct" if guest.kind == "lxc" else "qm"
            card = f"{guest.cards[nic.name]},firewall=1"
            change = f"{command} set {guest.number} --{nic.name} {card} ({_FIRST})"
            return f"the firewall is off at its card {nic.name}", change
    if own.input_policy == "ACCEPT":
        return (
            "its firewall accepts what no rule names",
            f"pvesh set {path}/options --policy_in DROP ({_FIRST})",
        )
    return "a rule accepts every port", f"name protocol, port and source in its rules ({path}/rules)"
