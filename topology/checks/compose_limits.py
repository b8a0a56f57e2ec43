"""Checks of a container's limits, names, privileges and of the order in which containers are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from topology.checks.compose import is_path
from topology.checks.site import Site
from topology.fault import Fault, nearest, shown
from topology.host_folders import within
from topology.limits import HARMLESS_SYSCTL, ULIMITS
from topology.model import DNS, App, Container, Flow, Slot, Volumes

_NUMBERS: Final = re.compile(r"-?\d{1,12}([ \t]+-?\d{1,12}){0,3}", re.ASCII)
_OF_OTHERS: Final = {
    "homelab-network.": ("is a mark of the program's own", "leave it out"),
    "traefik.": ("would be a route", "declare a flow from the ingress, which makes the route"),
    "com.docker.": ("is a mark of the engine's", "leave it out"),
    "org.opencontainers.": ("is a mark of images", "leave it out"),
}
_NOWHERE: Final = IPv4Network("0.0.0.0/8")


def borrowed(site: Site) -> Iterator[Fault]:
    """Check that the ingress, which is made first, mounts no volume that is made with another service."""
    if ingress := site.ingress:
        named = Volumes.of(site.containers, site.volumes, site.name_prefix)
        for owner in dict.fromkeys(named.borrowed(ingress).values()):
            path = f"services.{ingress.name}.volumes"
            fault = f"the ingress is made before {owner}, which writes one of them"
            yield Fault(path, fault, f"mount it :ro in {owner}")


def depends(site: Site) -> Iterator[Fault]:
    """Check that a container waits for others, in no circle, and for health only where it is checked.

    It also waits for a service whose volume it mounts.
    """
    named = Volumes.of(site.containers, site.volumes, site.name_prefix)
    graph = {each.name: [*named.borrowed(each).values()] for each in site.containers if each != site.ingress}
    for container in site.containers:
        path = f"services.{container.name}.depends_on"
        if container.app is App.TRAEFIK and container.depends_on:
            yield Fault(path, f"{container.name} is made apart from the containers", "leave it out")
            continue
        for name, condition in container.depends_on.items():
            other = site.services.get(name)
            if isinstance(other, Slot):
                yield Fault(
                    path, f"{name} is made by project {other.project}, later than this", "leave it out"
                )
            elif isinstance(other, Container) and other.app is not App.TRAEFIK:
                graph[container.name].append(name)
                health = other.healthcheck
                if condition == "service_healthy" and not other.app and (health is None or health.is_off):
                    yield Fault(path, f"{name} has no health check", f"give {name} a healthcheck")
            elif other is not None:
                yield Fault(path, f"{name} is made apart from the containers", "leave it out")
            elif not site.is_unreadable(name, "services"):
                near = nearest(name, [each.name for each in site.containers])
                yield Fault(
                    path, f"there is no service {shown(name)}", f"write {near}" if near else "leave it out"
                )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        path = f"services.{circle[-1]}.depends_on"
        yield Fault(path, f"{' waits for '.join(reversed(circle))}", "leave one of them out")


def scratch(site: Site) -> Iterator[Fault]:
    """Check the places of scratch folders, the working folder, and that a read-only root holds no files."""
    for container in site.containers:
        path = f"services.{container.name}"
        seen = {mount.target for mount in container.volumes}
        for place, each in enumerate(container.tmpfs):
            if not is_path(each.target) or any(within(each.target, own) for own in ("/proc", "/sys", "/dev")):
                remedy = "write it like /run or /var/cache:size=16m,mode=755"
                yield Fault(f"{path}.tmpfs[{place}]", f"{shown(each.target)} is no scratch folder", remedy)
            elif each.target in seen:
                yield Fault(f"{path}.tmpfs[{place}]", f"{each.target} is mounted twice", "name it once")
            seen.add(each.target)
        if container.working_dir and not is_path(container.working_dir):
            remedy = "write an absolute path without . and .., like /srv/wiki"
            yield Fault(f"{path}.working_dir", f"{shown(container.working_dir)} is no path", remedy)
        if container.read_only and (container.files or container.secrets):
            remedy = "leave it out: the user is not root, so the image's files are safe"
            yield Fault(f"{path}.read_only", "the engine copies no file into a read-only root", remedy)


def limits(site: Site) -> Iterator[Fault]:
    """Check limits of processes, kernel settings and labels."""
    for container in site.containers:
        path = f"services.{container.name}"
        for name, limit in container.ulimits.items():
            if name not in ULIMITS:
                yield Fault(f"{path}.ulimits", f"{shown(name)} is no limit", f"use {', '.join(ULIMITS)}")
            elif limit.hard != -1 and not 0 <= limit.soft <= limit.hard:
                yield Fault(f"{path}.ulimits.{name}", "soft is above hard", "raise hard, or lower soft")
        for name, value in container.sysctls.items():
            if not HARMLESS_SYSCTL.fullmatch(name):
                remedy = "leave it out; settings of a container's own sockets and shared memory are taken"
                yield Fault(f"{path}.sysctls", f"{shown(name)} may open a path", remedy)
            elif not _NUMBERS.fullmatch(value):
                yield Fault(f'{path}.sysctls["{name}"]', "is not a number, or several", "write it in quotes")
        for name in container.labels:
            reserved = (told for before, told in _OF_OTHERS.items() if name.lower().startswith(before))
            for fault, remedy in reserved:
                yield Fault(f"{path}.labels", f"{shown(name)} {fault}", remedy)


def privileges(site: Site) -> Iterator[Fault]:
    """Check names of capabilities and devices; whether a container may have one is the pack's to say."""
    for container in site.containers:
        for place, name in enumerate(container.cap_add):
            path = f"services.{container.name}.cap_add[{place}]"
            if name == "CAP_ALL":
                yield Fault(path, "is every capability", "name the ones that it needs")
            elif name in container.cap_add[:place]:
                yield Fault(path, f"{name} is there already", "name it once")
        for place, device in enumerate(container.devices):
            for at in dict.fromkeys((device.source, device.target)):
                if not is_path(at) or not within(at, "/dev") or at == "/dev":
                    path, remedy = f"services.{container.name}.devices[{place}]", "write it like /dev/ttyUSB0"
                    yield Fault(path, f"{shown(at)} is no device", remedy)


def names(site: Site) -> Iterator[Fault]:
    """Check that no name of a service leads elsewhere, and that name servers are services that it reaches."""
    taken = {"localhost", *site.services, *(f"{site.name_prefix}{name}" for name in site.services)}
    for container in site.containers:
        path = f"services.{container.name}"
        for name, address in container.extra_hosts.items():
            if name in taken:
                yield Fault(f"{path}.extra_hosts", f"{name} is the name of a service", "leave it out")
            if address.is_loopback or address in _NOWHERE or address.is_multicast:
                yield Fault(f"{path}.extra_hosts", f"{address} is no host's address", "write the host's own")
        for place, server in enumerate(container.dns):
            known = [
                each.name
                for each in site.containers
                if server in each.addresses.values()
                and Flow(source=container.name, destination=each.name, port=DNS) in site.flows.values()
            ]
            end = site.name_server(server)
            if end and any(
                (flow.source, flow.destination, flow.port.number) == (container.name, end, DNS.number)
                for flow in site.flows.values()
            ):
                continue
            if not known and not site.unreadable_in("flows") and not site.unreadable_in("services"):
                remedy = (
                    f"declare {container.name} -> {end}:{DNS}"
                    if end
                    else f"declare {container.name} -> <service>:{DNS}, and give that service this address"
                )
                yield Fault(f"{path}.dns[{place}]", f"{server} is no name server that it reaches", remedy)


def volumes(site: Site) -> Iterator[Fault]:
    """Check that each volume of the section is used, and either there already or a file server's."""
    used = {each.source for container in site.containers for each in container.volumes if not each.is_bind}
    for name, volume in site.volumes.items():
        path = f"volumes.{name}"
        if name not in used and not site.unreadable_in("services"):
            yield Fault(path, "no service mounts it", "leave it out")
        if volume.name and not volume.external:
            yield Fault(
                f"{path}.name", f"is for external volumes; this one is <service>-{name}", "leave it out"
            )
        if volume.external and (volume.driver or volume.driver_opts):
            yield Fault(path, "is there already, with its driver", "leave driver and driver_opts out")
        options = volume.driver_opts
        if options and not _is_address(options.o):
            yield Fault(f"{path}.driver_opts.o", "names no IPv4 address", "write it like addr=192.168.1.9,ro")
    engine = [volume.name or name for name, volume in site.volumes.items() if volume.external]
    named = Volumes.of(site.containers, site.volumes, site.name_prefix)
    made = {named.name(source) for each in site.containers for source in named.made_with(each)}
    for name in engine:
        if name in made or engine.count(name) > 1:
            yield Fault("volumes", f"{name} is a volume of another, too", "give each its own")


def _is_address(options: str) -> bool:
    found = re.search(r"(?:^|,)addr=([\d.]+)(?:,|$)", options)
    try:
        return bool(found and IPv4Address(found[1]))
    except ValueError:
        return False
