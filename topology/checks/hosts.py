"""Checks of the hosts: what each kind needs, and management access to Proxmox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from topology.checks.site import Site
from topology.fault import Fault
from topology.model import SSH, DockerHost, Flow, Port, ProxmoxHost, Role, RouterHost, entries

API: Final = Port(number=8006)
"""Port of the Proxmox API."""

_PROXY_LENGTH: Final = 8
"""Shortest prefix of a trusted proxy; a shorter one trusts nearly every address."""


def hosts(site: Site) -> Iterator[Fault]:
    """Check that there is a host, one router at most, and what zones need."""
    if not site.halves:
        yield Fault("hosts", "there is no host", "declare one of kind docker, one of kind proxmox, or both")
        return
    kinds: dict[type[DockerHost | ProxmoxHost | RouterHost], str]
    kinds = {DockerHost: "docker", ProxmoxHost: "proxmox", RouterHost: "router"}
    for kind, what in kinds.items():
        found = [name for name, host in site.hosts.items() if isinstance(host, kind)]
        if len(found) > 1 and kind is RouterHost:
            yield Fault("hosts", f"{' and '.join(found)} are both of kind {what}", "keep one")
        needing = next((path for each, path in site.needing.items() if each is kind), None)
        if not found and needing and not site.unreadable_in("hosts"):
            yield Fault(
                "hosts",
                f"no host is of kind {what}, and {needing} needs one",
                "declare one, or remove all that needs it",
            )


def proxies(site: Site) -> Iterator[Fault]:
    """Check that each trusted proxy is a small prefix."""
    for host in site.docker_hosts:
        for index, prefix in enumerate(host.trusted_proxies):
            if prefix.prefixlen < _PROXY_LENGTH:
                yield Fault(
                    f"hosts.{host.name}.trusted-proxies[{index}]",
                    f"{prefix} is wider than /{_PROXY_LENGTH}",
                    "name the addresses of the proxies",
                )


def name_servers(site: Site) -> Iterator[Fault]:
    """Check that containers that go out have name servers to ask, where flows lead, and no other has any."""
    out = [each for each in site.containers if Role.EGRESS in site.roles(each) and not each.dns]
    for host in site.docker_hosts:
        path = f"hosts.{host.name}.name-servers"
        leaving = [each.name for each in out if site.docker_host_of(each) == host]
        if leaving and not host.name_servers:
            yield Fault(path, f"missing, and {leaving[0]} is in an egress zone", "write it like [9.9.9.9]")
        unread = site.unreadable_in("services") or site.unreadable_in("zones")
        unread |= any(site.docker_host_of(each) is None for each in out)
        if host.name_servers and not leaving and not unread:
            yield Fault(path, "no container is in an egress zone, so none asks them", "remove it")
        for index, ip in enumerate(host.name_servers if not unread else ()):
            if site.name_server(ip) is None:
                yield Fault(
                    f"{path}[{index}]",
                    f"{ip} is neither on the internet nor a guest or external machine",
                    f"use a public one, like 9.9.9.9, or declare a zone of role external like {ip}/32",
                )


def trunk(site: Site) -> Iterator[Fault]:
    """Check that Docker-SRV has a trunk interface where the site has VLANs or legs. No default is safe."""
    zones = [
        zone for zone in site.zones.values() if zone.vlan or (zone.name in site.leg_zones and not zone.bridge)
    ]
    if site.router or site.unreadable_in("hosts"):  # which may be the router
        declared = {name for container in site.containers for name in container.addresses}
        zones = [zone for zone in zones if zone.ingress or zone.name in declared]
    for host in site.docker_hosts[:1]:
        if zones and host.trunk is None:
            why = "is a VLAN" if zones[0].vlan else "has guests that a container reaches"
            yield Fault(
                f"hosts.{host.name}.trunk",
                f"missing, and zone {zones[0].name} {why}",
                "name the interface whose VLAN interfaces carry the containers' legs, like ens18",
            )


def existing_bridge(site: Site) -> Iterator[Fault]:
    """Check that an existing bridge has no declared uplink, since it already has its ports."""
    for host in site.hosts.values():
        if isinstance(host, ProxmoxHost) and host.existing_bridge and host.uplink:
            yield Fault(
                f"hosts.{host.name}.uplink",
                f"{host.bridge} is there already, with the ports that it has",
                "remove it, or existing-bridge",
            )


def closed(site: Site) -> Iterator[Fault]:
    """Check that ports of a Docker host are limited and its own, and that its SSH server stays reachable.

    Pulumi's commands reach the host on port 22, where `ssh` is declared.
    """
    published = entries(site.flows.values(), site.ingress.name, site.outsides) if site.ingress else {}
    for host in site.docker_hosts:
        path = f"hosts.{host.name}"
        for index, port in enumerate(host.ports):
            at = f"{path}.ports[{index}]"
            if not host.closed:
                yield Fault(at, f"no rule limits {port} of an open host", f"add {path}.closed: true")
            elif port in published and host == site.docker_hosts[0]:
                yield Fault(at, f"{port} is where the ingress is published", "remove it")
        if not host.closed or host.ssh is None or site.unreadable_in("flows") or site.unreadable_in("zones"):
            continue
        needed = [Flow(source=source, destination=host.name, port=SSH) for source in site.management]
        if not set(needed) & set(site.flows.values()):
            add = f"add {needed[0]}" if needed else "declare a zone of role management, and a flow from it"
            yield Fault(f"{path}.closed", "locks you out: no management source reaches its SSH server", add)


def lock_out(site: Site) -> Iterator[Fault]:
    """Check that management reaches the Proxmox API, since the datacenter firewall's input policy is DROP."""
    if not site.nodes or not site.management or site.unreadable_in("flows") or site.unreadable_in("hosts"):
        return
    needed = [
        Flow(source=source, destination=node.name, port=API)
        for node in site.nodes
        for source in site.management
    ]
    if not set(needed) & set(site.flows.values()):
        yield Fault(
            "flows",
            "the datacenter firewall drops input, and no management source reaches the Proxmox API",
            f"add {needed[0]}",
        )
