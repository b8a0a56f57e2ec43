"""The Debian packages of the lab's Proxmox side: the switch and its tools are installed.

Note: nginx is never installed. Its package is unpacked into the cache and runs from there, inside the guests'
namespaces.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab import apt, cache
from lab.process import run

_PACKAGES = {
    "ovs-vswitchd": "openvswitch-switch",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "nft": "nftables",
}


def install(report: Callable[[str], None]) -> None:
    """Install the missing packages without starting their services, and unpack nginx."""
    apt.install("Proxmox lab", _PACKAGES, report)
    nginx()


def nginx() -> Path:
    """Return the path of Debian's nginx binary, unpacked in the cache."""

    def build(folder: Path) -> None:
        apt.download("nginx package", folder, "nginx")
        (package,) = folder.glob("*.deb")
        run(["dpkg", "-x", package, folder], "nginx package")
        package.unlink()

    release = Path("/etc/os-release").read_text()
    return cache.entry("nginx", {"package": "nginx", "release": release}, build) / "usr/sbin/nginx"
