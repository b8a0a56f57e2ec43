"""Proxmox's own verdicts, packet by packet, against the engine with the pack's facts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

import policies.evaluate  # registers every rule
from policies.rule import RULES, Severity
from resources.typed import TypedResource
from tests.counted import Record, counted
from tests.unit.pve_replay import LATITUDE, Case, cases, latitude
from topology.project import PROJECT

WHOLE = ("hand.jsonl", "random.jsonl.gz")
AGREE, NARROWER, WIDER = (
    "agree",
    "denied, though Proxmox accepts",
    "allowed for no written reason",
)
assert policies.evaluate


@cache
def verdicts() -> Counter[str]:
    """Return how many packets agree, and why others do not."""
    found: Counter[str] = Counter()
    for case in cases(*WHOLE):
        found.update(compared(case, packet) for packet in case.packets)
    return found


def compared(case: Case, packet: Mapping[str, Any]) -> str:
    """Return whether the engine agrees with Proxmox about a packet, or why not."""
    allowed, accepted = case.allows(packet), packet["verdict"] == "ACCEPT"
    if allowed == accepted:
        return AGREE
    return NARROWER if accepted else latitude(case, packet) or WIDER


def test_nothing_is_denied_that_proxmox_accepts() -> None:
    """The engine denies no packet of the corpus that Proxmox accepts."""
    assert sum(verdicts().values()) == 8844
    assert verdicts()[NARROWER] == 0


def test_what_is_allowed_beyond_proxmox_is_written_down(
    record_property: Record,
) -> None:
    """docs/reachability.md lists each kind of packet that only the engine allows, with the number."""
    text = (PROJECT / "docs" / "reachability.md").read_text(encoding="utf-8")
    section = (
        text.partition("### Where the engine allows more than Proxmox")[2]
        .partition("\n## ")[0]
        .partition("\n### ")[0]
    )
    documented = {
        name: int(count)
        for name, count in re.findall(r"^\| ([^|]+) \| (\d+) \| [^|]+\|$", section, re.MULTILINE)
    }
    assert documented == {kind: count for kind, count in verdicts().items() if kind != AGREE}
    assert set(documented) <= set(LATITUDE)
    assert f"{verdicts()[AGREE]:,} of {sum(verdicts().values()):,}" in section
    kinds = (AGREE, NARROWER, WIDER, *documented)
    counted(record_property, "packets of Proxmox's verdicts", {kind: verdicts()[kind] for kind in kinds})


BROKEN = {case.id: case for case in cases("broken.jsonl")}


@pytest.mark.parametrize("name", BROKEN)
def test_what_proxmox_cannot_build_is_critical(name: str) -> None:
    """A configuration that Proxmox refuses, or fails on, violates a critical rule."""
    rule = RULES["firewall-can-be-built"]
    assert rule.severity is Severity.CRITICAL
    found: list[tuple[TypedResource[Any] | str, str]] = list(rule.check(BROKEN[name].graph))
    assert found


@pytest.mark.parametrize("name", BROKEN)
def test_what_proxmox_cannot_build_denies_nothing(name: str) -> None:
    """For such a configuration the engine denies no packet that Proxmox accepts."""
    case = BROKEN[name]
    assert [p for p in case.packets if p["verdict"] == "ACCEPT" and not case.allows(p)] == []


def test_a_guest_without_chains_is_open() -> None:
    """A card that Proxmox leaves unfiltered is open in the engine; an update that fails opens every card."""
    for case in cases(*WHOLE):
        for left in case.unfiltered:
            guest, nic = case.cards[left["id"], left["net"]]
            chain = (
                case.firewall.inbound(guest, nic)
                if left["way"] == "in"
                else case.firewall.outbound(guest, nic)
            )
            assert chain is None or chain.accept, case.id
    for case in BROKEN.values():
        if not case.applied:
            assert case.firewall.blocked, case.id


def test_a_sound_configuration_can_be_built() -> None:
    """A configuration that Proxmox builds without a fault does not violate the rule."""
    rule, quiet = RULES["firewall-can-be-built"], 0
    for case in cases("hand.jsonl"):
        if not case.id.startswith(("hand-fail", "hand-group-missing")):
            assert list(rule.check(case.graph)) == [], case.id
            quiet += 1
    assert quiet > 50
