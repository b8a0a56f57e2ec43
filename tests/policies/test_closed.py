"""A closed Docker host: what its rules let in is read from their text, and every way past them is refused."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import pytest

from policies.evaluate import evaluate_resource
from reachability.intent import Intent, missing, surplus
from rendered import host_rules
from resources.host_rules import entries
from resources.site import Graph
from tests.policies.sound import Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex

SSH = "ip saddr 10.10.1.0/24 tcp dport 22 accept"
CLOSED: dict[str, Any] = {
    "hosts.docker-srv.closed": True,
    "hosts.docker-srv.ports": [22, "161/udp"],
    "flows[+]": "management -> docker-srv:22/tcp",
}


def keys(changes: dict[str, Any] = CLOSED) -> dict[str, Any]:
    """Return the sound site's keys with a closed Docker host."""
    return changed(changes)


@cache
def _made() -> bytes:
    return pickle.dumps(run(keys()))


def stack() -> Stack:
    """Return a fresh copy of the sound site with a closed Docker host."""
    return Stack(resources=pickle.loads(_made()), config=keys())  # noqa: S301  # own


def text() -> str:
    """Return its rules."""
    found: str = stack().inputs("command", "host-rules")["stdin"]
    return found


def graph(rules: str) -> Graph:
    """Return the graph of the sound site with another text of its rules."""
    made = stack()
    declared = TopologyIndex.of(load(made.config))
    found = Graph(tuple(evaluate_resource(each, declared, {}).view for each in made.resources), declared)
    found.__dict__["_host_rules"] = rules
    return found


def test_a_closed_host_is_sound() -> None:
    """The pack finds nothing, and the proof says exactly what is declared about the host."""
    made = stack()
    assert made.judge().findings == ()
    found, intent = graph(text()).reachability, Intent.of(load(keys()))
    assert [*surplus(found, intent), *missing(found, intent)] == []
    into = {str(flow) for flow in found.flows() if flow.destination == "docker-srv"}
    # Proxmox-SRV is a machine of management.
    assert into == {f"{source} -> docker-srv:22/tcp" for source in ("management", "proxmox-srv")}
    assert found.explain("internet", "docker-srv", None)[1:] == (
        "  docker-srv's own rules let nothing of the kind in",
    )


def test_what_the_rules_let_in_is_read() -> None:
    """Each declared flow is an entry; an open host's rules say nothing about it."""
    assert [(str(each.source), str(each.port)) for each in entries(text()) or ()] == [
        ("10.10.1.0/24", "22/tcp")
    ]
    closed = run_rules({"hosts.docker-srv.closed": True})
    assert entries(closed) == ()
    assert entries(run_rules({})) is None


def run_rules(changes: dict[str, Any]) -> str:
    """Return the rules of the sound site with some changes."""
    return host_rules.rules(load(changed(changes)))


LAST = "    counter drop\n  }\n  chain forward"
LOOPBACK = '    iifname "lo" accept\n'
WIDER = {
    "no drop": (LAST, "  }\n  chain forward"),
    "a drop that comes too late": (LOOPBACK, f"    accept\n{LOOPBACK}"),
    "a drop of one protocol": (LAST, LAST.replace("counter drop", "meta l4proto tcp counter drop")),
    "all of management": (SSH, "ip saddr 10.10.1.0/24 accept"),
    "any source": (SSH, "tcp dport 22 accept"),
    "a range of ports": (SSH, SSH.replace("22", "22-23")),
    "a wider source": (SSH, SSH.replace("10.10.1.0/24", "0.0.0.0/1")),
    "no port at all": (SSH, SSH.replace("22", "99999")),
    "no prefix": (SSH, SSH.replace("10.10", "10.1000")),
    "another port": (SSH, SSH.replace("22", "23")),
    "another protocol": (SSH, SSH.replace("tcp", "udp")),
    "another port besides": (SSH, f"{SSH}\n    {SSH.replace('22', '2375')}"),
    "the internet": (SSH, f"{SSH}\n    ip saddr 0.0.0.0/0 tcp dport 22 accept"),
    "every interface": ('iifname "lo" accept', 'iifname != "eth0" accept'),
    "new connections": ("ct state established,related accept\n    icmpv6", "ct state new accept\n    icmpv6"),
    "every ICMPv6": ("icmpv6 type {", "icmpv6 type != {"),
    "DHCP from any port": ("67 . 68", "0-65535 . 68"),
    "another hook": ("hook input", "hook output"),
    "another priority": (
        "hook input priority filter - 10; policy accept;",
        "hook input priority filter - 10; policy accept; accept",
    ),
    "a second chain": (LAST, "    counter drop\n  }\n  chain input {\n    accept\n  }\n  chain forward"),
}  # fmt: skip
"""Changes of the rules' text: what is replaced, and by what."""


@pytest.mark.parametrize("name", WIDER)
def test_a_wider_rule_is_refused_and_followed(name: str) -> None:
    """The pack refuses the text, and the proof, which reads it, sees another site than the declared one."""
    old, new = WIDER[name]
    assert old in text()
    other = text().replace(old, new, 1)
    made = stack()
    made.inputs("command", "host-rules")["stdin"] = other
    said = [finding.message for finding in made.judge().findings]
    why = "its stdin is not that of the project's host rules"
    assert f"host-rules: command:local:Command runs a command that can't be judged: {why}" in said
    found, intent = graph(other).reachability, Intent.of(load(keys()))
    assert entries(other) is None or [*surplus(found, intent), *missing(found, intent)]


def test_an_open_hosts_rules_are_refused_for_a_closed_one() -> None:
    """Rules that leave the host open are not the declared ones, and then its port is everyone's."""
    made = stack()
    made.inputs("command", "host-rules")["stdin"] = run_rules({})
    said = [finding.message for finding in made.judge().findings]
    assert "internet -> docker-srv:22/tcp: expected DENIED, got ALLOWED via docker-srv" in " ".join(said), (
        said
    )
