"""Checks of several Proxmox hosts, which are the nodes of one cluster, and of the node that a guest is on."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.site import Site, twice
from topology.fault import Fault, nearest
from topology.model import LxcGuest, ProxmoxHost


def nodes(site: Site) -> Iterator[Fault]:
    """Check that several nodes are told apart, reach each other, and share the guests' networks.

    Proxmox's firewall lets the nodes' own network, which `local_network` names, use the ports by which one
    node asks another; it lets corosync through by itself.
    """
    if len(site.nodes) < 2:  # noqa: PLR2004  # a cluster
        return
    yield from twice(((f"hosts.{host.name}.node", host.node) for host in site.nodes), "name each node once")
    seen: dict[str, ProxmoxHost] = {}
    for host in site.nodes:
        path = f"hosts.{host.name}"
        if host.address is None:
            yield Fault(
                f"{path}.address",
                "missing, and nodes of a cluster are told apart by it",
                "write the one that the node has in a management zone",
            )
        if not (host.uplink or host.existing_bridge):
            yield Fault(
                f"{path}.uplink",
                f"missing, so {host.bridge} leads to no other node",
                "name the port of the node that joins the bridges, or write existing-bridge: true",
            )
        for zone in site.management:
            if host.address and host.address in site.zones[zone].prefix:
                seen.setdefault(zone, host)
    for zone, host in [*seen.items()][1:]:
        yield Fault(
            f"hosts.{host.name}.address",
            f"{host.address} is in {zone}, and hosts.{next(iter(seen.values())).name} is not",
            "use addresses in one management zone, or the nodes can't ask each other",
        )


def templates(site: Site) -> Iterator[Fault]:
    """Check that nodes with machines have templates of their own, or one on a storage that they share."""
    machines = [guest for _, guest in site.machines if not isinstance(guest, LxcGuest)]
    hosts = {host.name: host for guest in machines if (host := site.node_of(guest))}
    first: dict[int, ProxmoxHost] = {}
    for host in sorted(hosts.values(), key=lambda each: each.name):
        other = first.setdefault(host.template, host)
        is_shared = host.shared_storage and other.shared_storage and host.storage == other.storage
        if other != host and not is_shared:
            yield Fault(
                f"hosts.{host.name}.template",
                f"{host.template} is on {other.name}, on a storage that {host.name} does not have",
                "make one with an id of its own there, or write shared-storage: true for both",
            )


def guests(site: Site) -> Iterator[Fault]:
    """Check that each guest names its node where there are several, and one that is there."""
    names = [host.name for host in site.nodes]
    if site.unreadable_in("hosts") or not names:
        return
    for place, guest in site.machines:
        path = f"{place}.node"
        if guest.node is None and len(names) > 1:
            yield Fault(path, "missing, and there are several", f"write one of {', '.join(names)}")
        elif guest.node is not None and guest.node not in names:
            near = nearest(guest.node, names) or " or ".join(names)
            yield Fault(path, f"there is no Proxmox host {guest.node}", f"write {near}")
