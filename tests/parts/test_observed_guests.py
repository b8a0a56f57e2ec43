"""An observed guest in the kernel: its firewall lets pass and logs what it drops once it is enforced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab import paths
from lab.process import run as call
from lab.proxmox import firewall_log, plane
from lab.proxmox.firewall import ruleset
from lab.proxmox.firewall_log import FirewallLog
from lab.proxmox.guests import LabGuest, read_nic
from tests.policies.sound import KINDS, run
from tests.site import changed
from topology.config import load
from verify import guest_log

FILTER, LAN, INSIDE = "observed-fw", "observed-lan", "observed-in"
GUEST, NEIGHBOUR, INGRESS = "10.10.20.11", "10.10.20.12", "10.10.20.2"
KEYS = changed({"services.jellyfin.observed-until": "2099-01-15"})
SITE = load(KEYS)
MAC = SITE.services["jellyfin"].mac  # type: ignore[union-attr]  # a guest
_LISTEN = """
import socket
for port in (8096, 9999):
    socket.create_server(("", port)).detach()
print("ready", flush=True)
input()
"""
_ASK = """
import socket, sys
with socket.socket() as own:
    own.settimeout(1)
    own.bind((sys.argv[1], 0))
    print(own.connect_ex((sys.argv[2], int(sys.argv[3]))) == 0)
"""


def rules(keys: dict[str, Any]) -> str:
    """Return what the lab makes of the guest's firewall as the program registers it."""
    resources = run(keys)
    made = {each.type: each.inputs for each in resources if each.name == "jellyfin"}
    options, own, group = (made[KINDS[kind]] for kind in ("options", "rules", "group"))
    aliases = {each.inputs["name"]: each.inputs for each in resources if each.type == KINDS["alias"]}
    for rule in group["rules"]:
        rule["source"] = aliases[rule["source"].removeprefix("dc/")]["cidr"] if "source" in rule else None
    datacenter = {"options": {"enable": 1}, "aliases": {}, "ipset": {}, "rules": []}
    wanted = {"policy_in": options["inputPolicy"], "policy_out": options["outputPolicy"], "ipfilter": 1}
    listed = [
        {"type": "group", "action": rule["securityGroup"], "enable": 1}
        if "securityGroup" in rule
        else {**rule, "enable": 1}
        for rule in own["rules"]
    ]
    return ruleset(
        LabGuest(
            vmid=201, name="jellyfin", nics=(read_nic(0, f"virtio={MAC},bridge=vmbr1,firewall=1,tag=20"),)
        ),
        {**datacenter, "groups": {group["name"]: [{**rule, "enable": 1} for rule in group["rules"]]}},
        {
            "options": {"enable": 1, "dhcp": 0, **wanted},
            "aliases": {},
            "rules": listed,
            "ipset": {"ipfilter-net0": [{"cidr": GUEST}]},
        },
    )


def ip(*words: str) -> None:
    """Run `ip`."""
    call(["ip", *words], f"ip {' '.join(words)}")


@contextmanager
def listening(namespace: str) -> Iterator[None]:
    """Listen in a namespace on a declared port and on another."""
    words = ["ip", "netns", "exec", namespace, sys.executable, "-c", _LISTEN]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate("\n")


@pytest.fixture
def _machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A guest behind its filter, as in the lab, and a neighbour that has the ingress's address as well."""
    monkeypatch.setattr(paths, "RUN", tmp_path)
    with ExitStack() as undo:
        for name in (FILTER, LAN, INSIDE):
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
        call(
            ["ip", "netns", "exec", FILTER, "sysctl", "-q", "net.bridge.bridge-nf-call-iptables=1"], "filter"
        )
        ip("-n", FILTER, "link", "add", "fwbr0", "type", "bridge", "mcast_snooping", "0")
        for port, peer, addresses in (("net0", LAN, (NEIGHBOUR, INGRESS)), ("card0", INSIDE, (GUEST,))):
            mac = ["address", MAC.lower()] * (peer == INSIDE)
            ip("-n", FILTER, "link", "add", port, "type", "veth", "peer", "name", "eth0", *mac, "netns", peer)
            ip("-n", FILTER, "link", "set", port, "master", "fwbr0")
            for address in addresses:
                ip("-n", peer, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", FILTER, "link", "set", port, "up")
            ip("-n", peer, "link", "set", "eth0", "up")
        ip("-n", FILTER, "link", "set", "fwbr0", "up")
        for name in (LAN, INSIDE):
            undo.enter_context(listening(name))
        yield


def passes(source: str, to: str, port: int) -> bool:
    """Whether a connection from one of the addresses to another opens."""
    namespace = INSIDE if source == GUEST else LAN
    words = ["ip", "netns", "exec", namespace, sys.executable, "-c", _ASK, source, to, str(port)]
    return call(words, "connection").strip() == "True"


ASKED = [
    (INGRESS, GUEST, 8096),
    (NEIGHBOUR, GUEST, 8096),
    (NEIGHBOUR, GUEST, 9999),
    (GUEST, NEIGHBOUR, 9999),
]
"""A declared connection, and three that are not."""


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("_machines")
def test_what_is_dropped_later_is_logged_first() -> None:
    """Observed, all pass, and each undeclared one is in the log; enforced, only the declared one passes."""
    log = FirewallLog()
    log.follow([FILTER])
    plane.put_in_force(FILTER, rules(KEYS))
    assert [passes(*each) for each in ASKED] == [True] * 4
    log.follow([FILTER])
    found = guest_log.read(SITE, firewall_log.lines(), datetime.now(UTC))
    assert {str(each) for each in found.tried} == {f"{a} -> {b}:{port}/tcp" for a, b, port in ASKED[1:]}
    before = len(firewall_log.lines())
    plane.put_in_force(FILTER, rules(changed({})))
    assert [passes(*each) for each in ASKED] == [True, False, False, False]
    log.follow([FILTER])
    assert len(firewall_log.lines()) == before
    log.follow([])
