"""Each finding of the pre-flight with its exact message."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflight import checks, docker, engine, links, machine, proxmox, proxmox_firewall
from preflight.daemon import Daemon
from preflight.docker import Listener, Machine, PlannedSite, There
from preflight.finding import PreflightFinding
from preflight.proxmox_firewall import Firewall
from preflight.state import PulumiState
from resources.resource import Resource
from tests.policies.sound import run
from tests.site import configuration
from topology.config import load
from topology.model import Port, Topology
from verify.driver import ProbeError

DATA = Path(__file__).parent / "preflight"
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
STACK = "dev"
ANYWHERE = "0.0.0.0"  # noqa: S104  # an address that others listen on
MESSAGES: Mapping[str, Mapping[str, str]] = yaml.safe_load((DATA / "messages.yaml").read_text())


def recorded(name: str, **info: Any) -> engine.Engine:
    """Return a recorded engine, with some fields of `/info` changed."""
    told = json.loads((DATA / f"{name}.json").read_text())
    return engine.parse(told["version"], told["info"] | info, told["networks"])


def topology(**hosts: Any) -> Topology:
    """Return the dev site with the usual data root, and other keys of its hosts changed by their name."""
    config = configuration()
    config["hosts"]["docker-srv"]["data-root"] = "/var/lib/docker"
    for name, keys in hosts.items():
        config["hosts"][name.replace("_", "-")] |= keys
    return load(config)


@cache
def _resources() -> tuple[Resource, ...]:
    return tuple(run(configuration()))


def exported(*, protect: bool = False) -> dict[str, Any]:
    """Return the output of `pulumi stack export` after an update of dev; ids are `<name>-id`."""
    resources = [
        {
            "urn": each.urn,
            "type": each.type,
            "id": f"{each.name}-id",
            "inputs": each.inputs,
            "parent": _parent(each.urn),
            "protect": protect,
        }
        for each in _resources()
    ]
    manifest = {"time": "2026-11-29T11:00:00.123456789Z", "version": "v3.259.0"}
    return {"version": 3, "deployment": {"manifest": manifest, "resources": resources}}


def _parent(urn: str) -> str:
    """Return the parent of a container's volume; other resources have none here."""
    head, _, name = urn.rpartition("::")
    service = re.sub(r"-(data|positions)$", "", name)
    return f"{head.rpartition('$')[0]}::{service}" if "index/volume:Volume" in urn else ""


def site(state: PulumiState | None = None, **hosts: Any) -> PlannedSite:
    """Return the dev site; without a state, none of it exists yet."""
    return PlannedSite(topology=topology(**hosts), state=state or PulumiState(), stack=STACK)


def container(name: str, image: str = "nginx:1.27", identity: str = "3f2a9c", **more: Any) -> dict[str, Any]:
    """Return a row of `/containers/json`."""
    row = {"Id": identity, "Names": [f"/{name}"], "Image": image, "Created": 1793520000, "Ports": []}
    return row | more


def network(name: str, subnet: str = "192.168.99.0/24", bridge: str = "", **more: Any) -> dict[str, Any]:
    """Return a row of `/networks`."""
    options = {"com.docker.network.bridge.name": bridge} if bridge else {}
    return {
        "Name": name,
        "Id": "9be1d0a7c2f44e01",
        "Created": "2026-11-01T08:00:00Z",
        "Driver": "bridge",
        "IPAM": {"Config": [{"Subnet": subnet}]},
        "Options": options,
    } | more


def guest(number: int, name: str = "web", kind: str = "qemu", node: str = "pve1") -> dict[str, Any]:
    """Return a row of a node's guests."""
    return {"vmid": number, "name": name, "kind": kind, "node": node}


TEMPLATE = guest(9000, "template")
NODE = proxmox.Node(
    guests=(TEMPLATE,),
    storages=({"storage": "local-lvm", "content": "images,rootdir"}, {"storage": "local", "content": "iso"}),
    networks=({"iface": "vmbr0", "type": "bridge", "bridge_ports": "eno1"}, {"iface": "eno1", "type": "eth"}),
    clock=NOW,
)


ARCHIVE = "local:vztmpl/debian-12.tar.zst"
STORES = dataclasses.replace(
    NODE,
    storages=(
        {"storage": "local-lvm", "content": "images,rootdir"},
        {"storage": "local", "content": "iso,vztmpl"},
    ),
)


def with_container(**more: Any) -> PlannedSite:
    """Return the dev site with Jellyfin as a system container."""
    config = configuration()
    config["services"]["jellyfin"] |= {"kind": "lxc", "ostemplate": ARCHIVE, **more}
    return PlannedSite(topology=load(config), state=PulumiState(), stack=STACK)


def with_existing() -> PlannedSite:
    """Return the dev site with a guest that is there already."""
    config = configuration()
    config["services"]["site-1"]["existing-mac"] = "BC:24:11:00:00:65"
    return PlannedSite(topology=load(config), state=PulumiState(), stack=STACK)


def node(**more: Any) -> proxmox.Node:
    """Return a node with what the dev site needs, and more rows."""
    rows: dict[str, Any] = {key: (*getattr(NODE, key), *value) for key, value in more.items()}
    return dataclasses.replace(NODE, **rows)


def asked(answers: Mapping[str, Any], **hosts: Any) -> Iterable[PreflightFinding]:
    """Return the findings for a Proxmox API with these answers."""
    found = proxmox.read(site(**hosts), Answers(answers))
    return [found] if isinstance(found, PreflightFinding) else proxmox.findings(site(**hosts), found)


class Answers:
    """A Proxmox API that answers these paths; for others it raises the error of a broken connection."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        """Return the answer's data."""
        if path not in self._answers:
            url = f"https://pve:8006/api2/json/{path}"
            raise ProbeError(
                f"{url}: [Errno 111] Connection refused; see that the API answers and its token may read"
            )
        return self._answers[path]


def refused(name: str, told: Daemon | None = None, host: str = "", **info: Any) -> Iterable[PreflightFinding]:
    """Return the refusals of a recorded engine."""
    return engine.refusals(recorded(name, **info), topology(), told, host)


def version(name: str, **told: Any) -> Iterable[PreflightFinding]:
    """Return the refusals of a recorded engine with another version."""
    return engine.refusals(dataclasses.replace(recorded(name), **told), topology())


CONNECTED = (
    "0 0 [::1]:80 [::1]:50\n0 0 10.0.0.4:22 10.10.20.7:50\n0 0 [::ffff:10.0.0.4]:22 [::ffff:10.0.0.9]:5\n"
)
"""Connections that are in no Docker zone's way."""


def kind(name: str, **more: Any) -> dict[str, Any]:
    """Return an interface of a kind, as `ip -json -details link` lists it."""
    return {"linkinfo": {"info_kind": name}, **more}


def vlan(tag: int) -> dict[str, Any]:
    """Return an interface of a VLAN on the trunk."""
    return {"link": "trunk", "linkinfo": {"info_kind": "vlan", "info_data": {"id": tag}}}


VLANS = {"trunk.10": kind("veth"), "trunk.20": vlan(20), "trunk.30": vlan(30)}
"""The interfaces for the dev site's legs; that of VLAN 10 is an access port."""

CASES: Mapping[str, Callable[[], Iterable[PreflightFinding]]] = {
    "no engine": lambda: [checks.silent("unix:///var/run/docker.sock: No such file or directory")],
    "a socket of others": lambda: [checks.silent("unix:///var/run/docker.sock: Permission denied")],
    "podman": lambda: refused("podman-5.4.2", host="unix:///run/podman/podman.sock"),
    "rootless": lambda: refused(
        "engine-20.10.24", SecurityOptions=["name=seccomp,profile=default", "name=rootless"]
    ),
    "19.03": lambda: version("engine-20.10.24", version="19.03.15"),
    "27": lambda: refused("engine-27.5.1"),
    "a min API": lambda: version("engine-29.5.0", min_api_version="1.52"),
    "iptables: false": lambda: refused(
        "engine-20.10.24", Daemon(iptables=False, in_file=frozenset({"iptables"}))
    ),
    "another iptables": lambda: engine.other_iptables(
        recorded("engine-20.10.24"), Daemon(), [":FORWARD ACCEPT [0:0]\n"]
    ),
    "allow-direct-routing": lambda: refused("engine-29.5.0", Daemon(direct_routing=True)),
    "default-network-opts": lambda: refused(
        "engine-29.5.0",
        Daemon(
            network_options=("com.docker.network.driver.mtu",), in_file=frozenset({"default-network-opts"})
        ),
    ),
    "no raw rules": lambda: refused("engine-28.5.2"),
    "no raw rules by the process": lambda: refused("engine-29.5.0", Daemon(no_raw_rules=True)),
    "no forwarding": lambda: refused("engine-29.5.0", IPv4Forwarding=False),
    "no forwarding by the engine": lambda: refused(
        "engine-20.10.24", Daemon(ip_forward=False), IPv4Forwarding=False
    ),
    "userns-remap": lambda: refused(
        "engine-20.10.24", SecurityOptions=["name=seccomp,profile=default", "name=userns"]
    ),
    "another data root": lambda: refused("engine-20.10.24", DockerRootDir="/srv/docker"),
    "a container": lambda: docker.taken(
        site(), There(containers=[container("grafana", "grafana/grafana:11")])
    ),
    "a container of a stack that is made": lambda: docker.taken(
        site(PulumiState.of(exported())), There(containers=[container("grafana")])
    ),
    "a network": lambda: docker.taken(site(), There(networks=[network("frontend")])),
    "a volume": lambda: docker.taken(
        site(), There(volumes=[{"Name": "loki-data", "CreatedAt": "2026-11-01T08:00:00Z"}])
    ),
    "a bridge of another network": lambda: docker.bridges(
        site(), There(networks=[network("mine", bridge="br-edge")]), {"br-edge"}
    ),
    "a bridge of the machine": lambda: docker.bridges(site(), There(), {"lo", "br-edge"}),
    "a table of another stack": lambda: docker.tables(
        site(), {"inet homelab-network": 'table inet homelab-network {\n  oifname "br-media" drop\n}'}
    ),
    "a table for legs of another": lambda: docker.tables(
        site(),
        {"netdev homelab-network-eth1": "ip saddr 10.10.10.20 drop"},
    ),
    "no interface for legs": lambda: links.of_legs(topology(), {"trunk.10": {}, "trunk.20": vlan(20)}),
    "another VLAN's interface for legs": lambda: links.of_legs(topology(), VLANS | {"trunk.30": vlan(3)}),
    "a bridge of virtual machines": lambda: links.bridged(
        {"br0": kind("bridge"), "vnet0": kind("tun", master="br0")}, [":FORWARD DROP [0:0]\n"], (), ["none"]
    ),
    "a prefix of another network": lambda: docker.prefixes(
        site(), There(networks=[network("media_default", "172.30.1.0/25")]), Machine()
    ),
    "a prefix of an interface": lambda: docker.prefixes(
        site(), There(), Machine(addresses={IPv4Interface("10.10.20.4/24"): "ens19.20"})
    ),
    "a prefix of a route": lambda: docker.prefixes(
        site(),
        There(),
        Machine(routes=list(docker.routes([{"dst": "172.30.3.0/24", "gateway": "10.0.0.1", "dev": "eth0"}]))),
    ),
    "a wide route in the lab": lambda: docker.prefixes(
        dataclasses.replace(site(), lab=True),
        There(),
        Machine(routes=[(IPv4Network("10.10.20.0/22"), "via 10.8.0.1 dev wg0")]),
    ),
    "a prefix of an ssh session": lambda: docker.prefixes(
        site(), There(), Machine(peers=list(docker.peers(f"0 0 10.0.0.4:22 172.30.1.7:5012\n{CONNECTED}")))
    ),
    "an address pool": lambda: docker.prefixes(
        site(), There(pools=[IPv4Network("10.10.20.0/22")]), Machine()
    ),
    "a port of a process": lambda: docker.ports(
        site(), There(), [Listener(address=ANYWHERE, port=Port.parse(443), process="nginx", pid=812)]
    ),
    "a port of a process that only root may name": lambda: docker.ports(
        site(), There(), [Listener(address="*", port=Port.parse(80))]
    ),
    "a port of a container": lambda: docker.ports(
        site(),
        There(
            containers=[
                container("web", Ports=[{"IP": ANYWHERE, "PublicPort": 80, "PrivatePort": 80, "Type": "tcp"}])
            ]
        ),
        [Listener(address=ANYWHERE, port=Port.parse(80), process="docker-proxy", pid=77)],
    ),
    "no Proxmox": lambda: asked({}),
    "another node": lambda: asked({"nodes": [{"node": "pve2"}, {"node": "backup"}]}),
    "no template": lambda: proxmox.findings(site(), dataclasses.replace(NODE, guests=())),
    "no storage": lambda: proxmox.findings(site(proxmox_srv={"storage": "ceph"}), NODE),
    "a storage for other things": lambda: proxmox.findings(site(proxmox_srv={"snippets": "local"}), NODE),
    "no template of containers": lambda: proxmox.findings(with_container(), STORES),
    "another template of containers": lambda: proxmox.findings(
        with_container(), dataclasses.replace(STORES, archives=frozenset({"local:vztmpl/debian-13.tar.zst"}))
    ),
    "a storage that the token may not see": lambda: proxmox.findings(
        with_container(ostemplate="tank:vztmpl/debian-12.tar.zst"), STORES
    ),
    "storages that take no containers": lambda: proxmox.findings(
        with_container(volumes=[{"path": "/a", "size": 1, "storage": "local"}]),
        dataclasses.replace(STORES, archives=frozenset({ARCHIVE})),
    ),
    "what an API token can't set": lambda: proxmox.findings(
        with_container(
            features=["nesting", "fuse"],
            volumes=[{"path": "/films", "host-path": "/srv/films"}],
            devices=["/dev/dri/renderD128"],
        ),
        dataclasses.replace(STORES, archives=frozenset({ARCHIVE})),
    ),
    "a container whose state is lost": lambda: proxmox.findings(
        with_container(),
        dataclasses.replace(
            STORES,
            archives=frozenset({ARCHIVE}),
            guests=(TEMPLATE, guest(201, "jellyfin", "lxc")),
            ours=frozenset({201}),
        ),
    ),
    "a VM": lambda: proxmox.findings(site(), node(guests=[guest(101, node="pve2")])),
    "a guest that exists, as declared": lambda: proxmox.findings(
        with_existing(), node(guests=[guest(101, "blog", node="pve2")])
    ),
    "a guest that does not exist": lambda: proxmox.findings(with_existing(), node()),
    "a guest whose state is lost": lambda: proxmox.findings(
        site(), node(guests=[guest(101, "site-1")], ours=[101])
    ),
    "the lab's guests whose state is lost": lambda: [proxmox.state_lost(site(), node(ours=[101, 102]))],
    "a system container": lambda: proxmox.findings(site(), node(guests=[guest(301, "dns", "lxc")])),
    "a system container that exists, as declared": lambda: proxmox.findings(
        with_container(),
        dataclasses.replace(
            STORES, archives=frozenset({ARCHIVE}), guests=(TEMPLATE, guest(201, "jellyfin", "lxc"))
        ),
    ),
    "a VM that exists, as declared but for its card": lambda: proxmox.findings(
        site(), node(guests=[guest(101, "site-1")])
    ),
    "a guest that the token may not see": lambda: proxmox.findings(site(), node(hidden=[102])),
    "a group": lambda: proxmox.findings(site(), node(groups=[{"group": "jellyfin", "comment": "by hand"}])),
    "an alias": lambda: proxmox.findings(
        site(), node(aliases=[{"name": "ingress-vlan10", "cidr": "10.0.0.1"}])
    ),
    "an ipset": lambda: proxmox.findings(_leaving(), node(ipsets=[{"name": "internet"}])),
    "rules of the datacenter": lambda: proxmox_firewall.findings(
        site(), Firewall(rules={"cluster/firewall/rules": 2}), ()
    ),
    "rules of a guest that exists": lambda: proxmox_firewall.findings(
        with_existing(),
        Firewall(rules={"cluster/firewall/rules": 0, "nodes/pve2/qemu/101/firewall/rules": 1}),
        [guest(101, "blog", node="pve2")],
    ),
    "a guest whose firewall waits": lambda: proxmox_firewall.findings(
        site(), Firewall(rules={"cluster/firewall/rules": 0}, cut_off=[guest(105, "nas")]), ()
    ),
    "the bridge": lambda: proxmox.findings(
        site(), node(networks=[{"iface": "vmbr1", "type": "bridge", "comments": "tenants\n"}])
    ),
    "no bridge": lambda: proxmox.findings(site(proxmox_srv={"existing-bridge": True}), NODE),
    "no bridge of a zone": lambda: proxmox.findings(_flat(), NODE),
    "a bridge of a zone that shows VLANs": lambda: proxmox.findings(
        _flat(),
        dataclasses.replace(NODE, networks=({"iface": "vmbr9", "type": "bridge", "bridge_vlan_aware": 1},)),
    ),
    "a bridge of a zone with the node on it": lambda: proxmox.findings(
        _flat(),
        dataclasses.replace(NODE, networks=({"iface": "vmbr9", "type": "bridge", "cidr": "10.10.9.2/24"},)),
    ),
    "no uplink": lambda: proxmox.findings(site(proxmox_srv={"uplink": "enp9s0"}), NODE),
    "an uplink of another bridge": lambda: proxmox.findings(site(proxmox_srv={"uplink": "eno1"}), NODE),
    "a clock before the last update": lambda: machine.clock(
        datetime(1970, 1, 1, tzinfo=UTC), {"the last update of the stack": NOW}
    ),
    "a host's clock": lambda: machine.clocks_apart("proxmox-srv", NOW, NOW - timedelta(hours=2)),
    "a kernel without the module": lambda: machine.bridge_filter(DATA / "none"),
    "a session that could not come back": lambda: machine.lock_out(
        site(docker_srv={"closed": True}).topology, ("192.168.77.7", 22)
    ),
    "root": lambda: machine.root(1000, "make up", "it starts a Docker engine"),
    "a service less": lambda: machine.stack_file_lacks(
        _without("jellyfin"), PulumiState.of(exported(protect=True)), STACK
    ),
}
"""A fault -> what finds it; preflight/messages.yaml has the message."""


def _leaving() -> PlannedSite:
    """Return the dev site with a guest's flow to the internet, which needs an ipset."""
    config = configuration()
    config["flows"].append("stirling-pdf -> internet:443/tcp")
    return PlannedSite(topology=load(config), state=PulumiState(), stack=STACK)


def _flat() -> PlannedSite:
    """Return the dev site with a guest on a bridge without VLANs."""
    config = configuration()
    config["zones"]["lan"] = {"role": "tenant", "prefix": "10.10.9.0/24", "bridge": "vmbr9"}
    config["services"]["dns"] = {"zone": "lan", "vmid": 401, "address": "10.10.9.53"}
    return PlannedSite(topology=load(config), state=PulumiState(), stack=STACK)


def _without(name: str) -> Topology:
    config = configuration()
    del config["services"][name]
    for key in ("flows", "unencrypted"):
        config[key] = [each for each in config[key] if name not in str(each)]
    return load(config)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the time zone to UTC, because messages have local times."""
    monkeypatch.setenv("TZ", "UTC")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("authority")
def test_a_finding_says_what_and_what_to_do(name: str) -> None:
    """Each fault is found once, with its check and its exact message."""
    state = os.environ["HOMELAB_STATE"]
    found = [(str(each.check), str(each).replace(state, "/srv/state")) for each in CASES[name]()]
    assert found == [(MESSAGES[name]["check"], MESSAGES[name]["says"])]
