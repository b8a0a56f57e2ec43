"""Guests of kind lxc: sound ones are accepted, and each change of what holds them in is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import yaml

from policies.rule import Finding
from resources.typed import view
from tests.documents import blocks
from tests.policies.mutations import Mutation, _of_resource
from tests.policies.seen import findings
from tests.policies.sound import Stack, run
from tests.site import configuration, own
from topology.project import PROJECT

CONTAINER = "proxmoxve:index/containerLegacy:ContainerLegacy"
TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
MEDIA = {
    "features": ["nesting", "keyctl"],
    "volumes": [{"path": "/var/lib/media", "size": 20}, {"path": "/films", "host-path": "/srv/films"}],
    "devices": ["/dev/dri/renderD128"],
}
"""What Jellyfin is given in most homes."""
EXCEPTED = {
    "rule": "sharing-with-the-node-excepted",
    "resource": "media",
    "reason": "films are on the node, and its graphics card converts them",
    "owner": "me",
    "expires": "2027-05-01",
}


def site(*exceptions: dict[str, str], **media: Any) -> dict[str, Any]:
    """Return the sound site's keys with two containers, `dns` and `media`, in the zone of Jellyfin."""
    config = configuration()
    lxc = {"kind": "lxc", "zone": "apps", "ostemplate": TEMPLATE}
    config["services"] |= {
        "dns": {**lxc, "vmid": 203, "address": "10.10.20.13", "ports": ["53/udp"]},
        "media": {**lxc, "vmid": 204, "address": "10.10.20.14", "ports": [8096], **media},
    }
    config["flows"] += ["jellyfin -> dns:53/udp", "traefik -> media:8096/tcp"]
    config["unencrypted"].append({"flow": "traefik -> media:8096/tcp", "reason": "it speaks no TLS"})
    config["exceptions"] = [*exceptions]
    return config


@cache
def _made() -> bytes:
    return pickle.dumps(run(site(EXCEPTED, **MEDIA)))


def stack() -> Stack:
    """Return the stack of a site with containers, of which one shares by exception; a fresh copy."""
    return Stack(resources=pickle.loads(_made()), config=site(EXCEPTED, **MEDIA))  # noqa: S301


def test_containers_are_accepted() -> None:
    """A container that shares nothing needs no exception, nesting included."""
    assert (
        findings(site(features=["nesting"], volumes=[{"path": "/data", "size": 3, "storage": "tank"}])) == []
    )


def test_sharing_is_accepted_by_exception() -> None:
    """What is declared and excepted is accepted."""
    assert stack().judge().findings == ()


def test_the_documents_example_is_accepted() -> None:
    """The example of docs/configuration.md has no finding."""
    (text,) = blocks(PROJECT / "docs" / "configuration.md", "yaml", "#### System containers")
    told, config = own(yaml.safe_load(text)["config"]), configuration()
    config["services"] |= told["services"]
    config["exceptions"] = [{**each, "expires": str(each["expires"])} for each in told["exceptions"]]
    assert findings(config) == []


def test_sharing_needs_an_exception() -> None:
    """Each declared share is told in the words of the stack file, and the exception must be in force."""
    config = site(**MEDIA | {"unprivileged": False, "features": ["nesting", "nfs", "mknod"]})
    shares = (
        "devicePassthroughs[0] shares more than the kernel with the node (devices: /dev/dri/renderD128)",
        "features.mounts shares more than the kernel with the node (features: nfs)",
        "features.nesting shares more than the kernel with the node (features: nesting)",
        "features.mknod shares more than the kernel with the node (features: mknod)",
        "unprivileged shares more than the kernel with the node (unprivileged: false)",
        "mountPoints[1] shares more than the kernel with the node (volumes: /srv/films as /films, read-only)",
    )
    rule = EXCEPTED["rule"]
    assert sorted(findings(config)) == sorted(f"{rule}: media: {share}" for share in shares)
    late = findings(site(EXCEPTED | {"expires": "2026-01-01"}, **MEDIA))
    assert [each for each in late if "exceptions-current" in each] != []
    assert [each for each in late if each.startswith(rule)] != []


def test_an_exception_covers_nothing_undeclared() -> None:
    """With the exception in force, a share that the stack file does not name is refused by another rule."""
    changed = stack()
    changed.inputs(CONTAINER, "media")["features"]["fuse"] = True
    assert [f"{each.rule}: {each}" for each in changed.judge().findings] == [
        "guests-have-no-back-door: media: features.fuse leads past its network cards"
    ]


def test_a_container_without_a_set_is_pinned_by_its_address() -> None:
    """Proxmox fills a container's IP filter with its own address, so a set of it is not demanded."""
    changed = stack()
    changed.remove("ipset", "dns")
    assert changed.judge().findings == ()


Change = Callable[[Stack], None]


def _set(path: str, value: Any, name: str = "media") -> Change:
    """Return a change of a container's property; `path` has steps parted by dots."""

    def change(stack: Stack) -> None:
        at: Any = stack.inputs(CONTAINER, name)
        *way, last = (int(step) if step.isdecimal() else step for step in path.split("."))
        for step in way:
            at = at[step]
        if value is None:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)

    return change


def _firewall(kind: str, name: str = "media", **values: Any) -> Change:
    return lambda stack: stack.inputs(kind, name).update(values)


def _second_card(stack: Stack) -> None:
    cards = stack.inputs(CONTAINER, "media")["networkInterfaces"]
    cards.append({**cards[0], "name": "eth1", "vlanId": 30.0, "macAddress": "BC:24:11:00:01:CC"})


def _as_a_machine(stack: Stack) -> None:
    inputs = copy.deepcopy(stack.inputs("vm", "jellyfin"))
    card = {**inputs["networkDevices"][0], "macAddress": "BC:24:11:00:00:CC"}
    inputs |= {"name": "media", "vmId": 204.0, "networkDevices": [card]}
    inputs["initialization"]["ipConfigs"] = [{"ipv4": {"address": "10.10.20.14/24"}}]
    stack.remove(CONTAINER, "media")
    stack.add("vm", "media", inputs)


def _as_a_container(stack: Stack) -> None:
    inputs = copy.deepcopy(stack.inputs(CONTAINER, "dns"))
    inputs |= {"vmId": 201.0}
    inputs["networkInterfaces"][0]["macAddress"] = "BC:24:11:00:00:C9"
    inputs["initialization"] = {
        "hostname": "jellyfin",
        "ipConfigs": [{"ipv4": {"address": "10.10.20.11/24"}}],
    }
    stack.remove("vm", "jellyfin")
    stack.add(CONTAINER, "jellyfin", inputs)


def _secret_password(stack: Stack) -> None:
    stack.inputs(CONTAINER, "media")["initialization"]["userAccount"] = {"password": "x"}
    stack.mark_secret(CONTAINER, "media", "initialization", "userAccount", "password")


def _by_vm_id(kind: str) -> Change:
    def change(stack: Stack) -> None:
        inputs = stack.inputs(kind, "media")
        inputs["vmId"] = inputs.pop("containerId")

    return change


def _both_ids(stack: Stack) -> None:
    stack.inputs("options", "media")["vmId"] = 204.0


def _wider_group(stack: Stack) -> None:
    stack.inputs("group", "media")["rules"][0].pop("source")


def _open_port(stack: Stack) -> None:
    rules = stack.inputs("group", "media")["rules"]
    rules.append({**rules[0], "dport": "22"})


def _without(kind: str, name: str = "media") -> Change:
    return lambda stack: stack.remove(kind, name)


MUTANTS: dict[str, tuple[str, Change]] = {
    "another bridge": ("guests-on-their-vlan", _set("networkInterfaces.0.bridge", "vmbr0")),
    "the default bridge": ("guests-on-their-vlan", _set("networkInterfaces.0.bridge", None)),
    "another tag": ("guests-on-their-vlan", _set("networkInterfaces.0.vlanId", 30.0)),
    "no tag": ("guests-on-their-vlan", _set("networkInterfaces.0.vlanId", None)),
    "a second card": ("guests-on-their-vlan", _second_card),
    "no card": ("guests-on-their-vlan", _set("networkInterfaces", [])),
    "a card that is off": ("guests-on-their-vlan", _set("networkInterfaces.0.enabled", value=False)),
    "another node": ("guests-on-their-vlan", _set("nodeName", "pve2")),
    "firewall off on the card": ("cards-firewalled", _set("networkInterfaces.0.firewall", value=False)),
    "firewall left out on the card": ("cards-firewalled", _set("networkInterfaces.0.firewall", None)),
    "another hardware address": (
        "guests-have-a-role",
        _set("networkInterfaces.0.macAddress", "BC:24:11:00:00:CD"),
    ),
    "a chance hardware address": ("guests-have-a-role", _set("networkInterfaces.0.macAddress", None)),
    "another id": ("guests-have-a-role", _set("vmId", 299.0)),
    "another name": ("guests-have-a-role", _set("initialization.hostname", "nobody")),
    "a machine in its place": ("guests-have-a-role", _as_a_machine),
    "a container in a machine's place": ("guests-have-a-role", _as_a_container),
    "another address": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.address", "10.10.20.99/24"),
    ),
    "a leased address": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.address", "dhcp"),
    ),
    "an address of a wider network": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.address", "10.10.20.14/8"),
    ),
    "an address without its network": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.address", "10.10.20.14"),
    ),
    "a gateway that no flow needs": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.gateway", "10.10.20.1"),
    ),
    "no address": ("guests-keep-their-address", _set("initialization.ipConfigs", [])),
    "a gateway of its own": (
        "guests-keep-their-address",
        _set("initialization.ipConfigs.0.ipv4.gateway", "10.10.20.66"),
    ),
    "IPv6": ("guests-keep-their-address", _set("initialization.ipConfigs.0.ipv6", {"address": "auto"})),
    "an unmanaged distribution": ("guests-keep-their-address", _set("operatingSystem.type", "unmanaged")),
    "another distribution": ("guests-keep-their-address", _set("operatingSystem.type", "alpine")),
    "no distribution": ("guests-keep-their-address", _set("operatingSystem.type", None)),
    "privileged": ("guests-have-no-back-door", _set("unprivileged", value=False)),
    "privileged by default": ("guests-have-no-back-door", _set("unprivileged", None)),
    "a feature": ("guests-have-no-back-door", _set("features.mknod", value=True)),
    "a file system": ("guests-have-no-back-door", _set("features.mounts", ["nfs"])),
    "an unknown feature": ("known-properties", _set("features.nobodyKnows", value=True)),
    "another device": ("guests-have-no-back-door", _set("devicePassthroughs.0.path", "/dev/sda")),
    "a device where none is": (
        "guests-have-no-back-door",
        _set("devicePassthroughs", [{"path": "/dev/kvm"}], "dns"),
    ),
    "another folder": ("guests-have-no-back-door", _set("mountPoints.1.volume", "/etc")),
    "a folder elsewhere": ("guests-have-no-back-door", _set("mountPoints.1.path", "/root")),
    "a writable folder": ("guests-have-no-back-door", _set("mountPoints.1.readOnly", value=False)),
    "a disk of the node": ("guests-have-no-back-door", _set("mountPoints.0.volume", "/dev/sda1")),
    "a hook script": ("guests-have-no-back-door", _set("hookScriptFileId", "local:snippets/x")),
    "another's volume": (
        "guests-have-their-own-disks",
        _set("mountPoints.0.volume", "local-lvm:vm-301-disk-0"),
    ),
    "an undeclared volume": (
        "guests-have-their-own-disks",
        _set("mountPoints", [{"path": "/x", "volume": "local-lvm", "size": "1G"}], "dns"),
    ),
    "a missing folder": ("guests-have-their-own-disks", _set("mountPoints.1", None)),
    "a missing volume": ("guests-have-their-own-disks", _set("mountPoints.0", None)),
    "another template": (
        "guests-have-their-own-disks",
        _set("operatingSystem.templateFileId", "local:vztmpl/debian-12-evil_1_amd64.tar.zst"),
    ),
    "a backup as template": (
        "guests-have-their-own-disks",
        _set("operatingSystem.templateFileId", "local:backup/vzdump-lxc-301.tar"),
    ),
    "no template": ("guests-have-their-own-disks", _set("operatingSystem", None)),
    "a clone of another": ("guests-have-their-own-disks", _set("clone", {"vmId": 203.0})),
    "another's root disk": (
        "guests-have-their-own-disks",
        _set("disk.pathInDatastore", "vm-301-disk-0"),
    ),
    "switched off": ("declared-services-exist", _set("started", value=False)),
    "a template itself": ("declared-services-exist", _set("template", value=True)),
    "gone": ("declared-services-exist", _without(CONTAINER)),
    "no ip filter": ("guest-options-closed", _firewall("options", ipfilter=False)),
    "no filter of hardware addresses": ("guest-options-closed", _firewall("options", macfilter=False)),
    "leases": ("guest-options-closed", _firewall("options", dhcp=True)),
    "router advertisements": ("guest-options-closed", _firewall("options", radv=True)),
    "open output": ("guest-options-closed", _firewall("options", outputPolicy="ACCEPT")),
    "open input": ("guest-options-closed", _firewall("options", inputPolicy="ACCEPT")),
    "firewall off": ("guest-options-closed", _firewall("options", enabled=False)),
    "options gone": ("guests-firewalled", _without("options")),
    "options of a machine": ("guests-firewalled", _by_vm_id("options")),
    "rules of a machine": ("guests-firewalled", _by_vm_id("rules")),
    "a set of a machine": ("guests-firewalled", _by_vm_id("ipset")),
    "options of both kinds": ("guests-firewalled", _both_ids),
    "options of another node": ("guests-firewalled", _firewall("options", nodeName="pve2")),
    "options of another guest": ("guests-firewalled", _firewall("options", containerId=203.0)),
    "a wider set": ("guests-pinned", _firewall("ipset", cidrs=[{"name": "10.10.20.0/24"}])),
    "another's address in the set": (
        "guests-pinned",
        _firewall("ipset", cidrs=[{"name": "10.10.20.14"}, {"name": "10.10.20.11"}]),
    ),
    "group missing": ("firewall-can-be-built", _without("group")),
    "group not included": ("unreachable-flows", _firewall("rules", rules=[])),
    "a group of another": (
        "unreachable-flows",
        _firewall("rules", rules=[{"securityGroup": "dns", "iface": "net0"}]),
    ),
    "a rule without a peer": ("accept-rules-narrow", _wider_group),
    "an undeclared port": ("accept-rules-declared", _open_port),
    "identity maps": (
        "known-properties",
        _set("idmaps", [{"type": "uid", "hostId": 0.0, "containerId": 0.0, "size": 1.0}]),
    ),
    "environment": ("known-properties", _set("environmentVariables", {"A": "b"})),
    "a console without a login": ("guests-set-up-by-their-own", _set("console", {"type": "shell"})),
    "a password that is a secret": ("guests-set-up-by-their-own", _secret_password),
    "a password": (
        "logins-are-secrets",
        _set("initialization.userAccount", {"password": "x"}),
    ),
}


def test_there_are_enough_mutants() -> None:
    """At least thirty changes are tried."""
    assert len(MUTANTS) >= 30


@pytest.mark.parametrize("name", MUTANTS)
def test_a_change_is_refused(name: str) -> None:
    """Each change of a container or its firewall is refused by the rule about it."""
    rule, change = MUTANTS[name]
    changed = stack()
    change(changed)
    found: tuple[Finding, ...] = changed.judge().findings
    assert rule in {each.rule for each in found}, [f"{each.rule}: {each}" for each in found]


def _opens_nothing(mutation: Mutation) -> bool:
    """Whether a mutation takes from a container what it was given, or changes a name that nothing uses."""
    given, path = mutation.operator, mutation.path
    given_up = path.startswith("features") or path in {"devicePassthroughs", "devicePassthroughs[0]"}
    return (
        (given_up and given in {"remove", "empty"})
        or (given == "flip" and path in {"features.nesting", "features.keyctl"})  # both are on
        or (path == "disk" and given == "remove")  # Proxmox then makes one of 4 GiB
        or (path == "devicePassthroughs" and given == "repeat")
        or (path == "networkInterfaces[0].name" and given != "unknown")  # rules name the card by its place
        # Proxmox fills the filter of a container with its address where it has no set.
        or (mutation.kind == "ipset" and (given, path) in SET_ASIDE)
    )


SET_ASIDE = {("remove", ""), ("rename", "name"), ("remove", "containerId")}
KINDS = (CONTAINER, "options", "rules", "ipset", "group")


@pytest.mark.timeout(600)  # some hundred stacks, on a busy machine
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.rpartition(":")[2])
def test_every_property_counts(kind: str) -> None:
    """Adding, removing, widening, renaming or hiding any property of a container is refused."""
    sound, survivors, tried = stack(), [], 0
    for mutation in _of_resource(kind, sound.get(kind, "media"), sound):
        changed = stack()
        mutation.apply(changed)
        if mutation.path and mutation.operator != "add twin of":
            before, after = view(sound.get(kind, "media")), view(changed.get(kind, "media"))
            if (before.inputs, before.faults) == (after.inputs, after.faults):
                continue
        tried += 1
        if bool(changed.judge().findings) is _opens_nothing(mutation):
            survivors.append(str(mutation))
    assert survivors == []
    assert tried > 10
