"""A Debian root like a guest's: packages from the machine's own mirror, kept in the cache as a tar file.

Owns how it is made and how commands get into it: with network, mounts and processes of their own, all of
which end with the command. What a reader would get wrong: no systemd runs in it. `systemctl` only notes there
what is enabled; whoever uses the root starts what the units would.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import apt, cache
from lab.process import run
from lab.toolchain.step import Step

_RELEASE = dict(
    line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if line
)["VERSION_CODENAME"]
_SOURCE = "deb $(SITE) $(RELEASE) $(COMPONENT)"
_UNREAD = "/usr/share/{doc,info,locale,man}/*"


def archive(packages: Sequence[str]) -> Path:
    """A tar file of a root with these packages and what Debian recommends with them."""

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
    """A network namespace with a loopback and nothing else; yields the words that run a command in it."""
    run(["ip", "netns", "add", name], f"namespace {name}")
    try:
        run(["ip", "-n", name, "link", "set", "lo", "up"], f"loopback of {name}")
        yield ["ip", "netns", "exec", name]
    finally:
        run(["ip", "netns", "del", name], f"namespace {name}")


def inside(root: Path, *command: str) -> list[str]:
    """The words that run a command in the root, and end whatever it started with it."""
    alone = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    return [*alone, f"--mount-proc={root / 'proc'}", "chroot", str(root), *command]


def ask(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the root to its end."""
    return subprocess.run(inside(root, *command), capture_output=True, text=True, check=False, timeout=60)
