"""What is in the way on Proxmox-SRV: ids and names already in use, and what is missing there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from preflight.docker import Site
from preflight.finding import Check, PreflightFinding
from preflight.wanted import Wanted, aliases, bridges, groups, guests, ipsets
from topology.fault import nearest
from verify.driver import ProbeError
from verify.inventory import Reader

_NAMESPACE: Final = "homelab-network"

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
    clock: datetime | None = None


def read(site: Site, api: Reader) -> Node | PreflightFinding:
    """Return the API's objects, or a finding if it can't be asked about the node."""
    path = f"{_NAMESPACE}:hosts.{site.topology.proxmox.name}.node"
    node = site.topology.proxmox.node
    try:
        known = [str(each["node"]) for each in api.get("nodes")]
        if node not in known:
            close = nearest(node, known) or ", ".join(known)
            return PreflightFinding(
                Check.NODE_UNKNOWN, path, f"{node} is no node of this Proxmox", f"write node: {close}"
            )
        listed = [row for name in known for row in _guests(api, name)]
        return Node(
            guests=listed,
            hidden=frozenset(_hidden(site, api, {int(row["vmid"]) for row in listed})),
            storages=api.get(f"nodes/{node}/storage"),
            networks=api.get(f"nodes/{node}/network"),
            groups=api.get("cluster/firewall/groups"),
            aliases=api.get("cluster/firewall/aliases"),
            ipsets=api.get("cluster/firewall/ipset"),
            clock=_clock(api, node),
        )
    except ProbeError as fault:
        what, _, remedy = str(fault).partition("; ")
        endpoint, _, reason = what.partition(": ")
        return PreflightFinding(
            Check.PROXMOX_SILENT, "proxmoxve:endpoint", f"{endpoint} fails: {reason}", remedy
        )


def findings(site: Site, node: Node) -> Iterator[PreflightFinding]:
    """Yield a finding for everything that is in the way or missing."""
    yield from _guests_taken(site, node)
    yield from _names_taken(site, node)
    yield from _missing(site, node)
    yield from _bridge(site, node)


def _guests(api: Reader, node: str) -> Iterator[Mapping[str, Any]]:
    for kind in ("qemu", "lxc"):
        for each in api.get(f"nodes/{node}/{kind}"):
            yield {**each, "node": node, "kind": kind}


def _hidden(site: Site, api: Reader, seen: set[int]) -> Iterator[int]:
    """Yield declared ids that Proxmox reports as taken by guests that it does not list."""
    for guest, wanted in guests(site.topology):
        if guest.vmid not in seen and not _is_made(site, wanted):
            try:
                api.get(f"cluster/nextid?vmid={guest.vmid}")
            except ProbeError:
                yield guest.vmid


def _guests_taken(site: Site, node: Node) -> Iterator[PreflightFinding]:
    rows = {int(row["vmid"]): row for row in node.guests}
    for guest, wanted in guests(site.topology):
        row = rows.get(guest.vmid)
        if guest.vmid in node.hidden:
            yield PreflightFinding(
                Check.VM_TAKEN,
                f"vmid {guest.vmid}",
                "taken by a guest that the token may not see",
                f"give {guest.name} another vmid, or see whose with `pvesh get /cluster/resources` there",
            )
        if row is None or _is_made(site, wanted):
            continue
        command = "pct destroy" if row["kind"] == "lxc" else "qm destroy"
        imported = wanted.import_command(site.stack, f"{row['node']}/{guest.vmid}", site.state)
        ways = [f"give {guest.name} another vmid"]
        ways += [f"import it with `{imported}`"] if row["kind"] == "qemu" else []
        ways += [f"remove it, with its disk, by `{command} {guest.vmid}` on {row['node']}"]
        who = f"{row.get('name', 'a guest without a name')} on node {row['node']}"
        yield PreflightFinding(Check.VM_TAKEN, f"vmid {guest.vmid}", f"taken by {who}", ", or ".join(ways))


def _names_taken(site: Site, node: Node) -> Iterator[PreflightFinding]:
    kinds = (
        ("security group", groups(site.topology), {row["group"]: row for row in node.groups}, "groups"),
        ("alias", aliases(site.topology), {row["name"]: row for row in node.aliases}, "aliases"),
        ("ipset", ipsets(site.topology), {row["name"]: row for row in node.ipsets}, "ipset"),
    )
    for kind, all_wanted, rows, folder in kinds:
        for wanted in all_wanted:
            row = rows.get(wanted.physical)
            if row is None or _is_made(site, wanted):
                continue
            said = f" ({row['comment']})" if row.get("comment") else ""
            ways = [f"remove it with `pvesh delete /cluster/firewall/{folder}/{wanted.physical}`"]
            ways += [f"set {_NAMESPACE}:name-prefix"]
            if folder != "aliases":  # the provider can't import an alias
                identity = f"cluster/{wanted.physical}" if folder == "ipset" else wanted.physical
                imported = wanted.import_command(site.stack, identity, site.state)
                ways.insert(0, f"import it with `{imported}`")
            yield PreflightFinding(
                Check.FIREWALL_NAME_TAKEN,
                f"{kind} {wanted.physical}",
                f"taken by one of the datacenter's{said}",
                ", or ".join(ways),
            )


def _missing(site: Site, node: Node) -> Iterator[PreflightFinding]:
    host = site.topology.proxmox
    path = f"{_NAMESPACE}:hosts.{host.name}"
    machines = {int(row["vmid"]) for row in node.guests if row["kind"] == "qemu" and row["node"] == host.node}
    if site.topology.guests and host.template not in machines:
        yield PreflightFinding(
            Check.TEMPLATE_MISSING,
            f"{path}.template",
            f"{host.template} is no VM of node {host.node}",
            "make the template (docs/real-hosts.md), or name another",
        )
    yield from _storages(site, node, path)


def _storages(site: Site, node: Node, path: str) -> Iterator[PreflightFinding]:
    """Yield a finding for each storage unfit for its content; the API lists only those the token may see.

    Snippet files are copied by hand, so the token need not see their storage.
    """
    host = site.topology.proxmox
    content = {str(row["storage"]): str(row.get("content", "")).split(",") for row in node.storages}
    wanted = [("storage", host.storage, "images")] if site.topology.guests else []
    wanted += [("snippets", host.snippets, "snippets")] if host.snippets in content else []
    for key, name, kind in wanted:
        if kind in content.get(name, ()):
            continue
        able = ", ".join(sorted(each for each, kinds in content.items() if kind in kinds)) or "none does"
        fault = (
            f"takes no {kind}" if name in content else f"is no storage of {host.node} that the token may see"
        )
        yield PreflightFinding(
            Check.STORAGE_MISSING, f"{path}.{key}", f"{name} {fault}", f"name one that takes {kind}: {able}"
        )


def _bridge(site: Site, node: Node) -> Iterator[PreflightFinding]:
    host = site.topology.proxmox
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
    (wanted,) = bridges(site.topology)
    if host.bridge in interfaces and not _is_made(site, wanted):
        row = interfaces[host.bridge]
        imported = wanted.import_command(site.stack, f"{host.node}:{host.bridge}", site.state)
        yield PreflightFinding(
            Check.NODE_BRIDGE_TAKEN,
            f"bridge {host.bridge} of {host.node}",
            f"taken by a {row.get('type', 'network')}{_said(row)}",
            f"name another in {path}.bridge, or write existing-bridge: true, or import it with `{imported}`, "
            f"or remove it with `pvesh delete /nodes/{host.node}/network/{host.bridge}`",
        )
    if host.uplink:
        yield from _uplink(host.uplink, host.bridge, f"{path}.uplink", interfaces)


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


def _is_made(site: Site, wanted: Wanted) -> bool:
    return site.is_made(wanted) or wanted.urn(site.stack) in site.ignored


def _clock(api: Reader, node: str) -> datetime | None:
    """Return the node's clock; None if the token may not read it."""
    try:
        return datetime.fromtimestamp(int(api.get(f"nodes/{node}/time")["time"]), UTC)
    except ProbeError:
        return None
