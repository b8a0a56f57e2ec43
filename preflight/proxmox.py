"""What is in the way on the Proxmox nodes: ids and names already in use, and what is missing there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from preflight import proxmox_firewall
from preflight.docker import PlannedSite
from preflight.finding import Check, PreflightFinding
from preflight.found import Found
from preflight.proxmox_firewall import Firewall
from preflight.wanted import Wanted, aliases, bridge, groups, guests, ipsets
from topology.fault import nearest
from topology.model import MARK, Guest, LxcGuest, Machine, ProxmoxHost, RouterGuest, RouterHost, machine_of
from verify.driver import ProbeError
from verify.inventory import Reader

_NAMESPACE: Final = "homelab-network"
_KEPT: Final = {
    "qemu": "take {} over by existing-mac",
    "lxc": "leave {} out of the stack file, as no import keeps a system container",
}
"""What keeps a guest that the stack file declares as it runs."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Node:
    """The API's objects, each row as it lists it; `guests` are those of every node, `clock` is the node's."""

    guests: Rows = ()
    storages: Rows = ()
    networks: Rows = ()
    groups: Rows = ()
    aliases: Rows = ()
    ipsets: Rows = ()
    hidden: frozenset[int] = frozenset()
    """Ids of guests that the token may not see."""
    archives: frozenset[str] = frozenset()
    """Templates of containers on the storages that declared ones are on."""
    ours: frozenset[int] = frozenset()
    """Declared ids of guests that the state lacks and whose notes name this stack as their maker."""
    clock: datetime | None = None
    firewall: Firewall | None = None
    further: Mapping[str, Node] = field(default_factory=dict)
    """What the cluster's other declared nodes have of their own, by host; `guests` are this one's."""

    def of(self, host: ProxmoxHost) -> Node:
        """Return what a node has of its own."""
        return self.further.get(host.name, self)


def read(site: PlannedSite, api: Reader) -> Node | PreflightFinding:
    """Return the API's objects, or a finding if it can't be asked about the node."""
    first, *others = site.topology.proxmox_hosts
    try:
        known = [str(each["node"]) for each in api.get("nodes")]
        for host in (first, *others):
            if host.node not in known:
                close = nearest(host.node, known) or ", ".join(known)
                return PreflightFinding(
                    Check.NODE_UNKNOWN,
                    f"{_NAMESPACE}:hosts.{host.name}.node",
                    f"{host.node} is no node of this Proxmox",
                    f"write node: {close}",
                )
        listed = [row for name in known for row in _guests(api, name)]
        return replace(
            _own(site, api, first),
            guests=listed,
            hidden=frozenset(_hidden(site, api, {int(row["vmid"]) for row in listed})),
            ours=frozenset(_ours(site, api, listed)),
            groups=api.get("cluster/firewall/groups"),
            aliases=api.get("cluster/firewall/aliases"),
            ipsets=api.get("cluster/firewall/ipset"),
            firewall=proxmox_firewall.read(site, api, listed),
            further={host.name: _own(site, api, host) for host in others},
        )
    except ProbeError as fault:
        what, _, remedy = str(fault).partition("; ")
        endpoint, _, reason = what.partition(": ")
        return PreflightFinding(
            Check.PROXMOX_SILENT, "proxmoxve:endpoint", f"{endpoint} fails: {reason}", remedy
        )


def findings(site: PlannedSite, node: Node) -> Iterator[PreflightFinding]:
    """Yield a finding for everything that is in the way or missing."""
    yield from _hidden_taken(site, node)
    for found in in_the_way(site, node):
        yield found.finding(site.stack, site.state)
    for host in site.topology.proxmox_hosts:
        yield from _missing(site, node, host)
    yield from _absent(site, node)
    if node.firewall:
        yield from proxmox_firewall.findings(site, node.firewall, node.guests)
    yield from _roots(site)
    for host in site.topology.proxmox_hosts:
        yield from _bridge(node.of(host), host)
        yield from _flats(site, node.of(host), host)


def in_the_way(site: PlannedSite, node: Node) -> Iterator[Found]:
    """Yield objects of the API that have an id or name of the stack and are not in the stack's state."""
    yield from _guests_taken(site, node)
    yield from _names_taken(site, node)
    for host in site.topology.proxmox_hosts:
        yield from _bridge_taken(site, node.of(host), host)


def state_lost(site: PlannedSite, node: Node) -> PreflightFinding:
    """Return the finding for a lab whose API has guests that the stack made and whose state lacks them."""
    kept = os.path.expandvars("$HOMELAB_STATE/proxmox.json")
    return PreflightFinding(
        Check.STATE_LOST,
        f"stack {site.stack}",
        f"its state lacks what it made on the lab's Proxmox API: {', '.join(map(str, sorted(node.ours)))}",
        f"run `make down STACK={site.stack}` and `rm {kept}`, which removes every guest of the lab",
    )


def _guests(api: Reader, node: str) -> Iterator[Mapping[str, Any]]:
    for kind in ("qemu", "lxc"):
        for each in api.get(f"nodes/{node}/{kind}"):
            yield {**each, "node": node, "kind": kind}


def _own(site: PlannedSite, api: Reader, host: ProxmoxHost) -> Node:
    """Return what a node has of its own."""
    storages = api.get(f"nodes/{host.node}/storage")
    return Node(
        archives=frozenset(_archives(site, api, host, storages)),
        storages=storages,
        networks=api.get(f"nodes/{host.node}/network"),
        clock=_clock(api, host.node),
    )


def _archives(site: PlannedSite, api: Reader, host: ProxmoxHost, storages: Rows) -> Iterator[str]:
    """Yield the templates of containers on each storage that the token may see and a guest names."""
    seen = {str(row["storage"]) for row in storages}
    for storage in sorted({_storage_of(guest) for guest in _containers(site, host)} & seen):
        rows = api.get(f"nodes/{host.node}/storage/{storage}/content?content=vztmpl")
        yield from (str(row["volid"]) for row in rows)


def _on(site: PlannedSite, host: ProxmoxHost) -> list[Guest]:
    return [guest for guest in site.topology.guests if site.topology.node_of(guest) == host]


def _containers(site: PlannedSite, host: ProxmoxHost) -> list[LxcGuest]:
    return [guest for guest in _on(site, host) if isinstance(guest, LxcGuest)]


def _has_machines(site: PlannedSite, host: ProxmoxHost) -> bool:
    """Whether machines are to be made on a node; one that exists needs no template and no storage."""
    machines = (each for each in _on(site, host) if machine_of(each) is Machine.VIRTUAL_MACHINE)
    return any(each.existing_mac is None for each in machines) or _has_router(site, host)


def _has_router(site: PlannedSite, host: ProxmoxHost) -> bool:
    router = site.topology.router
    return bool(router and router.guest and site.topology.node_of(router.guest) == host)


def _storage_of(guest: LxcGuest) -> str:
    return guest.ostemplate.partition(":")[0]


def _hidden(site: PlannedSite, api: Reader, seen: set[int]) -> Iterator[int]:
    """Yield declared ids that Proxmox reports as taken by guests that it does not list."""
    for guest, wanted in guests(site.topology):
        if guest.vmid not in seen and not _is_made(site, wanted):
            try:
                api.get(f"cluster/nextid?vmid={guest.vmid}")
            except ProbeError:
                yield guest.vmid


def _ours(site: PlannedSite, api: Reader, listed: Rows) -> Iterator[int]:
    """Yield declared ids of guests that the state lacks and whose notes have the stack's mark."""
    paths = {int(row["vmid"]): f"nodes/{row['node']}/{row['kind']}" for row in listed}
    for guest, wanted in guests(site.topology):
        if guest.vmid in paths and not _is_made(site, wanted):
            config = api.get(f"{paths[guest.vmid]}/{guest.vmid}/config")
            if f"{MARK}: {site.stack}" in str(config.get("description", "")).splitlines():
                yield guest.vmid


def _hidden_taken(site: PlannedSite, node: Node) -> Iterator[PreflightFinding]:
    for guest, wanted in guests(site.topology):
        if guest.vmid in node.hidden:
            yield PreflightFinding(
                Check.VM_TAKEN,
                f"vmid {guest.vmid}",
                "taken by a guest that the token may not see",
                f"give {wanted.name} another vmid, or see whose with `pvesh get /cluster/resources` there",
            )


def _guests_taken(site: PlannedSite, node: Node) -> Iterator[Found]:
    rows = {int(row["vmid"]): row for row in node.guests}
    for guest, wanted in guests(site.topology):
        row = rows.get(guest.vmid)
        if row is None or _is_made(site, wanted):
            continue
        if guest.existing_mac and row["kind"] == "qemu":
            yield Found(
                check=Check.VM_TAKEN,
                wanted=wanted,
                path=f"vmid {guest.vmid}",
                what=f"{row.get('name', 'a guest')} on node {row['node']}, which existing-mac takes over",
                removal="leave it out of the stack file",
                identity=f"{row['node']}/{guest.vmid}",
            )
            continue
        ours = guest.vmid in node.ours
        by = ", made by this stack according to its notes" if ours else ""
        better = ""
        if ours:
            better = "restore the stack's state with `pulumi stack import`, or "
        elif row.get("name") == wanted.name and not isinstance(guest, RouterGuest):
            better = f"{_KEPT[row['kind']].format(wanted.name)}, or "
        command = "pct destroy" if row["kind"] == "lxc" else "qm destroy"
        # Without an identity: an imported guest lacks its clone, so Pulumi would make it anew, disk included.
        yield Found(
            check=Check.VM_TAKEN,
            wanted=wanted,
            path=f"vmid {guest.vmid}",
            what=f"{row.get('name', 'a guest without a name')} on node {row['node']}{by}",
            removal=f"remove it, with its disk, by `{command} {guest.vmid}` on {row['node']}",
            instead=f"{better}give {wanted.name} another vmid",
        )


def _names_taken(site: PlannedSite, node: Node) -> Iterator[Found]:
    kinds = (
        ("security group", groups(site.topology), {row["group"]: row for row in node.groups}, "groups"),
        ("alias", aliases(site.topology), {row["name"]: row for row in node.aliases}, "aliases"),
        ("ipset", ipsets(site.topology), {row["name"]: row for row in node.ipsets}, "ipset"),
    )
    for kind, all_wanted, rows, folder in kinds:
        for wanted in all_wanted:
            name, row = wanted.physical, rows.get(wanted.physical)
            if row is None or _is_made(site, wanted):
                continue
            said = f" ({row['comment']})" if row.get("comment") else ""
            yield Found(
                check=Check.FIREWALL_NAME_TAKEN,
                wanted=wanted,
                path=f"{kind} {name}",
                what=f"one of the datacenter's{said}",
                removal=f"remove it with `pvesh delete /cluster/firewall/{folder}/{name}`",
                # The provider can't import an alias.
                identity={"groups": name, "ipset": f"cluster/{name}"}.get(folder, ""),
                instead=f"set {_NAMESPACE}:name-prefix",
            )


def _bridge_taken(site: PlannedSite, node: Node, host: ProxmoxHost) -> Iterator[Found]:
    wanted = bridge(site.topology, host)
    row = {row["iface"]: row for row in node.networks}.get(host.bridge)
    if wanted is None or row is None or _is_made(site, wanted):
        return
    yield Found(
        check=Check.NODE_BRIDGE_TAKEN,
        wanted=wanted,
        path=f"bridge {host.bridge} of {host.node}",
        what=f"a {row.get('type', 'network')}{_said(row)}",
        removal=f"remove it with `pvesh delete /nodes/{host.node}/network/{host.bridge}`",
        identity=f"{host.node}:{host.bridge}",
        instead=f"name another in {_NAMESPACE}:hosts.{host.name}.bridge, or write existing-bridge: true",
    )


def _missing(site: PlannedSite, cluster: Node, host: ProxmoxHost) -> Iterator[PreflightFinding]:
    path, node = f"{_NAMESPACE}:hosts.{host.name}", cluster.of(host)
    at = site.topology.template_node(host).node
    machines = {int(row["vmid"]) for row in cluster.guests if (row["kind"], row["node"]) == ("qemu", at)}
    if _has_machines(site, host) and host.template not in machines:
        yield PreflightFinding(
            Check.TEMPLATE_MISSING,
            f"{path}.template",
            f"{host.template} is no VM of node {at}",
            "make the template (docs/real-hosts.md), or name another",
        )
    yield from _storages(site, node, host)
    stores = {str(row["storage"]) for row in node.storages}
    for guest in _containers(site, host):
        if guest.ostemplate not in node.archives and _storage_of(guest) in stores:
            yield PreflightFinding(
                Check.TEMPLATE_MISSING,
                f"{_NAMESPACE}:services.{guest.name}.ostemplate",
                f"{guest.ostemplate} is not on node {host.node}",
                "download it there (docs/real-hosts.md), or name one of "
                + (", ".join(sorted(node.archives)) or "those that `pveam available` lists"),
            )


def _absent(site: PlannedSite, node: Node) -> Iterator[PreflightFinding]:
    """Yield guests that are declared to exist, and are no virtual machine of any node."""
    there = {int(row["vmid"]) for row in node.guests if row["kind"] == "qemu"}
    for guest, wanted in guests(site.topology):
        if guest.existing_mac and guest.vmid not in there:
            yield PreflightFinding(
                Check.VM_MISSING,
                f"{_NAMESPACE}:services.{wanted.name}.existing-mac",
                f"says that {guest.vmid} exists, and it is no virtual machine that the token may see",
                "correct its vmid, or leave existing-mac out, so that it is made",
            )


def _roots(site: PlannedSite) -> Iterator[PreflightFinding]:
    """Yield containers to be made with settings that Proxmox takes from no API token."""
    for guest, wanted in guests(site.topology):
        if isinstance(guest, LxcGuest) and guest.roots and not _is_made(site, wanted):
            yield PreflightFinding(
                Check.ROOT_ALONE,
                f"{_NAMESPACE}:services.{guest.name}",
                f"its {' and '.join(guest.roots)} can be set by root@pam alone, and by no API token",
                "make it without them, set them as root there, then declare them (docs/real-hosts.md)",
            )


def _storages(site: PlannedSite, node: Node, host: ProxmoxHost) -> Iterator[PreflightFinding]:
    """Yield a finding for each storage unfit for its content; the API lists only those the token may see.

    Snippet files are copied by hand, so the token need not see their storage.
    """
    path = f"{_NAMESPACE}:hosts.{host.name}"
    content = {str(row["storage"]): str(row.get("content", "")).split(",") for row in node.storages}
    wanted = [(f"{path}.storage", host.storage, "images")] if _has_machines(site, host) else []
    wanted += [(f"{path}.storage", host.storage, "rootdir")] if _containers(site, host) else []
    wanted += [(f"{path}.snippets", host.snippets, "snippets")] if host.snippets in content else []
    for guest in _containers(site, host):
        own = f"{_NAMESPACE}:services.{guest.name}"
        wanted.append((f"{own}.ostemplate", _storage_of(guest), "vztmpl"))
        for index, point in enumerate(guest.volumes):
            if point.storage:
                wanted.append((f"{own}.volumes[{index}].storage", point.storage, "rootdir"))
    for key, name, kind in wanted:
        if kind in content.get(name, ()):
            continue
        able = ", ".join(sorted(each for each, kinds in content.items() if kind in kinds)) or "none does"
        fault = (
            f"takes no {kind}" if name in content else f"is no storage of {host.node} that the token may see"
        )
        yield PreflightFinding(
            Check.STORAGE_MISSING, key, f"{name} {fault}", f"name one that takes {kind}: {able}"
        )


def _bridge(node: Node, host: ProxmoxHost) -> Iterator[PreflightFinding]:
    path = f"{_NAMESPACE}:hosts.{host.name}"
    interfaces = {str(row["iface"]): row for row in node.networks}
    if host.existing_bridge:
        if host.bridge not in interfaces:
            yield PreflightFinding(
                Check.NODE_BRIDGE_MISSING,
                f"{path}.existing-bridge",
                f"says that {host.bridge} exists, and node {host.node} has no such bridge",
                "make it there, or write existing-bridge: false",
            )
        return
    if host.uplink:
        yield from _uplink(host.uplink, host.bridge, f"{path}.uplink", interfaces)


def _flats(site: PlannedSite, node: Node, host: ProxmoxHost) -> Iterator[PreflightFinding]:
    """Yield a finding for each bridge of a zone that the node lacks, or that would show its guests VLANs."""
    interfaces = {str(row["iface"]): row for row in node.networks}
    used = {guest.zones[0] for guest in _on(site, host)}
    if (router := site.topology.router) and _has_router(site, host):
        used |= {*router.legs, *([router.wan.zone] if router.wan and router.wan.zone else ())}
        yield from _plugged(router, interfaces, host)
    for zone in (zone for zone in site.topology.vlans if zone.bridge and zone.name in used):
        path, row = f"{_NAMESPACE}:zones.{zone.name}.bridge", interfaces.get(zone.bridge or "")
        if row is None:
            yield PreflightFinding(
                Check.NODE_BRIDGE_MISSING,
                path,
                f"node {host.node} has no bridge {zone.bridge}",
                "make it there, or name another",
            )
        elif row.get("bridge_vlan_aware"):
            yield PreflightFinding(
                Check.NODE_BRIDGE_MISSING,
                path,
                f"{zone.bridge} of {host.node} is VLAN-aware, so its guests see every VLAN that it carries",
                "give the zone a vlan, or name a bridge that carries none",
            )
        elif row.get("cidr") and not (host.address and host.address in zone.prefix):
            yield PreflightFinding(
                Check.NODE_BRIDGE_MISSING,
                path,
                f"{host.node} has {row['cidr']} on {zone.bridge}, which no hosts.{host.name}.address names",
                "take it off the bridge, or name a bridge on which the node has no address",
            )


def _plugged(
    router: RouterHost, interfaces: Mapping[str, Mapping[str, Any]], host: ProxmoxHost
) -> Iterator[PreflightFinding]:
    """Yield a finding for each bridge that a router's card names and the node lacks."""
    named = {f"legs.{zone}": leg.bridge for zone, leg in router.legs.items()}
    for place, name in (named | {"wan": router.wan.bridge if router.wan else None}).items():
        if name and name not in interfaces:
            yield PreflightFinding(
                Check.NODE_BRIDGE_MISSING,
                f"{_NAMESPACE}:hosts.{router.name}.{place}.bridge",
                f"node {host.node} has no bridge {name}",
                "make it there, or name another",
            )


def _uplink(
    uplink: str, bridge: str, path: str, interfaces: Mapping[str, Mapping[str, Any]]
) -> Iterator[PreflightFinding]:
    holders = [
        name
        for name, row in interfaces.items()
        if name != bridge and uplink in str(row.get("bridge_ports", "")).split()
    ]
    if uplink not in interfaces:
        yield PreflightFinding(
            Check.UPLINK, path, f"{uplink} is no port of the node", "name one that `ip link` shows there"
        )
    elif holders:
        yield PreflightFinding(
            Check.UPLINK,
            path,
            f"{uplink} is a port of {holders[0]}, which loses it if it joins {bridge}",
            f"name another port, or write existing-bridge: true and bridge: {holders[0]}",
        )


def _said(row: Mapping[str, Any]) -> str:
    said = str(row.get("comments", "")).strip() or str(row.get("cidr", ""))
    return f" ({said})" if said else ""


def _is_made(site: PlannedSite, wanted: Wanted) -> bool:
    return site.is_made(wanted) or wanted.urn(site.stack) in site.ignored


def _clock(api: Reader, node: str) -> datetime | None:
    """Return the node's clock; None if the token may not read it."""
    try:
        return datetime.fromtimestamp(int(api.get(f"nodes/{node}/time")["time"]), UTC)
    except ProbeError:
        return None
