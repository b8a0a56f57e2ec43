"""Half sites: the pack accepts sound ones, and rejects on them what it rejects on the whole site."""

import copy
from collections import Counter
from dataclasses import replace
from functools import cache

import pulumi
import pytest

from resources.resource import Resource
from tests.half import docker_alone, proxmox_alone
from tests.policies.rejected import CASES, Case
from tests.policies.sound import Stack, run
from tests.site import configuration
from topology.config import ConfigError, load
from topology.outputs import outputs

HALVES = {"docker": docker_alone, "proxmox": proxmox_alone}
SAME = {"docker": 120, "proxmox": 50}
"""How many of the changes give the same messages on a half, at least."""
PACKAGES = {"docker": {"docker", "command", "tls"}, "proxmox": {"proxmoxve"}}


@cache
def made(half: str) -> tuple[Resource, ...]:
    """Return the program's resources for a half site."""
    return tuple(run(HALVES[half]()))


def stack(half: str) -> Stack:
    """Return a fresh copy of a sound half site."""
    return Stack(
        resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made(half)], config=HALVES[half]()
    )


def broken(half: str, case: Case) -> Stack | None:
    """Return the half site after a case's change; None if the change is about the other half alone."""
    changed = stack(half)
    try:
        case.change(changed)
        changed.topology = changed.topology or load(changed.config)
    except (AttributeError, ConfigError, LookupError, ValueError, pulumi.RunError):
        return None
    same = changed.config == HALVES[half]() and changed.resources == list(made(half))
    return None if same or len(changed.config["hosts"]) == 2 else changed


@pytest.mark.parametrize("half", HALVES)
def test_a_sound_half_site_has_no_finding(half: str) -> None:
    """The program makes a half site of resources for its host alone, and the pack finds nothing."""
    assert {r.type.partition(":")[0] for r in made(half) if r.provider} == PACKAGES[half]
    assert stack(half).judge().findings == ()


@pytest.mark.parametrize("half", HALVES)
def test_what_breaks_the_whole_site_breaks_a_half(half: str) -> None:
    """Every change that the pack rejects on the whole site and that fits a half is rejected.

    Nearly always the rule gives the same messages. Where other services, ports or flows are named in them, its
    own or another rule rejects the change.
    """
    same, accepted = [], []
    for case in CASES:
        if changed := broken(half, case):
            findings = changed.judge().findings
            accepted += [] if findings else [case.name]
            said = Counter(finding.message for finding in findings if finding.rule == case.rule)
            same += [case.name] if said == Counter(case.messages) else []
    assert accepted == []
    assert len(same) >= SAME[half]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("gone", ["docker", "command", "proxmoxve"])
def test_a_declared_host_without_its_resources_is_rejected(half: str, gone: str) -> None:
    """Without any one kind of its resources a half site is rejected: no rule takes it for a missing half."""
    bare = stack(half)
    bare.resources = [r for r in bare.resources if r.type.partition(":")[0] != gone]
    assert bool(bare.judge().findings) is (gone in PACKAGES[half])


KINDS = {(r.type, half): r.name for half in HALVES for r in made(half) if r.provider and "tls:" not in r.type}


@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_a_resource_of_the_other_half_is_rejected(kind: str, other: str) -> None:
    """A resource of every kind that the other host has is rejected, although no zone or flow is about it."""
    mixed, name = stack("proxmox" if other == "docker" else "docker"), KINDS[kind, other]
    mixed.resources += [r for r in made(other) if (r.type, r.name) == (kind, name)]
    said = [finding for finding in mixed.judge().findings if finding.subject == name]
    wanted = "commands-are-our-own" if kind.startswith("command:") else "hosts-declared"
    assert wanted in {finding.rule for finding in said}


def test_outputs_of_a_half() -> None:
    """A site without Docker-SRV has neither `ingress` nor `urls`; one without Proxmox-SRV has all."""
    whole = {*outputs(load(configuration()))}
    assert {*outputs(load(docker_alone()))} == whole
    assert whole - {*outputs(load(proxmox_alone()))} == {"ingress", "urls"}
