"""A Debian root like a guest's: packages from the machine's own mirror, cached as a tar file.

Commands run in it with network, mounts and processes of their own, which end with the command. Note: no
systemd runs in it. `systemctl` only records what is enabled there; the user of the root starts what the units
would.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from lab import apt, cache
from lab.process import run
from lab.toolchain.step import Step
from rendered.cloud_init import cloud_config
from topology.config import from_file
from topology.project import PROJECT

_RELEASE = dict(
    line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if line
)["VERSION_CODENAME"]
_SOURCE = "deb $(SITE) $(RELEASE) $(COMPONENT)"
_AS_ON_A_CLOUD_IMAGE = ("systemd-sysv", "cloud-init", "openssh-server")
_DATABASES = ("mariadb-server", "postgresql")
_UNREAD = "/usr/share/{doc,info,locale,man}/*"


def archive() -> Path:
    """Return a tar file of a guest's root, one for all tests, since it takes minutes to make.

    It has a cloud image's packages, those of site-1's file, both database servers, and what these recommend.
    """
    site = from_file(PROJECT / "docs" / "Pulumi.home.example.yaml")
    (guest,) = (each for each in site.guests if each.name == "site-1")
    packages = [*_AS_ON_A_CLOUD_IMAGE, *yaml.safe_load(cloud_config(site, guest))["packages"], *_DATABASES]

    def build(folder: Path) -> None:
        apt.install("Debian root", {"mmdebstrap": "mmdebstrap"}, print)
        sources = run(["apt-get", "indextargets", "--format", _SOURCE, "Identifier: Packages"], "Debian root")
        listed = {line for line in sources.splitlines() if f" {_RELEASE}" in line}
        (folder / "sources.list").write_text("\n".join(sorted(listed)) + "\n", encoding="utf-8")
        Step(what="Debian root", report=print).run(
            [
                "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(packages)}",
                f"--dpkgopt=path-exclude={_UNREAD}", '--aptopt=APT::Install-Recommends "true"',
                _RELEASE, str(folder / "root.tar"), str(folder / "sources.list"),
            ]
        )  # fmt: skip

    return (
        cache.entry("debian-root", {"release": _RELEASE, "packages": packages, "how": 1}, build) / "root.tar"
    )


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    """Make a network namespace with only loopback; yields the words that run a command in it."""
    run(["ip", "netns", "add", name], f"namespace {name}")
    try:
        run(["ip", "-n", name, "link", "set", "lo", "up"], f"loopback of {name}")
        yield ["ip", "netns", "exec", name]
    finally:
        run(["ip", "netns", "del", name], f"namespace {name}")


def inside(root: Path, *command: str) -> list[str]:
    """Return the words that run a command in the root and end every process it started."""
    alone = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    return [*alone, f"--mount-proc={root / 'proc'}", "chroot", str(root), *command]


def ask(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the root to its end."""
    return subprocess.run(inside(root, *command), capture_output=True, text=True, check=False, timeout=60)
