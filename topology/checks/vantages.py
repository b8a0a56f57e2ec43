"""Checks of the places from which the live probe runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from topology.checks.ends import unknown
from topology.checks.images import image
from topology.checks.site import Reason, Site
from topology.fault import Fault
from topology.model import INTERNET, SSH, Container, DockerHost, Flow, ImageVantage, SshVantage

CONTAINERS: Final = "containers"
"""The vantage that represents every container and Docker network, not a source of this name."""


def vantages(site: Site) -> Iterator[Fault]:
    """Check that each vantage is an image for containers, or a machine that represents one source."""
    for name, vantage in site.vantages.items():
        path = f"vantages.{name}"
        if isinstance(vantage, ImageVantage) and DockerHost not in site.halves:
            yield Fault(path, "no host is of kind docker, so there are no containers", "remove it")
        elif isinstance(vantage, ImageVantage):
            yield from image(f"{path}.image", vantage.image)
        elif reason := _no_vantage(site, name):
            yield Fault(path, *reason)
        elif reason := _docker_host_address(site, vantage):
            yield Fault(f"{path}.docker-host-address", *reason)


def _no_vantage(site: Site, name: str) -> Reason | None:
    """Return why a name can't be an SSH vantage, such as a guest without an SSH flow; None where it can."""
    end = site.services.get(name)
    if isinstance(end, Container):
        return f"{name} is a container, and the engine is the way in", f"use vantages.{CONTAINERS}"
    docker = (host.name for host in site.hosts.values() if isinstance(host, DockerHost))
    known = (INTERNET, *site.outsides, *docker, *(guest.name for guest in site.guests))
    if reason := unknown(
        site, "vantage", name, known, "internet, a management or external zone, Docker-SRV or a guest"
    ):
        return reason
    needed = [Flow(source=zone, destination=name, port=SSH) for zone in site.management]
    if end is None or not needed or site.unreadable_in("flows") or {*needed} & {*site.flows.values()}:
        return None
    return (
        f"no flow lets management reach {name}:{SSH}",
        f"add {needed[0]} to flows, and {SSH.number} to its ports",
    )


def _docker_host_address(site: Site, vantage: SshVantage) -> Reason | None:
    """Return why `docker-host-address` must not be set, or why it is missing; None where it is right."""
    if vantage.docker_host_address and vantage.name not in (INTERNET, *site.outsides):
        return f"{vantage.name} is inside", "remove it"
    docker = [host for host in site.hosts.values() if isinstance(host, DockerHost)]
    if (
        vantage.name == INTERNET
        and not vantage.docker_host_address
        and any(host.address.is_unspecified for host in docker)
    ):
        return "nothing says where it finds Docker-SRV", "write the public address"
    return None
