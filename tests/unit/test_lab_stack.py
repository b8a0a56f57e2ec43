"""The lab's care for a stack's state, without an engine."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from lab import stack
from lab.errors import LabError
from lab.stack import Stack
from preflight import machine

_FIREWALL = "proxmoxve:firewall/optionsLegacy:OptionsLegacy"
GUESTS = {
    "vmId": "proxmoxve:index/vmLegacy:VmLegacy",
    "containerId": "proxmoxve:index/containerLegacy:ContainerLegacy",
}


@pytest.mark.parametrize("owner", GUESTS)
def test_a_firewall_goes_with_its_guest(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firewall of a guest that is gone leaves the state; that of others and of the datacenter stays."""
    resources: list[dict[str, Any]] = [
        {"type": GUESTS[owner], "inputs": {"vmId": 203}},
        {"type": _FIREWALL, "inputs": {owner: 203}},
        {"type": _FIREWALL, "inputs": {owner: 204}},
        {"type": "proxmoxve:firewall/rulesLegacy:RulesLegacy", "inputs": {"rules": []}},
    ]
    kept: list[Any] = []
    monkeypatch.setattr(Stack, "deployment", lambda _: {"resources": resources})
    monkeypatch.setattr(Stack, "_write", lambda _, __, deployment: kept.extend(deployment["resources"]))
    Stack(name="dev", environment={})._forget_with_their_guests()
    assert kept == [each for each in resources if each["inputs"].get(owner) != 204]


@pytest.mark.parametrize(
    ("lock", "dropped"),
    [
        ({"pid": os.getpid(), "hostname": socket.gethostname()}, True),  # a pid that is another program's now
        ({"pid": 7, "hostname": "laptop"}, False),
        (None, True),
    ],
)
def test_only_the_lock_of_a_killed_run_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: dict[str, Any] | None, dropped: bool
) -> None:
    """A lock is dropped if its process is no Pulumi of this machine or the file is cut off, else it stays."""
    backend = f"file://{tmp_path}?metadata=skip"
    locks = machine.locks_of(backend, "dev")
    locks.mkdir(parents=True)
    (locks / "a.json").write_text(json.dumps(lock) if lock else "")
    asked: list[str] = []
    monkeypatch.setattr(stack, "_OTHER_RUN_SECONDS", -1)
    monkeypatch.setattr(Stack, "_ask", lambda _, __, *words: asked.extend(words))
    under_test = Stack(name="dev", environment={"PULUMI_BACKEND_URL": backend})
    if dropped:
        under_test._wait_for_lock()
    else:
        with pytest.raises(LabError, match=r"^stack dev: process 7 of a user on laptop works on it since"):
            under_test._wait_for_lock()
    assert asked == (["cancel", "--yes"] if dropped else [])
