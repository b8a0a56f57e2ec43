"""Guests of the lab's Proxmox API, made by plain calls, as the other half of a stack file."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from adoption import stack_file
from lab.proxmox.api import Proxmox
from tests.unit.test_lab_proxmox import NODE, Ask, add_container
from tests.unit.test_survey_proxmox import granted, pve, surveyed, switched_on
from topology.config import from_file
from topology.model import LxcGuest, Topology

__all__ = ["pve"]


def declared(node: Proxmox, folder: Path, token: str | None = None) -> tuple[str, Topology]:
    """Return the stack file of the API beside an engine that runs nothing, and what it declares."""
    site = surveyed(node, token) if token else surveyed(node)
    text = stack_file.written(site, (), date(2026, 11, 30))
    (folder / "Pulumi.home.yaml").write_text(text, encoding="utf-8")
    return text, from_file(folder / "Pulumi.home.yaml")


def test_guests_keep_id_vlan_and_address(pve: tuple[Ask, Proxmox], tmp_path: Path) -> None:
    """Each guest keeps its id, VLAN, address and card; the bridge is the node's own, the API is named."""
    text, topology = declared(pve[1], tmp_path)
    assert {
        (g.name, g.vmid, str(g.address), topology.zones[g.zones[0]].vlan, g.existing_mac)
        for g in topology.guests
    } == {
        ("web", 101, "10.10.10.5", 10, "BC:24:11:00:00:61"),
        ("vault", 102, "10.10.20.5", 20, "BC:24:11:00:00:62"),
    }
    assert f"\n  proxmoxve:endpoint: {pve[1].url}/\n" in text
    assert (topology.proxmox.bridge, topology.proxmox.existing_bridge) == ("vmbr1", True)
    assert str(topology.zones["management"].prefix) == "192.0.2.0/24"


def test_a_system_container_is_declared_as_one(pve: tuple[Ask, Proxmox], tmp_path: Path) -> None:
    """A system container keeps its id and address in the file, which says that no import keeps it."""
    ask, node = pve
    add_container(ask)
    text, topology = declared(node, tmp_path)
    dns = topology.services["dns"]
    assert isinstance(dns, LxcGuest)
    assert (dns.vmid, str(dns.address), dns.zones, dns.existing_mac) == (
        203,
        "10.10.20.13",
        ("vlan-20",),
        None,
    )
    assert "      kind: lxc # no import keeps one: " in text


def test_a_guests_own_rule_is_a_flow(pve: tuple[Ask, Proxmox], tmp_path: Path) -> None:
    """A port that a guest's firewall accepts is a flow from management, with the rule as its reason."""
    ask, node = pve
    switched_on(ask, 101, 102)
    rule = {"type": "in", "action": "ACCEPT", "enable": 1, "proto": "tcp", "dport": "443"}
    ask("POST", f"{NODE}/qemu/102/firewall/rules", **rule)
    text, topology = declared(node, tmp_path)
    assert "management -> vault:443/tcp" in map(str, topology.flows)
    assert "# certain: vault rule 0 accepts it" in text


def test_no_guests_password_is_in_the_file(pve: tuple[Ask, Proxmox], tmp_path: Path) -> None:
    """A guest's cloud-init password is not in the file."""
    assert "canary-4711" not in declared(pve[1], tmp_path)[0]


def _dhcp(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", ipconfig0="ip=dhcp")


def _two_cards(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", net1="virtio=BC:24:11:00:00:99,bridge=vmbr1,tag=30")


def _untagged(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", net0="virtio=BC:24:11:00:00:62,bridge=vmbr1")


def _other_bridge(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", net0="virtio=BC:24:11:00:00:62,bridge=vmbr0,tag=20")


def _same_prefix(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", ipconfig0="ip=10.10.10.6/24")


def _on_the_lan(ask: Ask) -> None:
    ask("PUT", f"{NODE}/qemu/102/config", ipconfig0="ip=192.0.2.77/24")


@pytest.mark.parametrize(
    "change",
    [_dhcp, _two_cards, _untagged, _other_bridge, _same_prefix, _on_the_lan],
    ids=lambda each: each.__name__,
)
def test_a_guest_that_cannot_be_declared_is_told(
    change: Callable[[Ask], None], pve: tuple[Ask, Proxmox], tmp_path: Path
) -> None:
    """A guest without a fixed address, with two cards or on another network is told with the reason."""
    ask, node = pve
    ask("POST", f"{NODE}/qemu/102/status/stop")
    change(ask)
    ask("POST", f"{NODE}/qemu/102/status/start")
    text, topology = declared(node, tmp_path)
    assert [guest.name for guest in topology.guests] == ["web"]
    assert "# left out: guest vault: " in text


def test_a_token_without_rights_is_told(pve: tuple[Ask, Proxmox], tmp_path: Path) -> None:
    """With a token that may see guests alone, or nothing, the file still loads, and says what it lacks."""
    text, topology = declared(pve[1], tmp_path, granted(pve[1], "/nowhere", "VM.Audit"))
    assert topology.guests == ()
    assert "# not seen: Proxmox: " in text
