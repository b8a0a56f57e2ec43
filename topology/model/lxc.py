"""System containers: guests that share the kernel of Proxmox-SRV."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from topology.model.services import Guest
from topology.model.values import Flag, StorageName, Value


class OsType(StrEnum):
    """Distribution, by which Proxmox knows how to write a container's address, name and name servers."""

    ALPINE = "alpine"
    ARCHLINUX = "archlinux"
    CENTOS = "centos"
    DEBIAN = "debian"
    DEVUAN = "devuan"
    FEDORA = "fedora"
    GENTOO = "gentoo"
    NIXOS = "nixos"
    OPENSUSE = "opensuse"
    UBUNTU = "ubuntu"


class Feature(StrEnum):
    """Use of the node's kernel that Proxmox withholds from a container unless it is declared."""

    NESTING = "nesting"
    FUSE = "fuse"
    KEYCTL = "keyctl"
    MKNOD = "mknod"
    NFS = "nfs"
    CIFS = "cifs"


HARMLESS = frozenset({Feature.NESTING})
"""Features that need no exception in an unprivileged container: systemd needs nesting to start services."""
MOUNTS = (Feature.NFS, Feature.CIFS)
"""File systems that a privileged container may mount."""


class MountPoint(Value):
    """A volume of the container's own (`size`), or a folder of the node (`host_path`), at `path`."""

    path: str = Field(pattern=r"^/")
    size: int | None = Field(default=None, ge=1, le=131_072)
    """GiB."""
    storage: StorageName | None = None
    """Storage of the volume; None: that of the root disk."""
    host_path: str | None = Field(default=None, pattern=r"^/")
    writable: Flag = False
    """Whether the container may write to the folder of the node."""


class LxcGuest(Guest):
    """A guest that is a system container on Proxmox-SRV (`kind: lxc`), made from a template's archive."""

    ostemplate: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]*:vztmpl/[A-Za-z0-9][A-Za-z0-9._+-]*$")
    ostype: OsType | None = None
    """None: the distribution that the archive's name begins with."""
    unprivileged: Flag = True
    """Whether root in the container is an unprivileged user on the node."""
    features: tuple[Feature, ...] = ()
    volumes: tuple[MountPoint, ...] = ()
    """Mount points besides the root disk, in the order of Proxmox's `mp0`, `mp1` and so on."""
    devices: tuple[Annotated[str, StringConstraints(pattern=r"^/dev/[\w./-]+$")], ...] = ()
    """Devices of the node that the container may use."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Keys whose values Proxmox takes from root@pam alone, not from an API token."""
        keys = {
            "features": any(not self.unprivileged or each not in HARMLESS for each in self.features),
            "volumes": any(point.host_path for point in self.volumes),
            "devices": bool(self.devices),
        }
        return tuple(key for key, given in keys.items() if given)

    @property
    def distribution(self) -> OsType | None:
        """The declared distribution, else the one that the archive's name begins with."""
        archive = self.ostemplate.rpartition("/")[2].lower()
        return self.ostype or next((each for each in OsType if archive.startswith(each)), None)
