"""Checks of what a container takes in the Compose specification's words."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from topology.certificates import FOLDER
from topology.checks.site import Site
from topology.fault import Fault, shown
from topology.host_folders import is_private, within
from topology.model import VOLUME_NAME, App, Container, SecretVariable

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
RESERVED_NAMESPACES: Final = frozenset(
    {
        *("homelab-network", "pulumi", "docker", "proxmoxve", "command", "tls"),
        *("acme", "alertmanager", "grafana", "ssh", "traefik"),
    }
)
"""Namespaces of secrets that are for providers, for the program, and for what it configures."""
_OF_THE_APP: Final = (
    *("command", "entrypoint", "healthcheck", "working_dir", "init", "read_only", "tmpfs", "shm_size"),
    *("sysctls", "dns", "stop_signal", "cap_add", "devices"),
)
"""Keys that a known app's container does not take, since the app or its safety would differ."""
ENGINE: Final = (
    "leave it out: Alloy or Promtail reads logs, cAdvisor tells metrics, a stack file declares what runs; "
    "what starts containers, like a CI runner, is a guest with an engine of its own"
)
"""The better way than the engine's socket."""
SCRATCH: Final = "/tmp"  # noqa: S108  # a path in the container


def variables(site: Site) -> Iterator[Fault]:
    """Check names of variables, and that the ingress, whose settings all are compared, has no secret ones."""
    for container in site.containers:
        path = f"services.{container.name}"
        for name, value in container.environment.items():
            if not _VARIABLE.fullmatch(name):
                remedy = "use letters, digits and underscores, no digit first"
                yield Fault(f"{path}.environment", f"{shown(name)} is no name of a variable", remedy)
            elif container.app is App.TRAEFIK and isinstance(value, SecretVariable):
                yield Fault(
                    f"{path}.environment.{name}", "the ingress has no secret of its own", "leave it out"
                )
        if container.app is App.TRAEFIK and container.env_file:
            yield Fault(f"{path}.env_file", "the ingress has no secret of its own", "write environment")


def own_and_given(site: Site) -> Iterator[Fault]:
    """Check that a known app keeps its program, and that arguments are for one."""
    for container in site.containers:
        path = f"services.{container.name}"
        if container.app is None and container.arguments:
            yield Fault(f"{path}.arguments", f"{container.name} has no app", "write command")
        for key in _OF_THE_APP if container.app else ():
            if getattr(container, key):
                remedy = "write arguments, or leave it out" if key == "command" else "leave it out"
                yield Fault(f"{path}.{key}", f"{container.app} sets its own", remedy)
        for key in ("command", "entrypoint"):
            for place, word in enumerate(getattr(container, key) or ()):
                if word.startswith("@"):
                    remedy = "write the arguments out"
                    yield Fault(f"{path}.{key}[{place}]", "would read arguments from a file", remedy)
        health = container.healthcheck
        if health and not health.test and not health.disable:
            yield Fault(f"{path}.healthcheck", "has no test", "write test below it, or disable: true")


def files(site: Site) -> Iterator[Fault]:
    """Check the paths of files and secrets, and that nothing else is mounted over them."""
    for container in site.containers:
        path = f"services.{container.name}"
        scratch = (SCRATCH, *(each.target for each in container.tmpfs))
        over = dict.fromkeys(scratch, "a scratch folder")
        over |= {mount.target: "a volume" for mount in container.volumes}
        for key in ("files", "secrets"):
            for file in getattr(container, key):
                if not is_path(file):
                    remedy = "write an absolute path without . and .., like /etc/grafana/ldap.toml"
                    yield Fault(f"{path}.{key}", f"{shown(file)} is no path of a file", remedy)
                elif file.startswith(f"{FOLDER}/"):
                    remedy = "declare a flow to the service; its certificate comes with it"
                    yield Fault(f"{path}.{key}", f"{file} is a certificate's place", remedy)
                elif hiding := next((at for at in over if within(file, at)), None):
                    remedy = "put it elsewhere"
                    yield Fault(f"{path}.{key}", f"{file} is below {hiding}, {over[hiding]}", remedy)
        for file in container.files.keys() & container.secrets.keys():
            yield Fault(f"{path}.files", f"{file} is a secret, too", "name each file once")


def secrets(site: Site) -> Iterator[Fault]:
    """Check that a secret is a service's own, or shared by two of which one has a flow to the other."""
    linked = {frozenset((flow.source, flow.destination)) for flow in site.flows.values()}
    holders: dict[str, list[tuple[str, str]]] = {}
    for container in site.containers:
        path = f"services.{container.name}"
        for place, key in _secret_keys(container):
            if key.partition(":")[0] in RESERVED_NAMESPACES:
                remedy = f"use a namespace of the service's own, like {container.name}:password"
                yield Fault(f"{path}.{place}", f"{key} is a secret of the program's own", remedy)
            holders.setdefault(key, []).append((container.name, f"{path}.{place}"))
    for key, found in holders.items():
        for (one, _), (other, at) in combinations(found, 2):
            if one != other and frozenset((one, other)) not in linked and not site.unreadable_in("flows"):
                remedy = "give each its own, or declare a flow between them"
                yield Fault(at, f"{key} is also a secret of {one}", remedy)


def _secret_keys(container: Container) -> Iterator[tuple[str, str]]:
    """Yield each secret of a container: its place below the service, and its key."""
    for name, value in container.environment.items():
        if isinstance(value, SecretVariable):
            yield f"environment.{name}", value.secret
    for file, key in container.secrets.items():
        yield f'secrets["{file}"]', key


def _private(path: str, source: str) -> Fault:
    """Return the fault of a mount that no container may have, with its remedy."""
    if source.endswith((".sock", ".socket")):
        fault = f"{source} is a way into another program, and the engine's is root on the host"
        return Fault(path, fault, ENGINE)
    remedy = "use a named volume, or a folder of its own, such as below /srv"
    return Fault(path, f"{source} holds what is not for a container", remedy)


def mounts(site: Site) -> Iterator[Fault]:
    """Check sources and targets of mounts; which services may share one is the pack's to say."""
    for container in site.containers:
        host, seen = site.docker_host_of(container), set[str]()
        root = host.data_root if host else "/var/lib/docker"
        for place, mount in enumerate(container.volumes):
            path = f"services.{container.name}.volumes[{place}]"
            yield from _target(path, mount.target, seen)
            if not mount.is_bind:
                if not VOLUME_NAME.fullmatch(mount.source):
                    yield Fault(path, f"{shown(mount.source)} is no volume's name", "write it like data")
            elif not is_path(mount.source):
                remedy = "use a named volume like data, or write the folder's path from / on"
                yield Fault(path, f"{shown(mount.source)} is no folder of the host", remedy)
            elif is_private(mount.source, root):
                yield _private(path, mount.source)


def _target(path: str, target: str, seen: set[str]) -> Iterator[Fault]:
    if not is_path(target) or any(within(target, own) for own in ("/proc", "/sys", "/dev", FOLDER)):
        remedy = "write an absolute path without . and .., like /var/lib/wiki"
        yield Fault(path, f"{shown(target)} is no place for a volume", remedy)
    elif target in seen:
        yield Fault(path, f"{target} is mounted twice", "mount one volume there")
    seen.add(target)


def is_path(text: str) -> bool:
    """Whether a text is an absolute path below / without detours and control characters."""
    return text.startswith("/") and text == posixpath.normpath(text) != "/" and text.isprintable()
