"""Leftovers of a killed run are removed by their mark only, through the lab's own API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import orphans, paths, tls
from preflight import wanted
from tests.unit.test_lab_proxmox import NODE, TOKEN, Ask, add_container, add_machine, served

NOTES = "site-1\nports: 443/tcp\nhomelab-network.stack: dev"
GUEST = {"nodeName": "pve1", "vmId": 101.0, "name": "site-1", "description": NOTES}
GROUP = {"name": "site-1", "comment": "Declared flows of site-1"}
CARDS = {"nodeName": "pve1", "vmId": 101.0, "name": "ipfilter-net0", "comment": "The only address"}
ALIAS = {"name": "ingress-vlan10", "cidr": "10.10.10.2", "comment": "The ingress's leg on zone wordpress"}
RULES = {"nodeName": "pve1", "vmId": 101.0, "rules": [{"securityGroup": "site-1", "comment": "site-1"}]}

BRIDGE = {"nodeName": "pve1", "name": "vmbr1", "comment": "Tagged networks of homelab-network"}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ask, dict[str, str]]]:
    """Yield a caller of the API, and the environment in which `orphans` finds it."""
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    with served(tmp_path / "state.json", []) as (ask, pve):
        given = {"PROXMOX_VE_ENDPOINT": f"{pve.url}/", "PROXMOX_VE_API_TOKEN": TOKEN}
        yield ask, {**given, "SSL_CERT_FILE": str(tls.bundle())}


def remove(kind: str, inputs: dict[str, Any], environment: dict[str, str]) -> None:
    """Remove what a half-created resource left."""
    orphans.remove({"type": f"proxmoxve:index/x:{kind}", "inputs": inputs}, environment)


def machines(ask: Ask) -> list[int]:
    """Return the VM ids of the node's guests, without the template."""
    return sorted(int(one["vmid"]) for one in ask("GET", f"{NODE}/qemu") if int(one["vmid"]) != 9000)


def test_a_clone_bears_the_mark_from_its_first_moment(api: tuple[Ask, dict[str, str]]) -> None:
    """A guest that was only cloned has the stack's notes, and is removed."""
    ask, environment = api
    ask("POST", f"{NODE}/qemu/9000/clone", newid=101, name="site-1", full=1, description=NOTES)
    remove("VmLegacy", GUEST, environment)
    assert machines(ask) == []


def test_a_guest_of_the_users_stays(api: tuple[Ask, dict[str, str]]) -> None:
    """A guest with our id and name but other notes, or none, stays unchanged."""
    ask, environment = api
    add_machine(ask, 101)
    ask("POST", f"{NODE}/qemu/101/firewall/rules", type="in", action="ACCEPT", comment="mine")
    remove("VmLegacy", GUEST, environment)
    remove("RulesLegacy", RULES, environment)
    assert machines(ask) == [101]
    assert [rule["comment"] for rule in ask("GET", f"{NODE}/qemu/101/firewall/rules")] == ["mine"]
    ask("PUT", f"{NODE}/qemu/101/config", description="my own site-1")
    remove("VmLegacy", GUEST, environment)
    assert machines(ask) == [101]


@pytest.mark.parametrize("mark", ["ours", "mine"])
def test_firewall_objects_go_by_their_comment(api: tuple[Ask, dict[str, str]], mark: str) -> None:
    """A group, an alias and a guest's ipset with the resource's comment are removed with their content."""
    ask, environment = api
    add_machine(ask, 101)

    def comment(given: dict[str, Any]) -> str:
        return str(given["comment"]) if mark == "ours" else "made by hand"

    ask("POST", "/cluster/firewall/groups", group="site-1", comment=comment(GROUP))
    ask("POST", "/cluster/firewall/groups/site-1", type="in", action="ACCEPT")
    ask("POST", "/cluster/firewall/aliases", name=ALIAS["name"], cidr="10.10.10.2", comment=comment(ALIAS))
    ask("POST", f"{NODE}/qemu/101/firewall/ipset", name="ipfilter-net0", comment=comment(CARDS))
    ask("POST", f"{NODE}/qemu/101/firewall/ipset/ipfilter-net0", cidr="10.10.10.11")
    for kind, given in (("GroupLegacy", GROUP), ("AliasLegacy", ALIAS), ("IpsetLegacy", CARDS)):
        remove(kind, given, environment)
    left = [
        len(ask("GET", path))
        for path in (
            "/cluster/firewall/groups",
            "/cluster/firewall/aliases",
            f"{NODE}/qemu/101/firewall/ipset",
        )
    ]
    assert left == ([0, 0, 0] if mark == "ours" else [1, 1, 1])


@pytest.mark.parametrize(("comment", "left"), [(BRIDGE["comment"], []), ("by hand", ["vmbr1"])])
def test_a_bridge_goes_by_its_comment(api: tuple[Ask, dict[str, str]], comment: str, left: list[str]) -> None:
    """The node's bridge is removed with the resource's comment, and stays with another one."""
    ask, environment = api
    ask("POST", f"{NODE}/network", iface="vmbr1", type="bridge", comments=comment)
    orphans.remove({"type": wanted.BRIDGE, "inputs": BRIDGE}, environment)
    assert [row["iface"] for row in ask("GET", f"{NODE}/network") if row["iface"] != "vmbr0"] == left


def test_what_is_not_there_is_no_fault(api: tuple[Ask, dict[str, str]]) -> None:
    """A resource that was never created is no error."""
    ask, environment = api
    for kind, given in (("VmLegacy", GUEST), ("GroupLegacy", GROUP), ("RulesLegacy", RULES)):
        remove(kind, given, environment)
    assert machines(ask) == []


@pytest.mark.parametrize(("notes", "left"), [(NOTES, []), ("my own", [203])])
def test_a_container_goes_by_its_notes(api: tuple[Ask, dict[str, str]], notes: str, left: list[int]) -> None:
    """A half-made system container and its ipset are removed by their mark, running or not."""
    ask, environment = api
    ask("POST", f"{NODE}/network", iface="vmbr1", type="bridge")
    add_container(ask, 203, description=notes)
    ipset = f"{NODE}/lxc/203/firewall/ipset"
    ask("POST", ipset, name="ipfilter-net0", comment=CARDS["comment"])
    owned = {"nodeName": "pve1", "containerId": 203.0, "name": "ipfilter-net0", "comment": CARDS["comment"]}
    remove("IpsetLegacy", owned, environment)
    assert ask("GET", ipset) == []
    remove("ContainerLegacy", {"nodeName": "pve1", "vmId": 203.0, "description": NOTES}, environment)
    assert [int(one["vmid"]) for one in ask("GET", f"{NODE}/lxc")] == left
