"""Checks of system containers: their distribution, and what they share with the node."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from topology.checks.site import Site, twice
from topology.fault import Fault, shown
from topology.model import MOUNTS, Feature, LxcGuest, MountPoint

_KERNEL: Final = frozenset({"dev", "proc", "sys"})
"""Folders of a container that the kernel fills."""
_NODE: Final = _KERNEL | {
    *("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "root", "run", "sbin", "tmp", "usr", "var")
}
"""Folders of a node with its system, its secrets, its sockets or the disks of other guests."""
_NODES_OWN: Final = re.compile(
    r"/dev/(k?mem|port|sd|nvme|vd|xvd|hd|dm-|md|loop|zd|rbd|nbd|sg|bsg|mapper|disk|block|zvol|pve|watchdog)"
)
"""Devices that are the node's memory or its disks, on which the other guests' disks are."""


def system_containers(site: Site) -> Iterator[Fault]:
    """Check the distribution, features, volumes and devices of guests of kind lxc."""
    for guest in site.guests:
        if isinstance(guest, LxcGuest):
            path = f"services.{guest.name}"
            yield from _distribution(guest, path)
            yield from _features(guest, path)
            yield from _volumes(guest, path)
            yield from _devices(guest, path)


def _distribution(guest: LxcGuest, path: str) -> Iterator[Fault]:
    if guest.distribution is None:
        yield Fault(
            f"{path}.ostype",
            f"missing, and {guest.ostemplate.rpartition('/')[2]} begins with no distribution",
            "name the one that it holds: without it Proxmox writes no address into the container",
        )


def _features(guest: LxcGuest, path: str) -> Iterator[Fault]:
    yield from twice(
        ((f"{path}.features[{i}]", each) for i, each in enumerate(guest.features)), "name each feature once"
    )
    for index, each in enumerate(guest.features):
        if guest.unprivileged and each in MOUNTS:
            yield Fault(
                f"{path}.features[{index}]",
                f"the kernel lets no unprivileged container mount {each}",
                "mount it on the node, and hand the folder on as a volume with host-path",
            )
        if not guest.unprivileged and each is Feature.KEYCTL:
            yield Fault(
                f"{path}.features[{index}]", "a privileged container has keyctl anyway", "leave it out"
            )


def _volumes(guest: LxcGuest, path: str) -> Iterator[Fault]:
    paths = [f"{path}.volumes[{index}]" for index in range(len(guest.volumes))]
    wheres = ((f"{each}.path", point.path) for each, point in zip(paths, guest.volumes, strict=True))
    yield from twice(wheres, "give each volume its own path")
    for each, point in zip(paths, guest.volumes, strict=True):
        yield from _volume(point, each)


def _volume(point: MountPoint, path: str) -> Iterator[Fault]:
    if not _is_folder(point.path) or point.path.split("/")[1] in _KERNEL:
        yield Fault(
            f"{path}.path",
            f"{shown(point.path)} is no folder of a container",
            "write it like /var/lib/photos",
        )
    if (point.size is None) == (point.host_path is None):
        what = "has neither size nor host-path" if point.size is None else "has both size and host-path"
        yield Fault(path, what, "give it size for a volume of its own, or host-path for a folder of the node")
    if point.host_path is None:
        if point.writable:
            yield Fault(f"{path}.writable", "a volume of its own is always writable", "leave it out")
        return
    if point.storage:
        yield Fault(f"{path}.storage", "a folder of the node is on no storage", "leave it out")
    if not _is_folder(point.host_path) or point.host_path.split("/")[1] in _NODE:
        yield Fault(
            f"{path}.host-path",
            f"{point.host_path} may hold the node's system, its secrets or other guests' disks",
            "name a folder with data alone, like /srv/media, in its shortest spelling",
        )


def _devices(guest: LxcGuest, path: str) -> Iterator[Fault]:
    yield from twice(
        ((f"{path}.devices[{i}]", each) for i, each in enumerate(guest.devices)), "name each device once"
    )
    for index, device in enumerate(guest.devices):
        if posixpath.normpath(device) != device or _NODES_OWN.match(device):
            yield Fault(
                f"{path}.devices[{index}]",
                f"{device} may be the node's memory or a disk of it",
                "remove it; a volume gives the guest a disk of its own",
            )


def _is_folder(path: str) -> bool:
    """Whether a path is absolute, is not the root, and is in its shortest spelling, without commas."""
    return (
        bool(re.fullmatch(r"(/[A-Za-z0-9_@+-][A-Za-z0-9._@+ -]*)+", path))
        and posixpath.normpath(path) == path
    )
