"""Installs and downloads Debian packages through apt, which checks signatures; never starts their services.

Note: a package's own daemon would take the lab's sockets and ports. Installing runs under a policy-rc.d that
denies every start (see invoke-rc.d(8)); an existing policy-rc.d is restored afterwards. Units that came with
the packages are disabled, so that none starts at boot; those that were there before stay as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.process import run

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_KEPT = Path("/usr/sbin/policy-rc.d.before-homelab-network")
POLICY_TEXT = "#!/bin/sh\n# homelab-network installs packages; their services stay off.\nexit 101\n"
UNITS = Path("/usr/lib/systemd/system")
SYSTEMD = Path("/run/systemd/system")
"""Folder that exists where systemd runs (sd_booted(3))."""
_KINDS = (".service", ".socket", ".timer")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def install(what: str, packages: Mapping[str, str], report: Callable[[str], None]) -> list[str]:
    """Install the package of each missing program or file; returns the installed packages.

    `packages` maps a program, or a file by its absolute path, to its package. Raises LabError that begins
    with `what`.
    """
    with _alone():
        restore_policy()
        missing = [package for wanted, package in packages.items() if not _is_here(wanted)]
        if missing:
            report(f"{what}: installing Debian's {', '.join(missing)}")
            # Debian's containerd, for one, conflicts with Docker's own, which may be a user's.
            options = ("--yes", "--no-remove", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
            before = _units()
            with services_off():
                _apt(what, "install", *options, *missing)
            if (fresh := _units() - before) and SYSTEMD.is_dir():
                run(["systemctl", "disable", *sorted(fresh)], what)
    return missing


def _is_here(wanted: str) -> bool:
    return Path(wanted).exists() if Path(wanted).is_absolute() else shutil.which(wanted) is not None


def _units() -> set[str]:
    """Return the names of the units that packages brought, without aliases, which can't be disabled."""
    return {file.name for file in UNITS.glob("*") if file.suffix in _KINDS and not file.is_symlink()}


def download(what: str, folder: Path, *packages: str) -> None:
    """Download the packages' files into `folder`, uninstalled; raises LabError that begins with `what`."""
    with _alone():
        _apt(what, "download", *packages, cwd=folder)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock against other runs: apt locks only its own lists, and the policy is one file."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with (paths.CACHE / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def services_off() -> Iterator[None]:
    """Keep Debian's packages from starting services inside the block."""
    if POLICY.exists():
        POLICY.rename(POLICY_KEPT)
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        restore_policy()


def restore_policy() -> None:
    """Restore the policy file that `services_off` moved away, also after a killed run."""
    if POLICY.exists() and POLICY.read_text() == POLICY_TEXT:
        POLICY.unlink()
    if POLICY_KEPT.exists():
        POLICY_KEPT.rename(POLICY)


def _apt(what: str, *words: str, cwd: Path | None = None) -> None:
    if not shutil.which("apt-get"):
        raise LabError(f"{what}: no apt-get here to get packages with; install them by hand: {words[-1]}")
    command: Sequence[str] = ("apt-get", "--quiet", *words)
    try:
        run(command, what, timeout=600, env=_QUIET, cwd=cwd)
    except LabError:
        if os.geteuid():
            raise
        # A killed run may have left packages half configured; the lists may be absent or out of date.
        run(["dpkg", "--configure", "-a"], what, timeout=300, env=_QUIET)
        run(["apt-get", "--quiet", "update"], what, timeout=300, env=_QUIET)
        run(command, what, timeout=600, env=_QUIET, cwd=cwd)
