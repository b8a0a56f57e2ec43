"""The lab's care for a stack's state, without an engine."""

from typing import Any

import pytest

from lab.stack import Stack

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
