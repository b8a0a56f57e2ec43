"""Checks of the machine that runs Pulumi and of the stack's name and file, before any host is asked."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509

from preflight.finding import Check, PreflightFinding
from preflight.state import PulumiState
from preflight.wanted import GUEST, SYSTEM_CONTAINER, VOLUME
from topology.model import Certificate, Port, Topology
from topology.stack_file import meant

APART: Final = timedelta(minutes=1)
"""How far two clocks may differ: certificates are valid from the moment at which they are made."""
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Need:
    """Space that a folder needs, whether or not it exists yet."""

    folder: Path
    mib: int
    what: str


def space(needs: Iterable[Need]) -> Iterator[PreflightFinding]:
    """Yield a finding for each file system with less space than its folders need together."""
    on: dict[int, list[Need]] = {}
    for need in needs:
        on.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for together in on.values():
        first, wanted = together[0].folder, sum(need.mib for need in together)
        free = shutil.disk_usage(_existing(first)).free // _MIB
        if free < wanted:
            parts = ", ".join(f"{need.mib} for {need.what} in {need.folder}" for need in together)
            yield PreflightFinding(
                Check.SPACE,
                f"disk of {_existing(first)}",
                f"{free} MiB free, {wanted} needed ({parts})",
                "free some, or put one of the folders on another disk",
            )


def root(user: int, command: str, why: str) -> Iterator[PreflightFinding]:
    """Yield a finding if a user other than root runs a command that needs root; empty `why` means none."""
    if user and why:
        yield PreflightFinding(Check.ROOT, command, f"needs root: {why}", f"run `sudo {command}`")


def bridge_filter(switches: Path = Path("/proc/sys/net/bridge")) -> Iterator[PreflightFinding]:
    """Yield a finding if this machine's kernel can't show the host's rules what passes within a bridge."""
    ask = ("modprobe", "--dry-run", "--quiet", "br_netfilter")
    if switches.exists() or (shutil.which(ask[0]) and subprocess.run(ask, check=False).returncode == 0):
        return
    yield PreflightFinding(
        Check.BRIDGE_FILTER,
        "kernel",
        "has no br_netfilter, so no rule tells members of one Docker network apart",
        "install the kernel's modules, or boot a kernel that has it",
    )


def session(proc: Path = Path("/proc"), pid: int | None = None) -> tuple[str, int] | None:
    """Return the client's address and the server's port of the SSH session that this process is part of.

    The processes above it tell, since `sudo` takes the variable out of its own environment.
    """
    at = pid or os.getpid()
    while at > 1:
        try:
            environment = (proc / str(at) / "environ").read_bytes().split(b"\0")
            at = int((proc / str(at) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return None
        for word in environment:
            if word.startswith(b"SSH_CONNECTION="):
                client, _, _, port = word.decode().partition("=")[2].split()
                return client, int(port)
    return None


def lock_out(topology: Topology, where: tuple[str, int] | None) -> Iterator[PreflightFinding]:
    """Yield a finding if the host's own rules would refuse the next SSH session from where this one is."""
    host = topology.docker_host
    if host is None or not host.closed or where is None:
        return
    client, number = where
    admitted = (
        topology.zones[flow.source].prefix
        for flow in topology.flows_to(host.name)
        if flow.port == Port(number=number)
    )
    if not any(ip_address(client) in prefix for prefix in admitted):
        yield PreflightFinding(
            Check.LOCK_OUT,
            f"hosts.{host.name}.closed",
            f"no flow lets {client} in again, from where you are logged in on port {number}",
            f"add a flow to {host.name}:{number}/tcp from a management zone with that address",
        )


def clock(now: datetime, earlier: Mapping[str, datetime]) -> Iterator[PreflightFinding]:
    """Yield a finding if the clock is before the latest known time in the past."""
    if not earlier:
        return
    what, latest = max(earlier.items(), key=lambda item: item[1])
    if now + APART < latest:
        yield PreflightFinding(
            Check.CLOCK,
            "clock",
            f"is {_minute(now)}, and {what} is of {_minute(latest)}",
            "set it (`timedatectl set-ntp true`)",
        )


def clocks_apart(host: str, now: datetime, theirs: datetime | None) -> Iterator[PreflightFinding]:
    """Yield a finding if a host's clock differs: new certificates are not valid yet on one of the two."""
    if theirs is not None and abs(now - theirs) > APART:
        yield PreflightFinding(
            Check.CLOCK,
            f"clock of {host}",
            f"is {_minute(theirs)}, and this machine's is {_minute(now)}",
            "set both by NTP (`timedatectl set-ntp true`)",
        )


def known_times(topology: Topology, state: PulumiState) -> dict[str, datetime]:
    """Return times known to be past: the state's last update, the start of each certificate's validity."""
    times = {"the last update of the stack": state.time} if state.time else {}
    files = [guest.ca_file for guest in topology.guests]
    files += [topology.tls.certificate] if isinstance(topology.tls, Certificate) else []
    for file in filter(None, files):
        path = Path(os.path.expandvars(file))
        try:
            times[str(path)] = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_before_utc
        except (OSError, ValueError):
            continue
    return times


def stack_unknown(stack: str, folder: Path) -> Iterator[PreflightFinding]:
    """Yield a finding for a stack without a file, with the nearest known name."""
    file = folder / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        yield PreflightFinding(Check.STACK_UNKNOWN, file.name, "no such stack file", meant(file))


def stack_file_lacks(topology: Topology, state: PulumiState, stack: str) -> Iterator[PreflightFinding]:
    """Yield a finding for each service missing from the file whose data the state protects.

    Pulumi refuses to delete a protected resource only when it reaches it. The update then fails with other
    resources already made or deleted, whether the file is old or the service was removed on purpose.
    """
    kept = {
        owner: each
        for each in state.resources
        if each.protect and each.type in (GUEST, SYSTEM_CONTAINER, VOLUME)
        if (owner := _owner(each.urn, each.parent)) not in topology.services
    }
    for service, each in kept.items():
        what = "volume" if each.type == VOLUME else "guest"
        yield PreflightFinding(
            Check.STACK_FILE_OLD,
            f"Pulumi.{stack}.yaml",
            f"lacks service {service}, whose {what} the stack has and protects",
            f"take the newest file, or, to lose the data, declare {service} with protect: false, "
            f"run `make up STACK={stack}`, and take it out then",
        )


def stack_file_older(folder: Path, stack: str, updated_at: str | None) -> Iterator[PreflightFinding]:
    """Yield a finding if HEAD is an ancestor of the last update's commit and the file differs between them.

    If an older file was restored on purpose and committed, HEAD is not an ancestor.
    """
    file = f"Pulumi.{stack}.yaml"
    if not updated_at or _git(folder, "rev-parse", "HEAD") == updated_at:
        return
    earlier = _git(folder, "merge-base", "--is-ancestor", "HEAD", updated_at) is not None
    if earlier and _git(folder, "diff", "--quiet", updated_at, "--", file) is None:
        yield PreflightFinding(
            Check.STACK_FILE_OLD,
            file,
            f"is older than the last update, which was made at commit {updated_at[:10]}",
            f"`git merge --ff-only {updated_at[:10]}`, or commit the file, to go back on purpose",
        )


def runs(stack: str, locks: Path, proc: Path = Path("/proc"), host: str = "") -> Iterator[PreflightFinding]:
    """Yield a finding for each other live run of Pulumi on the stack, by the locks of a file backend.

    After a reboot the process id in a lock may be another program's.
    """
    host = host or socket.gethostname()
    for file in sorted(locks.glob("*.json")):
        try:
            lock = json.loads(file.read_text(encoding="utf-8"))
            pid, there = int(lock["pid"]), str(lock["hostname"])
        except (OSError, ValueError, KeyError):
            continue
        if there != host or _is_pulumi(proc / str(pid)):
            since = str(lock.get("timestamp", ""))[:19].replace("T", " ")
            yield PreflightFinding(
                Check.RUN_IN_PROGRESS,
                f"stack {stack}",
                f"process {pid} of {lock.get('username', 'a user')} on {there} works on it since {since}",
                f"wait for it; if it is gone, `pulumi cancel --yes --stack {stack}`",
            )


def _is_pulumi(process: Path) -> bool:
    try:
        return (process / "comm").read_text().strip() == "pulumi"
    except OSError:
        return False


def locks_of(backend: str, stack: str) -> Path:
    """Return the folder with a stack's locks in a file backend."""
    return folder_of(backend) / ".pulumi/locks/organization/homelab-network" / stack


def folder_of(backend: str) -> Path:
    """Return the folder of a file backend, `file:///root/state?metadata=skip` or `file://~/state`.

    Pulumi knows no `~name`: of what follows the tilde it drops a character, and looks below its user's home.
    """
    path = backend.removeprefix("file://").partition("?")[0]
    return Path(pwd.getpwuid(os.getuid()).pw_dir, path[2:]) if path.startswith("~") else Path(path)


def _owner(urn: str, parent: str) -> str:
    """Return the service of a guest or a volume; a volume's parent is its container's component."""
    return (parent or urn).rpartition("::")[2]


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _minute(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _git(folder: Path, *words: str) -> str | None:
    """Return git's output; None if git fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
