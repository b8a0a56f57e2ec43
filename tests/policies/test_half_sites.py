"""Half sites: the pack accepts sound ones, and rejects on them what it rejects on the whole site."""

import copy
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import pulumi
import pytest

from resources.resource import Resource
from tests.half import docker_alone, flat, proxmox_alone
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
    """What the pack rejects on the whole site is rejected on a half, if it fits.

    Nearly always the rule gives the same messages. Where these name other services, ports or flows, this or
    another rule rejects the change.
    """
    same, accepted = [], []
    for case in CASES:
        if changed := broken(half, case):
            findings = changed.judge().findings
            accepted += [] if findings else [case.name]
            said = Counter(finding.message for finding in findings if finding.rule == case.rule)
            same += [case.name] if said == Counter(case.messages) else []
    # Without guests there are no legs, and a provider alone makes nothing.
    harmless = {"docker": ["a_leg_as_a_router"], "proxmox": ["an_engine_without_the_hosts_rules"]}
    assert accepted == harmless[half]
    assert len(same) >= SAME[half]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("gone", ["docker", "command", "proxmoxve"])
def test_a_declared_host_without_its_resources_is_rejected(half: str, gone: str) -> None:
    """Without any one kind of its resources a half site is rejected: no rule takes it for a missing half."""
    bare = stack(half)
    bare.resources = [r for r in bare.resources if r.type.partition(":")[0] != gone]
    assert bool(bare.judge().findings) is (gone in PACKAGES[half])


@pytest.mark.parametrize(
    ("half", "rule", "number"),
    [("docker", "host-rules-installed", 4), ("proxmox", "datacenter-firewalled", 1)],
)
def test_a_declared_host_without_any_resource_lacks_its_firewall(half: str, rule: str, number: int) -> None:
    """A declared host of which the stack has nothing at all still needs all of its own firewall."""
    bare = stack(half)
    bare.resources.clear()
    assert [finding.rule for finding in bare.judge().findings].count(rule) == number


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


@cache
def on_a_lan(docker: bool) -> tuple[Resource, ...]:
    """Return the program's resources for a site without VLANs, with Docker-SRV or without."""
    return tuple(run(flat(docker=docker)))


def lan(*, docker: bool) -> Stack:
    """Return a fresh copy of a sound site without VLANs."""
    resources = [replace(r, inputs=copy.deepcopy(r.inputs)) for r in on_a_lan(docker)]
    return Stack(resources=resources, config=flat(docker=docker))


@pytest.mark.parametrize("docker", [True, False])
def test_a_sound_site_without_vlans_has_no_finding(docker: bool) -> None:
    """Guests without a tag, on a bridge that the node has or the stack makes, are a sound site."""
    assert lan(docker=docker).judge().findings == ()
    config = flat(docker=docker)
    config["hosts"]["proxmox-srv"] |= {"existing-bridge": False, "bridge": "vmbr1", "uplink": "enp2s0"}
    made = Stack(resources=run(config), config=config)
    bridge = made.inputs("bridge", "vmbr1")
    assert (bridge["vlanAware"], "vids" in bridge) == (False, False)
    assert "vlanId" not in made.inputs("vm", "site-1")["networkDevices"][0]
    assert made.judge().findings == ()


@pytest.mark.parametrize("docker", [True, False])
def test_guests_on_a_lan_are_protected_by_their_firewalls_alone(docker: bool) -> None:
    """Without its firewall a guest is open to the LAN; where all of the LAN is management, to management."""
    open_ = lan(docker=docker)
    open_.inputs("vm", "site-2")["networkDevices"][0]["firewall"] = False
    said = {finding.subject for finding in open_.judge().findings}
    assert {f"{source} -> site-2:*" for source in ("management", *(["lan"] if docker else []))} <= said


def test_a_rule_for_the_whole_lan_is_rejected() -> None:
    """A rule of a guest that accepts the LAN instead of management opens an undeclared flow."""
    wide = lan(docker=True)
    wide.inputs("group", "site-1")["rules"][0]["source"] = "10.10.10.0/24"
    said = {finding.rule for finding in wide.judge().findings if "lan -> site-1:443/tcp" in finding.message}
    assert said == {"roles-hold"}


def test_the_ingress_on_managements_network_is_rejected() -> None:
    """An ingress whose own address on the LAN is management's reaches what management reaches."""
    config = flat()
    config["zones"]["management"]["prefix"] = config["zones"]["lan"]["prefix"]
    said = {finding.subject for finding in Stack(resources=run(config), config=config).judge().findings}
    assert said == {"traefik -> proxmox-srv:8006/tcp", "traefik -> proxmox-srv:22/tcp"}


@pytest.mark.parametrize(
    ("kind", "name", "change", "message"),
    [
        (
            "vm",
            "site-1",
            {"networkDevices": [{"bridge": "vmbr0", "firewall": True, "vlanId": 7}]},
            "net0: VLAN 7 is",
        ),
        (
            "vm",
            "site-1",
            {"networkDevices": [{"bridge": "vmbr0", "firewall": True, "trunks": "7"}]},
            "net0: trunks 7",
        ),
        ("vm", "site-1", {"networkDevices": [{"bridge": "vmbr9", "firewall": True}]}, "is on bridge vmbr9"),
        ("network", "lan", {"driver": "bridge"}, "driver bridge is not macvlan, so it is no leg on lan"),
        ("network", "lan", {"options": {"parent": "trunk.7"}}, "parent trunk.7 is not trunk"),
        ("network", "lan", {"internal": False}, "internal is off"),
    ],
)
def test_what_breaks_a_flat_site_is_rejected(
    kind: str, name: str, change: dict[str, Any], message: str
) -> None:
    """Tags, trunks, other bridges and other parents than the declared ones are findings."""
    broken = lan(docker=True)
    broken.inputs(kind, name).update(change)
    assert any(f"{name}: {message}" in finding.message for finding in broken.judge().findings)


def test_a_vlan_aware_bridge_is_rejected_on_a_flat_site() -> None:
    """A guest without a tag would see every VLAN of a VLAN-aware bridge."""
    config = flat()
    config["hosts"]["proxmox-srv"] |= {"existing-bridge": False, "bridge": "vmbr1"}
    aware = Stack(resources=run(config), config=config)
    aware.inputs("bridge", "vmbr1").update(vlanAware=True, vids="7")
    assert [finding.message for finding in aware.judge().findings] == [
        "vmbr1: vlanAware is on, so guests without a tag see every VLAN of it",
        "vmbr1: vids carries VLAN 7, which is no declared zone",
    ]
