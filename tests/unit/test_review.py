"""The text of a review, and its SARIF for code scanning."""

import json
from typing import Any

import pytest

from policies.changes import changes
from policies.markdown import markdown
from policies.review import FlowChange, Review, sarif, sensitive
from policies.rule import RULES, Finding, Severity
from reachability.result import Connection, EdgeKind, Trace
from resources.inventory import SHARED, Item, Kind
from tests.egress import with_egress, with_machines
from tests.policies.sound import with_acme
from tests.routers import routed
from tests.site import FILE, configuration
from topology.config import load
from topology.model import Port

STACK = FILE.name
TEXT = FILE.read_text(encoding="utf-8")


def finding(rule: str, subject: str, text: str = "is wrong") -> Finding:
    """Return a finding."""
    return Finding(rule=rule, subject=subject, message=f"{subject}: {text}")


def reviewed(*findings: Finding, opened: tuple[FlowChange, ...] = ()) -> Review:
    """Return a review without closed flows."""
    return Review(file=STACK, new=False, opened=opened, closed=(), findings=findings)


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("loki-gateway", "backend, query"),
        ("cadvisor", "backend"),
        ("vaultwarden", "isolated"),
        ("proxmox-srv", "management host"),
        ("docker-srv", "management host"),
        ("management", "management"),
        ("stranger", "not declared"),
        ("grafana", ""),
        ("traefik", ""),
        ("site-1", ""),
        ("internet", ""),
    ],
)
def test_what_is_sensitive_is_a_rule_by_role(destination: str, why: str) -> None:
    """Zones of role backend, query, isolated and management are sensitive; frontend and tenant are not."""
    assert sensitive(load(configuration()), "traefik", destination) == why


@pytest.mark.parametrize("destination", ["internet", "site-1", "grafana"])
def test_every_way_out_of_an_isolated_guest_is_sensitive(destination: str) -> None:
    """Each flow from an isolated guest is sensitive; a tenant's way out is not."""
    assert sensitive(load(configuration()), "vaultwarden", destination) == "egress of an isolated guest"
    assert not sensitive(load(configuration()), "site-1", "internet")


def test_a_containers_way_to_external_machines_is_sensitive() -> None:
    """What a container on an inner zone asks of machines outside may carry data of that zone."""
    site = load(with_machines(configuration()))
    assert sensitive(site, "crawler", "machines") == "backend, egress"
    assert not sensitive(site, "site-1", "machines")


def test_a_way_out_is_sensitive() -> None:
    """A container's flow to the internet is marked with its zones' sensitive roles; the ingress's is not."""
    site = load(with_egress(with_acme(configuration()), "site-1 -> internet:443/tcp"))
    found = {flow.source: sensitive(site, flow.source, "internet") for flow in site.flows_to("internet")}
    assert {name: why for name, why in found.items() if why} == {
        "paperless": "egress",
        "crawler": "backend, egress",
    }


def test_a_way_in_beside_the_ingress_is_sensitive() -> None:
    """A guest that the internet reaches by the router's port is marked, and no other source of its."""
    site = load(routed())
    assert sensitive(site, "internet", "jellyfin") == "a way in beside the ingress"
    assert not sensitive(site, "household", "jellyfin")
    assert not sensitive(site, "internet", "site-1")


def test_text_can_not_leave_its_cell() -> None:
    """A message with Markdown's characters is shown unchanged, in one cell of one line."""
    (line,) = (
        line for line in markdown(reviewed(finding("no-devices", "a|b", "`x`\n| y |"))) if "a\\|b" in line
    )
    assert line.startswith("| no-devices | ")
    assert "| `a\\|b: 'x' \\| y \\|` |" in line


def run(*findings: Finding) -> dict[str, Any]:
    """Return the one run of the SARIF for some findings."""
    log = json.loads(sarif(reviewed(*findings), TEXT))
    assert log["version"] == "2.1.0"
    (only,) = log["runs"]
    assert isinstance(only, dict)
    return only


def test_every_rule_is_described_for_code_scanning() -> None:
    """Each rule has an id, texts, a level and a score that fits its severity."""
    rules = run()["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    bounds = {Severity.MEDIUM: (4.0, 7.0), Severity.HIGH: (7.0, 9.0), Severity.CRITICAL: (9.0, 10.0)}
    for rule in rules:
        ours = RULES[rule["id"]]
        assert rule["shortDescription"]["text"] == rule["fullDescription"]["text"] == ours.obligation
        assert rule["help"]["text"] == ours.remedy
        assert rule["defaultConfiguration"]["level"] in {"warning", "error"}
        low, high = bounds[ours.severity]
        assert low <= float(rule["properties"]["security-severity"]) < high


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ("grafana -> loki-gateway:3100/tcp", "    - grafana -> loki-gateway:3100/tcp"),
        ("internet -> loki:3100/tcp", "    loki:"),
        ("traefik -> docker-srv:*", "    docker-srv:"),
        ("vaultwarden", "    vaultwarden: {zone: vault"),
        ("stack", TEXT.partition("\n")[0]),
    ],
)
def test_a_finding_is_a_result_at_its_place(subject: str, line: str) -> None:
    """A result names its rule, the stack file and the line of its subject."""
    (result,) = run(finding("undeclared-flows", subject))["results"]
    assert result["ruleId"] == list(RULES)[result["ruleIndex"]] == "undeclared-flows"
    assert (result["level"], result["message"]) == ("error", {"text": f"{subject}: is wrong"})
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": STACK}
    assert TEXT.splitlines()[location["physicalLocation"]["region"]["startLine"] - 1].startswith(line)


def test_results_at_one_place_are_told_apart() -> None:
    """Two findings about one service have different fingerprints, which are the same on every run."""
    both = (finding("no-devices", "loki", "one"), finding("no-devices", "loki", "two"))
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run(*both)["results"]]
    again = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run(*both)["results"]]
    assert (len(set(prints)), prints) == (2, again)


def test_stacks_do_not_overwrite_each_others_alerts() -> None:
    """Each stack's results are a separate analysis."""
    assert run()["automationDetails"] == {"id": f"{STACK}/"}


def test_what_opens_is_told_first() -> None:
    """A review has the declared flows, then findings, then what follows, each flow with its trace."""
    flow = Connection(
        source="a",
        destination="b",
        port=Port(number=80),
        how=EdgeKind.VLAN,
        trace=Trace(("x", "b")),
        origin="",
    )
    review = Review(
        file=STACK,
        new=False,
        opened=(FlowChange(flow=flow, standing="declared"), FlowChange(flow=flow, standing="follows")),
        closed=(FlowChange(flow=flow, standing="declared"),),
        findings=(finding("no-devices", "loki"),),
    )
    lines = list(markdown(review))
    heads = ("**", "### ", "<details>", "</details>", "| opens", "| closes")
    assert [line for line in lines if line.startswith(heads)] == [
        "**sound:** **Refused** by 1 finding. Opens: `a -> b:80/tcp`. Closes: `a -> b:80/tcp`.",
        "### Flows",
        "| opens | `a -> b:80/tcp` | `x -> b` | declared |  |",
        "| closes | `a -> b:80/tcp` | `x -> b` | declared |  |",
        "### Findings",
        "<details><summary>What follows: 1 flow</summary>",
        "| opens | `a -> b:80/tcp` | `x -> b` | follows |  |",
        "</details>",
    ]


def test_a_volume_of_anothers_is_told_first() -> None:
    """A review's first paragraph says that a service mounts what another writes, or no longer does."""
    alone, sharing = Item(traits={"app": "none"}), Item(traits={"app": "none", SHARED: "cloud-files"})
    for before, after, told in (
        ({}, {"backup": sharing}, "backup mounts `cloud-files`, which other services write"),
        ({"backup": alone}, {"backup": sharing}, "backup mounts `cloud-files`, which other services write"),
        (
            {"backup": sharing},
            {"backup": alone},
            "backup no longer mounts `cloud-files`, which other services write",
        ),
    ):
        found = changes({Kind.SERVICE: before}, {Kind.SERVICE: after})
        assert told in [each.leading for each in found]
