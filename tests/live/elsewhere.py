"""A workstation in management and a machine on the internet, as namespaces, with real sshd to log in to.

Provides both namespaces and their links, keys, configuration of sshd and ssh, and an image with Debian's
Python. Note: logins to guests and Docker-SRV go through `sshd -i` inside their namespaces, as by a jump host.
No router connects the lab's VLANs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import apt, images
from lab.images.catalogue import BASE, BASE_LINKS, Image
from lab.images.parts import debian
from tests.live.site import Site, command, eventually
from topology.model import Topology
from verify import namespaces

SSHD = "/usr/sbin/sshd"
PACKAGES = {SSHD: "openssh-server", "/usr/bin/ssh": "openssh-client", "/usr/bin/python3": "python3"}
WORKSTATION, INTERNET = "elsewhere-desk", "elsewhere-vps"
VPS, FRONT = "203.0.113.2", "203.0.113.1"
PYTHON = Image(
    name="python",
    version="3.11",
    published=None,
    origin="built from Debian's python3.11",
    parts=(
        BASE,
        debian(
            "python",
            {
                "python3.11-minimal": "3.11",
                "libpython3.11-minimal": "3.11",
                "libpython3.11-stdlib": "3.11",
                "libbz2-1.0": "",
                "libexpat1": "",
                "libffi8": "",
                "liblzma5": "",
                "libssl3": "",
                "zlib1g": "",
            },
        ),
    ),
    links={**BASE_LINKS, "usr/bin/python3": "python3.11"},
)
SSHD_CONFIG = """\
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv PATH={path} DOCKER_HOST={engine}
"""
NO_PYTHON = """\
ForceCommand PATH=/nowhere; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The two machines; `key` is the host key of every sshd here."""

    folder: Path
    site: Site
    key: str

    def configure(self, host: str, *lines: str) -> None:
        """Add ssh_config lines for a host, before its existing lines."""
        file = self.folder / "config"
        told = file.read_text() if file.exists() else ""
        file.write_text("\n  ".join((f"Host {host}", *lines)) + "\n" + told)

    def lead(self, host: str, namespace: str | Path, sshd_config: str = "sshd_config") -> None:
        """Connect the host name to an sshd in a namespace, started for each login."""
        inside = f"nsenter --net={namespace} {SSHD} -i -f {self.folder}/{sshd_config}"
        self.configure(host, f"ProxyCommand {inside}")

    @property
    def environment(self) -> dict[str, str]:
        """Return the lab's shell environment, plus an `ssh` with this configuration."""
        path = f"{self.folder}/bin:{self.site.environment.get('PATH', os.environ['PATH'])}"
        return {**self.site.environment, "PATH": path}

    def start(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a program in the environment of one of the machines; stdout and stderr are one stream."""
        return subprocess.Popen(
            words,
            env={**os.environ, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def run(*words: str) -> str:
    """Run a program that must succeed."""
    done = command(*words)
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def guests(site: Site, topology: Topology, folder: Path) -> Iterator[Elsewhere]:
    """Run an sshd in every guest and configure the SSH client to reach it; both end with the block."""
    apt.install("sshd", PACKAGES, print)
    with ExitStack() as undo:
        separated = Path("/run/sshd")
        if not separated.exists():
            separated.mkdir()
            undo.callback(separated.rmdir)
        elsewhere = _keys(site, folder)
        for guest in topology.guests:
            elsewhere.lead(str(guest.address), f"/run/netns/vm-{guest.vmid}")
            undo.enter_context(_sshd(elsewhere, f"vm-{guest.vmid}", str(guest.address)))
        yield elsewhere


@contextmanager
def machines(elsewhere: Elsewhere, topology: Topology) -> Iterator[None]:
    """Make both machines, with an sshd on the internet's; removes them afterwards."""
    images._bring(PYTHON, {"DOCKER_HOST": elsewhere.site.environment["DOCKER_HOST"]}, print, registry=False)
    prefixes = [str(zone.prefix) for zone in topology.zones.values()]
    prefixes += [str(interface.ip) for interface in namespaces.host_addresses()]
    with ExitStack() as undo:
        undo.callback(_remove)
        _remove()
        _link(WORKSTATION, "elsewhere0", "10.10.1.9/30", "10.10.1.10/30", prefixes)
        _link(INTERNET, "elsewhere1", f"{FRONT}/30", f"{VPS}/30", prefixes)
        # The workstation reaches the other machine without passing this one, as through its provider.
        pair = ("line", "type", "veth", "peer", "name", "line", "netns", INTERNET)
        run("ip", "-n", WORKSTATION, "link", "add", *pair)
        for name, own in ((WORKSTATION, "203.0.113.5/30"), (INTERNET, "203.0.113.6/30")):
            run("ip", "-n", name, "address", "add", own, "dev", "line")
            run("ip", "-n", name, "link", "set", "line", "up")
        run("ip", "-n", WORKSTATION, "route", "add", VPS, "via", "203.0.113.6")
        undo.enter_context(_sshd(elsewhere, INTERNET, VPS))
        elsewhere.lead("docker-srv", f"/proc/{os.getpid()}/ns/net")
        yield


def _keys(site: Site, folder: Path) -> Elsewhere:
    for name in ("host", "id", "other"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
    shutil.copy(folder / "id.pub", folder / "authorized_keys")
    engine = site.environment["DOCKER_HOST"]
    path = site.environment.get("PATH", os.environ["PATH"])
    sshd = SSHD_CONFIG.format(folder=folder, path=path, engine=engine)
    (folder / "sshd_config").write_text(sshd)
    (folder / "sshd_bare").write_text(sshd + NO_PYTHON)
    ssh = folder / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/config "$@"\n')
    ssh.chmod(0o755)
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"docker-srv {key}\n")
    elsewhere = Elsewhere(folder=folder, site=site, key=key)
    elsewhere.configure("*", f"IdentityFile {folder}/id", "IdentitiesOnly yes")
    elsewhere.configure("docker-srv", f"UserKnownHostsFile {folder}/known_hosts")
    return elsewhere


@contextmanager
def _sshd(elsewhere: Elsewhere, namespace: str, address: str) -> Iterator[None]:
    """Run an sshd that listens in a namespace."""
    configuration = ("-f", str(elsewhere.folder / "sshd_config"), "-o", f"ListenAddress={address}")
    words = ("nsenter", f"--net=/run/netns/{namespace}", SSHD, "-D", *configuration)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(
                f"sshd in {namespace}",
                lambda: f"{address}:22 " in run("nsenter", f"--net=/run/netns/{namespace}", "ss", "-Hltn"),
                10,
            )
            yield
        finally:
            process.terminate()


def _link(name: str, port: str, near: str, far: str, prefixes: Sequence[str]) -> None:
    """Make a machine that is a neighbour of this one and routes these prefixes through it."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "address", "add", near, "dev", port)
    run("ip", "link", "set", port, "addrgenmode", "none", "up")
    run("ip", "-n", name, "address", "add", far, "dev", "eth0")
    for link in ("lo", "eth0"):
        run("ip", "-n", name, "link", "set", link, "up")
    for prefix in prefixes:
        run("ip", "-n", name, "route", "replace", prefix, "via", near.partition("/")[0])


def _remove() -> None:
    for name in (WORKSTATION, INTERNET):
        command("ip", "netns", "del", name)
    for port in ("elsewhere0", "elsewhere1"):
        command("ip", "link", "del", port)
