"""Each rule rejects its stacks with exact messages, and no other rule does so in its place."""

from collections import Counter
from typing import Any

import pytest

from policies.rule import RULES
from resources.proxmox_guests import GUESTS, VirtualMachine
from tests import findings
from tests.policies.rejected import ALLOY, CASES, ROUTES, Case, alloy, upload
from tests.policies.sound import Stack, run, sound, with_acme
from tests.site import configuration

FAILED = "can't be judged ("
"""A part of the message of a rule that raised an exception."""


def said(stack: Stack, name: str, rules: set[str]) -> Counter[str]:
    """Return a rule's messages about a stack when only some rules run."""
    chosen = {name: rule for name, rule in RULES.items() if name in rules}
    return Counter(
        finding.message for finding in stack.judge_changes(chosen).findings if finding.rule == name
    )


def test_the_sound_stack_has_no_finding() -> None:
    """The stack that every case breaks has no finding."""
    assert sound().judge().findings == ()


@pytest.mark.parametrize("acme", [{}, {"challenge": "http"}], ids=["dns", "http"])
def test_a_sound_stack_with_acme_has_no_finding(acme: dict[str, Any]) -> None:
    """A sound stack with ACME certificates, and the egress that they need, has no finding."""
    config = with_acme(configuration(), **acme)
    assert Stack(resources=run(config), config=config).judge().findings == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.name}")
def test_the_stack_is_rejected(case: Case) -> None:
    """The rule gives exactly these messages about the broken stack, and no other rule gives them."""
    stack, every = sound(), set(RULES)
    case.change(stack)
    assert (said(stack, case.rule, every), said(stack, case.rule, every - {case.rule})) == (
        Counter(case.messages),
        Counter(),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.name}")
def test_no_rule_fails_beside(case: Case) -> None:
    """No rule ends in an error on a broken stack, except where the case expects that.

    The findings of all rules are those of the last commit.
    """
    stack = sound()
    case.change(stack)
    found = stack.judge_changes().findings
    failed = {each.message for each in found if FAILED in each.message}
    assert failed - {*case.messages} == set()
    assert findings.changed(findings.of_case(case.name, found)) == []


def test_every_rule_has_a_stack_that_it_rejects() -> None:
    """Every rule has a stack that it rejects, and every such stack has a rule."""
    assert {case.rule for case in CASES} == set(RULES)


def test_a_rule_about_virtual_machines_is_about_every_guest() -> None:
    """No rule forgets what Proxmox makes for another kind of guest."""
    kinds = set(GUESTS.values())
    about = {rule.name: set(rule.on) for rule in RULES.values() if VirtualMachine in rule.on}
    assert about
    # A router is a virtual machine.
    assert {name for name, on in about.items() if not kinds <= on} == {"router-machine-as-declared"}


def test_no_line_of_an_alloys_certificates_can_change() -> None:
    """Removing or changing any line of Alloy's endpoint is a finding."""
    stack = sound()
    alloy(stack)
    assert stack.judge().findings == ()
    given = upload(stack, "promtail", ALLOY)
    text = given["content"]
    lines = text.partition("endpoint {")[2].splitlines(keepends=True)
    said = [line for line in lines if "=" in line and "min_version" not in line]
    assert len(said) == 5
    for old, new in [(line, other) for line in said for other in ("", line.replace(' = "', ' = "x'))]:
        given["content"] = text.replace(old, new)
        assert stack.judge_changes().findings, (old, new)


def test_an_admin_page_is_passed_while_it_is_declared() -> None:
    """Until its end date a declared admin page is not excluded from the routes, and there is no finding."""
    stack = sound()
    page = {"until": "2026-11-23", "reason": "a reason to test"}
    stack.config["services"]["vaultwarden"]["admin-page"] = page
    stack.resources[:] = run(stack.config)
    assert "admin" not in upload(stack, "traefik", ROUTES)["content"]
    assert stack.judge().findings == ()


DEFECTS = {
    "cAdvisor published on 8081 on all interfaces": "cadvisor_published_on_all_interfaces",
    "Node Exporter on host networking": "node_exporter_on_host_networking",
    "Loki on Traefik's network": "loki_on_the_ingresss_network",
    "Loki with a router and no auth": "loki_with_a_router_and_no_authentication",
    "the whole Prometheus on Traefik's network": "the_whole_prometheus_on_the_ingresss_network",
    "no Docker network internal": "no_docker_network_internal",
    "a random published port": "a_random_published_port",
    "storage admin ports on 0.0.0.0": "storage_administration_published",
    "entrypoints published that don't exist": "a_published_entrypoint_that_does_not_exist",
    "the dashboard routed without auth": "the_dashboard_without_authentication",
    "routers made for services that are switched off, on the management network": (
        "a_router_to_something_switched_off_on_the_management_network"
    ),
    "docker.sock mounted": "the_docker_socket_read_only",
    "no default drop between VLANs": "guest_options_left_open",
    "accept rules without port or protocol": "an_accept_rule_without_port_or_protocol",
    "a trunk wider than used": "a_trunk_wider_than_used",
    "no Proxmox firewall at all": "no_proxmox_firewall_at_all",
    "vlan_id declared but never passed to the network card": "a_vlan_that_never_reaches_the_card",
    "scrape targets that can never work": "scrape_targets_that_can_never_work",
    "log paths that can never work": "a_log_path_that_can_never_work",
    "certificate resolvers that don't exist": "names_that_nothing_defines",
    "multi-network containers whose Traefik network is ambiguous": "an_ambiguous_network_for_traefik",
    "images latest": "an_image_that_moves",
    "the backup password inside the backed-up folder": "the_backup_password_inside_the_backed_up_folder",
    "certificate checks switched off": "certificate_checks_switched_off",
}
"""Defects found in real homelabs, and their cases; "no verification at all" is not a resource."""


def test_every_known_defect_is_a_rejected_stack() -> None:
    """Every known defect of real homelabs has a rejected stack."""
    assert set(DEFECTS.values()) - {case.name for case in CASES} == set()
