"""What changes of the running stack preserve: data, guests, and every denial while rules are replaced."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from lab.__main__ import environment
from lab.errors import LabError
from lab.stack import Stack
from rendered import host_rules
from tests.live.sabotage import NODE, TOPOLOGY, api, set_options
from tests.live.site import Site, command, eventually, make, updated
from tests.live.window import watched
from verify import namespaces

HOST_PORT = 9997


# ----------------------------------------------------------------------------------------------- windows


@pytest.fixture
def stranger(site: Site) -> Iterator[list[str]]:
    """Yield the words that run a program as an undeclared guest on VLAN 20."""
    assert site
    namespaces.remove_all()
    try:
        namespaces.Made().on_leg("stranger", "trunk.20", IPv4Interface("10.10.20.250/24"), ())
        yield ["ip", "netns", "exec", "verify-stranger"]
    finally:
        namespaces.remove_all()


def opens(namespace: str, address: str, port: int) -> bool:
    """Whether one connection attempt succeeds."""
    words = f"import socket; socket.create_connection(('{address}', {port}), 2)"
    return command("ip", "netns", "exec", namespace, sys.executable, "-c", words).returncode == 0


def test_a_changed_flow_opens_no_window(site: Site, stranger: list[str], tmp_path: Path) -> None:
    """While a rule is added to a guest and removed again, an undeclared guest on its VLAN never gets in."""
    more = (
        "    - promtail -> loki-gateway",
        "    - stirling-pdf -> jellyfin:8096/tcp\n    - promtail -> loki-gateway",
    )
    with watched(stranger, "10.10.20.11", 8096) as changing:
        updated(site, tmp_path, more)
    eventually("the flow", lambda: opens("vm-202", "10.10.20.11", 8096))
    with watched(stranger, "10.10.20.11", 8096) as back:
        updated(site, tmp_path)
    eventually("its end", lambda: not opens("vm-202", "10.10.20.11", 8096))
    print(f"asked {changing.asked} times while a flow came, {back.asked} while it went")
    assert (changing.opened, back.opened) == (0, 0)
    assert min(changing.asked, back.asked) > 20


def test_a_window_would_be_seen(site: Site, stranger: list[str]) -> None:
    """The same requests find the port open where the guest's firewall is off for a moment."""
    assert site
    with watched(stranger, "10.10.20.11", 8096) as asked:
        set_options(201, enable=0)
        try:
            assert _eventually_open(stranger)
        finally:
            set_options(201, enable=1)
    assert asked.opened > 0


def _eventually_open(stranger: list[str]) -> bool:
    words = "import socket; socket.create_connection(('10.10.20.11', 8096), 2)"
    return any(command(*stranger, sys.executable, "-c", words).returncode == 0 for _ in range(10))


@pytest.fixture
def ingress(site: Site) -> Iterator[list[str]]:
    """Yield the words that run a program in the ingress's network; a listener runs on Docker-SRV.

    The ingress is the only container that nothing but these rules keeps from its host.
    """
    pid = site.docker("inspect", "--format", "{{.State.Pid}}", "traefik").strip()
    with socket.create_server(("", HOST_PORT), backlog=512):
        yield ["nsenter", f"--net=/proc/{pid}/ns/net"]


def installed(rules: str) -> None:
    """Apply rules as the stack's own command does."""
    subprocess.run(["sh", "-c", host_rules.INSTALL], input=rules, text=True, check=True)


def test_new_host_rules_open_no_window(ingress: list[str]) -> None:
    """While Docker-SRV's rules are replaced a hundred times, the ingress never reaches the host."""
    gateway = str(TOPOLOGY.zones["edge"].gateway)
    with watched(ingress, gateway, HOST_PORT) as asked:
        for _ in range(100):
            installed(host_rules.rules(TOPOLOGY))
    print(f"asked {asked.asked} times during 100 replacements")
    assert (asked.opened, asked.asked > 20) == (0, True)


def test_rules_in_two_steps_would_be_seen(ingress: list[str]) -> None:
    """The same requests find the port open where the old rules are removed before the new ones are added."""
    gateway = str(TOPOLOGY.zones["edge"].gateway)
    with watched(ingress, gateway, HOST_PORT) as asked:
        for _ in range(100):
            subprocess.run(["sh", "-c", host_rules.remove(TOPOLOGY)], check=True)
            installed(host_rules.rules(TOPOLOGY))
    assert asked.opened > 0


# -------------------------------------------------------------------------------------------- protection


def test_a_protected_stack_keeps_its_data(site: Site, tmp_path: Path) -> None:
    """With `protect`, `make down` refuses as a whole; Pulumi alone leaves guest and rules in place."""
    rules = f"{NODE}/301/firewall/rules"
    updated(site, tmp_path, ("protect: false", "protect: true"))
    try:
        with pytest.raises(LabError, match="of its resources are protected"):
            Stack(name="dev", environment=environment("dev")).destroy()
        state = json.loads(site.pulumi("stack", "export").stdout)["deployment"]["resources"]
        kinds = {each["type"].rpartition(":")[2]: each for each in state if each.get("protect")}
        assert {"Volume", "VmLegacy", "GroupLegacy", "OptionsLegacy", "RulesLegacy"} <= kinds.keys()
        assert all(e["retainOnDelete"] for e in state if e["type"].endswith(":Volume"))
        (urn,) = (
            e["urn"] for e in state if e["type"].endswith("VmLegacy") and e["urn"].endswith("vaultwarden")
        )
        done = site.pulumi("destroy", "--yes", "--target", urn, "--target-dependents")
        assert (done.returncode != 0, "is protected" in done.stdout) == (True, True), done.stdout[-3000:]
        assert len(api("GET", rules)) == 1
        assert api("GET", f"{NODE}/301/firewall/options")["enable"] == 1
    finally:
        updated(site, tmp_path)
    assert make("verify").returncode == 0
