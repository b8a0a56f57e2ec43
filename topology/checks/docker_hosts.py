"""Checks of several Docker hosts, and of the host that a Docker network and its containers are on.

The ingress is on one of them, and with it all that is for it alone: probe zones, legs, trusted proxies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from topology.checks.site import Reason, Site, twice
from topology.fault import Fault, nearest
from topology.model import Container, DockerHost, Flow, Guest, Role, Volumes


def networks(site: Site) -> Iterator[Fault]:
    """Check that each Docker network names its host where there are several, and one that is there."""
    names = [host.name for host in site.docker_hosts]
    for zone in site.zones.values():
        path, name = f"zones.{zone.name}.docker-host", zone.docker_host
        if name and not zone.is_docker:
            yield Fault(path, f"a zone of role {zone.role} is no Docker network", "remove it")
        elif site.unreadable_in("hosts") or not (names and zone.is_docker):
            continue
        elif name is None and len(names) > 1:
            yield Fault(path, "missing, and there are several", f"write one of {', '.join(names)}")
        elif name and name not in names:
            near = nearest(name, names) or " or ".join(names)
            yield Fault(path, f"there is no Docker host {name}", f"write {near}")
        elif zone.role is Role.PROBE and name and name != names[0]:
            fault = f"ports are published on {names[0]} alone, so a probe zone sees none here"
            yield Fault(path, fault, f"write {names[0]}")


def hosts(site: Site) -> Iterator[Fault]:
    """Check that hosts beside the ingress's are reached by SSH, in use, and have nothing of the ingress's."""
    first, *others = site.docker_hosts or (None,)
    if first is None or not others:
        return
    logins: list[tuple[str, object]] = [
        (f"hosts.{host.name}.ssh.address", host.ssh.address) for host in site.docker_hosts if host.ssh
    ]
    own = [(f"hosts.{host.name}.address", host.address) for host in site.docker_hosts]
    yield from twice([*logins, *((path, at) for path, at in own if int(at))], "name each machine once")
    yield from _one_machine(site.docker_hosts)
    for path in (path for path, address in own if not int(address)):
        fault = "missing, and by it the rules of one host keep its containers from another"
        yield Fault(path, fault, "write the one that it has on the site's own network")
    if site.router:
        yield Fault(
            f"hosts.{site.router.name}",
            "a router's rules tell one Docker host from guests, and there are several",
            "keep one Docker host, or leave the router out",
        )
    used = {zone.docker_host for zone in site.zones.values() if zone.is_docker}
    known = used <= {*site.hosts} and not site.unreadable_in("zones")
    for host in others:
        path = f"hosts.{host.name}"
        if host.ssh is None:
            fault = f"missing, and {first.name} is the one that is reached without it or by docker:host"
            yield Fault(f"{path}.ssh", fault, "name its address, user and host-key")
        if host.name not in used and known:
            yield Fault(
                path, "no Docker network is on it", "put one there with docker-host, or remove the host"
            )
        for key in ("trunk", "trusted-proxies", "verify-every"):
            if getattr(host, key.replace("-", "_")):
                why = f"is for the host of the ingress, {first.name}"
                yield Fault(f"{path}.{key}", why, "leave it out")


def _one_machine(hosts: Sequence[DockerHost]) -> Iterator[Fault]:
    """Yield logins that lead to another host, whose rules would be replaced: both have one name."""
    for host in hosts:
        address = host.ssh.address if host.ssh else ""
        path = f"hosts.{host.name}.ssh.address"
        others = [each.name for each in hosts if each != host and str(each.address) == address]
        if others:
            yield Fault(path, f"{address} is the address of {others[0]}", f"name that of {host.name}")
        elif hosts[0].ssh is None and (address == "localhost" or address.startswith("127.")):
            yield Fault(
                path, f"{address} is this machine, which is {hosts[0].name}", f"name that of {host.name}"
            )


def containers(site: Site) -> Iterator[Fault]:
    """Check that a container's zones, and what it waits for or borrows a volume of, are on its host."""
    volumes = Volumes.of(site.containers, site.volumes, site.name_prefix)
    for container in site.containers:
        path, zones = f"services.{container.name}", [site.zones.get(name) for name in container.zones]
        on = {zone.docker_host: zone.name for zone in zones if zone and zone.is_docker and zone.docker_host}
        if len(on) > 1:
            told = " and ".join(f"{zone} on {host}" for host, zone in on.items())
            yield Fault(f"{path}.zones", f"{told} are networks of two hosts", "keep those of one host")
            continue
        for key, names in (
            ("depends_on", container.depends_on),
            ("volumes", volumes.borrowed(container).values()),
        ):
            for name in names:
                other = site.services.get(name)
                if isinstance(other, Container) and (apart := _apart(site, container, other)):
                    fault = f"{name} is on {apart[1]}, another host"
                    yield Fault(f"{path}.{key}", fault, "leave it out, or run both on one host")


def between(site: Site, flow: Flow) -> Reason | None:
    """Return why a flow can't pass between a Docker host and another, or guests; None where it can."""
    match site.services.get(flow.source), site.services.get(flow.destination):
        case Container() as source, Container() as end if apart := _apart(site, source, end):
            on = f"{source.name} is on {apart[0]} and {end.name} on {apart[1]}"
            return (
                f"can never work: {on}, whose containers share no network",
                f"run both on one host, or run {end.name} in a guest",
            )
        case (Container() as own, Guest() as guest) | (Guest() as guest, Container() as own):
            host, first = site.docker_host_of(own), next(iter(site.docker_hosts), None)
            if host and first and host != first:
                return (
                    f"can never work: {own.name} is on {host.name}, and legs are {first.name}'s alone",
                    f"run {own.name} on {first.name}, or leave {guest.name} out",
                )
    return None


def _apart(site: Site, one: Container, other: Container) -> tuple[str, str] | None:
    """Return the names of the two hosts that two containers are on; None where it is one, or not known."""
    hosts = site.docker_host_of(one), site.docker_host_of(other)
    return (hosts[0].name, hosts[1].name) if hosts[0] and hosts[1] and hosts[0] != hosts[1] else None
