"""Several Proxmox nodes of one cluster: the pack accepts sound ones, and rejects what opens more on any."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies import generate
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import KINDS, Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex

SITES = 24
PLACES = {
    "site-1": "proxmox-srv",
    "site-2": "pve-2",
    "jellyfin": "pve-2",
    "stirling-pdf": "pve-3",
    "vaultwarden": "pve-2",
}


def keys() -> dict[str, Any]:
    """Return the sound site on three nodes: one with a bridge of another name, one that shares a storage."""
    shared = {"shared-storage": True, "storage": "ceph"}
    values = changed(
        {
            "hosts.pve-2": {
                "kind": "proxmox",
                "node": "pve2",
                "address": "10.10.1.6",
                "bridge": "vmbr7",
                "uplink": "eno2",
                "template": 9001,
                "storage": "tank",
            },
            "hosts.pve-3": {
                "kind": "proxmox",
                "node": "pve3",
                "address": "10.10.1.7",
                "existing-bridge": True,
                **shared,
            },
            "hosts.proxmox-srv.uplink": "eno1",
            "hosts.proxmox-srv.shared-storage": True,
            "hosts.proxmox-srv.storage": "ceph",
            **{f"services.{name}.node": node for name, node in PLACES.items()},
        }
    )
    for node in ("pve-2", "pve-3"):
        values["flows"] += [f"management -> {node}:8006/tcp", f"management -> {node}:22/tcp"]
    values["flows"].append("site-1 -> site-2:443/tcp")
    return values


def spread(number: int) -> dict[str, Any]:
    """Return a generated site whose guests are on two to four nodes."""
    draw, config = random.Random(number), generate.topology(number)  # noqa: S311  # a shape, not a secret
    names = ["proxmox-srv", *(f"pve-{index}" for index in range(2, draw.randint(3, 5)))]
    for place, name in enumerate(names):
        host = config["hosts"].setdefault(name, {"kind": "proxmox", "node": f"node-{place}"})
        host |= {"address": f"10.10.1.{50 + place}", "template": 9000 + place}
        host |= draw.choice([{"uplink": f"eno{place}"}, {"existing-bridge": True}])
        host["bridge"] = draw.choice(["vmbr1", "vmbr7"])
        if place and draw.random() < 0.5:
            host |= {"template": 9000, "shared-storage": True, "storage": "ceph"}
            config["hosts"]["proxmox-srv"] |= {"shared-storage": True, "storage": "ceph"}
        for source in ("management", "office") if place else ():
            if source in config["zones"]:
                config["flows"] += [f"{source} -> {name}:{port}/tcp" for port in (8006, 22)]
    for service in config["services"].values():
        if "vmid" in service:
            service["node"] = draw.choice(names)
    return config


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources."""
    return tuple(run(keys()))


def stack() -> Stack:
    """Return a fresh copy of the sound stack."""
    return Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=keys())


def test_the_sound_cluster_has_no_finding() -> None:
    """Guests on three nodes are a sound site, each node with its bridge, template, storage and rules."""
    sound = stack()
    assert sound.judge().findings == ()
    clones = {name: sound.inputs("vm", name)["clone"] for name in PLACES}
    assert {name: (clone["vmId"], clone.get("nodeName")) for name, clone in clones.items()} == {
        "site-1": (9000, None),
        "site-2": (9001, None),
        "jellyfin": (9001, None),
        "stirling-pdf": (9000, "pve1"),
        "vaultwarden": (9001, None),
    }
    assert [r.name for r in sound.resources if r.type == KINDS["bridge"]] == ["vmbr1", "vmbr7-pve-2"]


@pytest.mark.timeout(600)  # the program runs once for each site
def test_generated_clusters_have_no_finding() -> None:
    """Sound sites of many shapes on two to four nodes pass the pack."""
    wrong = []
    for number in range(SITES):
        wrong += [(number, each) for each in findings(spread(number))]
    assert wrong == []


def test_a_packet_goes_where_the_proof_says() -> None:
    """The packet walk finds the same connections across nodes as the engine."""
    graph = Graph(tuple(map(view, made())), TopologyIndex.of(load(keys())))
    assert proved(graph) == walked(graph)
    assert {(source, str(port)) for source, end, port in proved(graph) if end == "site-2" and port} >= {
        ("site-1", "443/tcp"),
        ("traefik", "443/tcp"),
    }


def on_node(kind: str, name: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of a resource's inputs."""
    return lambda broken: broken.inputs(kind, name).update(values)


def node_rule(**values: object) -> Callable[[Stack], None]:
    """Return a change of the first rule of node pve-2."""

    def change(broken: Stack) -> None:
        broken.inputs("rules", "pve-2")["rules"][0].update(values)

    return change


def card(**values: object) -> Callable[[Stack], None]:
    """Return a change of the card of a guest on pve-2."""
    return lambda broken: broken.inputs("vm", "site-2")["networkDevices"][0].update(values)


def clone(name: str, **values: object) -> Callable[[Stack], None]:
    """Return a change of what a guest is cloned from."""
    return lambda broken: broken.inputs("vm", name)["clone"].update(values)


def for_every_node(broken: Stack) -> None:
    """Let a declared flow of one node open all of them."""
    broken.config["flows"].remove("management -> pve-3:8006/tcp")
    rules = broken.inputs("rules", "pve-3")["rules"]
    rules[:] = [rule for rule in rules if rule["dport"] != "8006"]
    broken.add("rules", "all", {"rules": [{**rules[0], "dport": "8006"}]})


def unlocked(node: str) -> Callable[[Stack], None]:
    """Return a change that switches a node's own firewall off."""
    inputs = {"nodeName": node, "enabled": False}
    return lambda broken: broken.add("proxmoxve:node/firewall:Firewall", "switch", inputs)


MUTANTS: dict[str, Callable[[Stack], None]] = {
    "a guest on another node": on_node("vm", "site-2", nodeName="pve1"),
    "a guest on a node that is not declared": on_node("vm", "site-2", nodeName="pve9"),
    "a guest's firewall on another node": on_node("options", "site-2", nodeName="pve1"),
    "a guest's rules on another node": on_node("rules", "site-2", nodeName="pve1"),
    "a guest's addresses on another node": on_node("ipset", "site-2", nodeName="pve3"),
    "a guest on the first node's bridge": card(bridge="vmbr1"),
    "a guest without a tag": card(vlanId=None),
    "a guest on another node's VLAN": card(vlanId=20),
    "a guest's card without its firewall": card(firewall=False),
    "another node's template": clone("site-2", vmId=9000),
    "a template fetched from another node": clone("site-2", nodeName="pve1"),
    "a template that its node does not have": clone("stirling-pdf", nodeName=None),
    "another node's storage": clone("site-2", datastoreId="ceph"),
    "a disk on another node's storage": lambda s: s.inputs("vm", "site-2")["disks"][0].update(
        datastoreId="ceph"
    ),
    "no rules of a node": lambda broken: broken.remove("rules", "pve-2"),
    "a node's rules on another node": on_node("rules", "pve-2", nodeName="pve9"),
    "a node for everyone private": node_rule(source="10.0.0.0/8"),
    "a node for a site": node_rule(source="10.10.10.11"),
    "a node's other port": node_rule(dport="3128"),
    "a node's ports": node_rule(dport="8006:9000"),
    "a node by another protocol": node_rule(proto="udp"),
    "a rule of a node to send": node_rule(type="out"),
    "a rule for every node": for_every_node,
    "the first node's firewall off": unlocked("pve1"),
    "another node's firewall off": unlocked("pve2"),
    "a bridge with another VLAN": on_node("bridge", "vmbr7-pve-2", vids="10 20 30 40"),
    "a bridge without a VLAN": on_node("bridge", "vmbr7-pve-2", vids="10 20"),
    "a bridge that knows no VLANs": on_node("bridge", "vmbr7-pve-2", vlanAware=False),
    "a bridge with the node on it": on_node("bridge", "vmbr7-pve-2", address="10.10.10.9/24"),
    "a bridge without its uplink": on_node("bridge", "vmbr7-pve-2", ports=[]),
    "a bridge with another port": on_node("bridge", "vmbr7-pve-2", ports=["eno2", "eno3"]),
    "a bridge of another node": on_node("bridge", "vmbr7-pve-2", nodeName="pve1"),
    "no bridge of a node": lambda broken: broken.remove("bridge", "vmbr7-pve-2"),
    "a bridge where one is there": lambda broken: broken.add(
        "bridge", "vmbr1-pve-3", {**broken.inputs("bridge", "vmbr1"), "nodeName": "pve3"}
    ),
    "nodes for the sites": lambda broken: broken.inputs("alias", "local-network").update(cidr="10.10.0.0/16"),
    "the datacenter open": on_node("datacenter", "datacenter", inputPolicy="ACCEPT"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_opens_more_on_a_node_is_rejected(mutant: str) -> None:
    """A change that takes a guest to another node, or opens a node, is rejected."""
    broken = stack()
    MUTANTS[mutant](broken)
    assert broken.judge().findings
