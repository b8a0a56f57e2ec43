"""A router that the stack makes as a guest: what may be declared, what is made, and what the pack refuses."""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pulumi.runtime.mocks import MockMonitor

from commands import cloud_init
from policies.evaluate import evaluate_resource
from preflight import proxmox
from preflight.docker import PlannedSite
from preflight.state import PulumiState
from reachability.facts import Vlan
from rendered import router_guest, router_rules
from resources import inventory as items
from resources.proxmox_guests import RouterMachine
from resources.resource import UNKNOWN
from resources.site import Graph
from resources.typed import view
from tests.policies import test_nodes
from tests.policies.mutations import FOREIGN, _of_resource
from tests.policies.sound import Stack, run
from tests.routers import as_a_guest, drawn, made_as_a_guest
from tests.site import changed, state, whole
from tests.unit.test_components import build
from tests.unit.test_router import is_sound, written
from topology import schema
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.model import Topology
from verify import inventory

BAD: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("bad_router_guests.yaml").read_text(encoding="utf-8")
)


@cache
def _made() -> bytes:
    return pickle.dumps(run(as_a_guest()))


def stack() -> Stack:
    """Return the stack of a site whose router is a guest; a fresh copy."""
    return Stack(resources=pickle.loads(_made()), config=as_a_guest())  # noqa: S301  # pickled above


@cache
def site() -> Topology:
    """Return that site."""
    return load(as_a_guest())


def test_a_site_behind_a_guest_is_sound() -> None:
    """The pack finds nothing, every flow is possible, and engine and packet walk find the same ones."""
    is_sound(as_a_guest())


@pytest.mark.parametrize("share", range(4))
def test_drawn_sites_behind_a_guest_are_sound(share: int) -> None:
    """The pack finds nothing in 40 drawn sites, and engine and packet walk find the same flows."""
    for seed in range(share, 40, 4):
        is_sound(made_as_a_guest(drawn(seed)))


def test_each_network_has_a_card() -> None:
    """The machine has a card on each network in the order of their numbers, outside Proxmox's firewall."""
    made = stack().inputs("vm", "router")
    cards = [(card["bridge"], card.get("vlanId"), card["firewall"]) for card in made["networkDevices"]]
    assert cards == [
        ("vmbr2", None, False),
        ("vmbr0", None, False),
        ("vmbr1", 10, False),
        ("vmbr1", 20, False),
        ("vmbr1", 30, False),
    ]
    addresses = [config["ipv4"] for config in made["initialization"]["ipConfigs"]]
    assert addresses == [
        {"address": "192.168.1.2/24", "gateway": "192.168.1.1"},
        {"address": "10.10.1.1/24"},
        {"address": "10.10.10.1/24"},
        {"address": "10.10.20.254/24"},
        {"address": "10.10.30.1/24"},
    ]
    assert made["initialization"]["userDataFileId"] == "local:snippets/router.yaml"


def test_it_is_on_the_node_that_it_names() -> None:
    """On one of several nodes the router is made from that node's template, on that node's bridge."""
    keys, cluster = as_a_guest(), test_nodes.keys()
    access = {"snippets": "local", "authorized-keys": ["ssh-ed25519 AAAA you"]}
    router, docker = keys["hosts"]["router"], keys["hosts"]["docker-srv"]
    keys["hosts"] = cluster["hosts"] | {"docker-srv": docker, "router": router}
    keys["hosts"]["pve-2"] |= access
    router["guest"]["node"] = "pve-2"
    for name, node in test_nodes.PLACES.items():
        keys["services"][name]["node"] = node
    keys["flows"] += [flow for flow in cluster["flows"] if "pve-" in flow]
    is_sound(keys)
    machine = Stack(resources=run(keys)).inputs("vm", "router")
    assert (machine["nodeName"], machine["clone"]["vmId"]) == ("pve2", 9001)
    assert {card["bridge"] for card in machine["networkDevices"]} == {"vmbr0", "vmbr2", "vmbr7"}
    del router["guest"]["node"]
    with pytest.raises(ConfigError, match=r"^hosts\.router\.guest\.node: missing, and there are several"):
        load(keys)


@pytest.mark.parametrize(
    ("change", "address", "gateway"),
    [
        ({"hosts.router.wan": {"interface": "eth0", "bridge": "vmbr2"}}, "dhcp", None),
        (
            {
                "zones.lan": {"role": "tenant", "prefix": "10.66.0.0/24", "vlan": 66},
                "services.watch": {"zone": "lan", "vmid": 901, "address": "10.66.0.5", "ports": [443]},
                "hosts.router.wan": {"interface": "eth0", "zone": "lan", "address": "10.66.0.2"},
            },
            "10.66.0.2/24",
            "10.66.0.1",
        ),
    ],
)
def test_the_wan_has_its_address(change: dict[str, Any], address: str, gateway: str | None) -> None:
    """A WAN asks its provider's server, or has its address and next router on a zone's network."""
    without_public = [flow for flow in as_a_guest()["flows"] if flow != "internet -> jellyfin:8333/tcp"]
    keys = as_a_guest() | {"flows": without_public}
    card = router_guest.cards(load(changed(change, keys)))[0]
    assert (card.address, card.gateway) == (address, gateway)


def test_the_router_forwards_by_its_rules_alone() -> None:
    """Its file holds the rendered rules, and one unit loads them and then switches forwarding on."""
    config = yaml.safe_load(router_guest.cloud_config(site()))
    files = {file["path"]: file["content"] for file in config["write_files"]}
    assert files["/etc/homelab-network/homelab-network-router.nft"] == router_rules.nftables(site())
    unit = files["/etc/systemd/system/homelab-network-router.service"].splitlines()
    loads = unit.index("ExecStart=/usr/sbin/nft --file /etc/homelab-network/homelab-network-router.nft")
    assert unit[loads + 1] == "ExecStartPost=/usr/sbin/sysctl --write net.ipv4.ip_forward=1"
    assert "net.ipv4.ip_forward" not in "".join(text for path, text in files.items() if "system" not in path)
    assert "nftables" in config["packages"]
    script = files["/usr/local/sbin/set-up"].splitlines()
    assert script[-2:] == [
        "systemctl enable homelab-network-router.service",
        "systemctl restart homelab-network-router.service",
    ]
    assert (config["disable_root"], config["ssh_pwauth"]) == (False, False)


def test_without_port_22_nothing_logs_in() -> None:
    """A router without port 22 has its SSH server masked, and no login as root."""
    keys = as_a_guest()
    keys["hosts"]["router"]["ports"] = ["53/udp"]
    keys["flows"].remove("management -> router:22/tcp")
    config = yaml.safe_load(router_guest.cloud_config(load(keys)))
    (script,) = (f["content"] for f in config["write_files"] if f["path"] == "/usr/local/sbin/set-up")
    assert "systemctl mask ssh.service" in script
    assert config["disable_root"] is True


def test_removed_rules_forward_nothing() -> None:
    """The rules of a guest are removed after its forwarding, and restored with it."""
    assert router_rules.remove(site()).startswith("sysctl --write net.ipv4.ip_forward=0 && nft ")
    assert router_rules.keep(site()).endswith("systemctl restart homelab-network-router.service\n")


def test_its_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make cloud-init` writes the router's file beside those of guests with an app."""
    written(tmp_path, as_a_guest())
    monkeypatch.chdir(tmp_path)
    assert cloud_init.main(["Pulumi.home.yaml"]) == 0
    text = (tmp_path / "cloud-init-home" / "router.yaml").read_text(encoding="utf-8")
    assert text == router_guest.cloud_config(site())


def by_ssh() -> dict[str, Any]:
    """Return the keys of that site with rules that the stack installs."""
    keys = as_a_guest()
    keys["hosts"]["router"]["ssh"] = {"address": "10.10.1.1", "host-key": f"ssh-ed25519 {'A' * 68}"}
    return keys


def test_a_guest_may_get_its_rules_by_ssh() -> None:
    """The pack finds nothing in a router that is a guest, with rules that the stack installs."""
    assert Stack(resources=list(run(by_ssh())), config=by_ssh()).judge().findings == ()


def test_its_rules_follow_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `ssh` the rules are installed on the machine after it is made, and on another one again."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    register = MockMonitor.RegisterResource

    def noted(monitor: Any, request: Any) -> Any:
        if request.name in {"router-rules", "router-boot-rules"}:
            after = [urn for urn in request.dependencies if urn.endswith("VmLegacy::router")]
            found[request.name] = (after, [*request.replace_with])
        return register(monitor, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(MockMonitor, "RegisterResource", noted)
    monkeypatch.setenv("HOMELAB_STATE", str(state(tmp_path)))
    keys = {f"homelab-network:{key}": value for key, value in by_ssh().items()}
    build(whole() | keys | {"ssh:privateKey": "a key"})
    (machine,) = found["router-rules"][0]
    assert found == dict.fromkeys(("router-rules", "router-boot-rules"), ([machine], [machine]))


def test_the_schema_takes_a_guest() -> None:
    """The schema and the loader take the same site."""
    document = {"config": {f"homelab-network:{key}": value for key, value in as_a_guest().items()}}
    jsonschema.validate(document, schema.configuration())


def test_what_is_in_its_way_is_told() -> None:
    """The node must have the bridges of its cards and the template, and no guest with its id."""
    planned = PlannedSite(topology=site(), state=PulumiState(), stack="home")
    taken = {"vmid": 900, "name": "other", "kind": "qemu", "node": "pve1"}
    bridges = ({"iface": "vmbr0", "type": "bridge"}, {"iface": "vmbr1", "type": "bridge"})
    node = proxmox.Node(guests=(taken,), networks=bridges)
    told = [str(each).partition("; ")[0] for each in proxmox.findings(planned, node)]
    assert "vmid 900: taken by other on node pve1" in told
    assert "homelab-network:hosts.router.wan.bridge: node pve1 has no bridge vmbr2" in told
    assert "homelab-network:hosts.router.legs.management.bridge: node pve1 has no bridge vmbr0" not in told


class Node:
    """The API of a node with the router's machine, and another one with its cards."""

    def get(self, path: str) -> Any:
        """Answer like Proxmox."""
        if path.endswith(("/qemu", "/lxc")):
            return [{"vmid": 900}, {"vmid": 950, "name": "copy"}] if path.endswith("/qemu") else []
        return {"net0": "virtio=BE:24:00:00:03:84,bridge=vmbr1,tag=20"}


def test_the_router_is_no_stranger_on_its_node() -> None:
    """`make drift` knows the router's machine, and tells another one with a card on a VLAN of the site."""
    assert [*inventory.guests(site(), Node())] == [("950 copy", "vmbr1 VLAN 20")]


def test_a_review_tells_what_becomes_of_the_machine() -> None:
    """The inventory that a review compares has the router's machine with its cards."""
    index = TopologyIndex.of(site())
    item = items.inventory(Graph(tuple(map(view, stack().resources)), index), {})[items.Kind.SERVICE][
        "router"
    ]
    assert item.traits["VLAN"] == "no VLAN, no VLAN, VLAN 10, VLAN 20, VLAN 30"
    assert (item.traits["VM id"], item.data) == ("900", "its disk")


def test_a_bridge_of_the_node_must_be_in_the_stack() -> None:
    """The router is refused on the node's bridge where that is not in the stack, as guests are."""
    other = stack()
    other.remove("bridge", "vmbr1")
    told = [str(each) for each in other.judge().findings if each.rule == "bridges-exist"]
    assert "router: is on bridge vmbr1, which is not in the stack" in told


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["id"])
def test_a_bad_guest_is_refused(case: dict[str, Any]) -> None:
    """Each fault is told with its path, and what cures it."""
    with pytest.raises(ConfigError) as refused:
        load(changed(case["change"], as_a_guest()))
    assert str(refused.value) == case["message"]


def test_every_setting_of_the_machine_counts() -> None:
    """Adding, removing, widening, renaming or hiding any setting of the router's machine is refused."""
    sound, survivors, tried, topology = stack(), [], 0, TopologyIndex.of(site())
    before = view(sound.get("vm", "router"))
    for mutation in _of_resource("vm", sound.get("vm", "router"), sound):
        other = stack()
        mutation.apply(other)
        if mutation.path and mutation.operator != "add twin of":
            after = view(other.get("vm", "router"))
            if (before.inputs, before.faults) == (after.inputs, after.faults):
                continue
        tried += 1
        alone = (evaluate_resource(each, topology) for each in other.resources if each.name == "router")
        if not any(each.findings for each in alone) and not other.judge().findings:
            survivors.append(str(mutation))
    assert survivors == []
    assert tried > 100


@pytest.mark.parametrize(
    "unread", [UNKNOWN, "text", {"ipConfigs": UNKNOWN}, {"ipConfigs": [UNKNOWN]}], ids=str
)
def test_settings_that_cannot_be_read_are_told_as_such(unread: object) -> None:
    """An initialization that is unknown or malformed is named, and no rule ends in an error."""
    other = stack()
    other.inputs("vm", "router")["initialization"] = unread
    found = evaluate_resource(other.get("vm", "router"), TopologyIndex.of(site())).findings
    told = [each.message for each in found if each.rule == "router-machine-as-declared"]
    assert "router: initialization.userDataFileId: expected local:snippets/router.yaml" in told
    assert [each for each in told if "can't be judged" in each] == []


def test_no_setting_holds_another() -> None:
    """Foreign content, devices, and texts in which Proxmox reads more than one setting are refused."""
    accepted, topology = [], TopologyIndex.of(site())
    for name, value in ((name, value) for name, values in FOREIGN.items() for value in values):
        other = stack()
        other.inputs("vm", "router")[name] = value
        if not evaluate_resource(other.get("vm", "router"), topology).findings:
            accepted.append((name, value))
    assert accepted == []


@pytest.mark.parametrize(
    ("card", "hole"),
    [
        ({"vlanId": 20}, "vlan"),
        ({"vlanId": None, "trunks": "10;20;30"}, "trunk"),
        ({"bridge": "vmbr1", "vlanId": None}, "every VLAN"),
    ],
)
def test_a_machine_that_is_not_the_router_is_a_hole(card: dict[str, Any], hole: str) -> None:
    """With another card the machine is a guest without a firewall, and the proof names what it reaches."""
    changed_stack = stack()
    changed_stack.inputs("vm", "router")["networkDevices"][2] |= card
    found = changed_stack.judge().findings
    told = {each.rule for each in found}
    assert {"router-machine-as-declared", "router-machine-made", "guests-have-a-role"} <= told, hole
    assert {"cards-firewalled", "guests-firewalled", "guests-on-their-vlan"} <= told


def test_the_proof_takes_another_machine_for_an_open_router() -> None:
    """Where a guest filters nothing, a router that is not as declared leads every other machine to it."""
    other = stack()
    other.inputs("options", "site-1")["inputPolicy"] = "ACCEPT"
    closed = {finding.message for finding in other.judge().findings}
    other.inputs("vm", "router")["initialization"]["userDataFileId"] = "local:snippets/other.yaml"
    opened = {finding.message for finding in other.judge().findings} - closed
    assert any(": expected DENIED, got ALLOWED via router -> site-1" in each for each in opened)


def test_the_router_is_recognised() -> None:
    """The router's machine is no guest: it is on every VLAN, and the facts have its rules instead."""
    graph = Graph(tuple(map(view, stack().resources)), TopologyIndex.of(site()))
    (machine,) = graph.of(RouterMachine)
    assert machine.name == "router"
    assert "router" not in {guest.name for guest in graph.facts.guests}
    (gateway,) = graph.facts.gateways
    assert gateway.permits
    assert {each.tag for each in gateway.segments if isinstance(each, Vlan)} == {10, 20, 30}


def test_a_router_without_its_machine_is_refused() -> None:
    """A declared guest that is not in the stack is refused, and no rules are taken for granted."""
    gone = stack()
    gone.remove("vm", "router")
    assert {each.rule for each in gone.judge().findings} == {"router-machine-made", "undeclared-flows"}
