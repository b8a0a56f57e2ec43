"""Commands, snapshots of the machine, and the running dev stack, for the tests on real parts."""

import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from lab import tls

PROJECT = Path(__file__).resolve().parents[2]
DOMAIN = "homelab.localhost"
UP_SECONDS = 600
PROMETHEUS = "homelab-lab"
"""The lab's password for Prometheus UI; the stack file contains only its hash."""


def command(
    *words: str, seconds: float = 120, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in the project's folder to its end; stdout and stderr are one stream."""
    return subprocess.run(
        words,
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


def make(*words: str, seconds: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a make target."""
    return command("make", *words, seconds=seconds)


def environment() -> dict[str, str]:
    """Return the variables that `eval "$(make -s env)"` sets in a shell."""
    shown = command("bash", "-c", 'eval "$(make -s env)" && env -0').stdout
    return dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)


def eventually(what: str, probe: Callable[[], Any], seconds: float = 60) -> Any:
    """Probe until the answer is true; fails after `seconds`, naming `what` and the last answer."""
    limit = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > limit:
            pytest.fail(f"{what}: not within {seconds:.0f} s; last answer: {answer!r}")
        time.sleep(0.5)
    return answer


def pids(namespace: str) -> list[int]:
    """Return the process ids in a network namespace; empty while the namespace is absent, as in a rebuild."""
    done = command("ip", "netns", "pids", namespace)
    return [int(pid) for pid in done.stdout.split()] if done.returncode == 0 else []


@dataclass(frozen=True)
class Snapshot:
    """Everything on a machine that the lab could leave behind."""

    namespaces: list[str]
    links: list[str]
    routes: list[str]
    rules: list[str]
    listeners: list[str]
    processes: list[str]
    groups: list[str]
    forwarding: str
    tree: str

    @classmethod
    def take(cls) -> "Snapshot":
        """Return the kernel's current state."""
        return cls(
            namespaces=_lines("ip", "netns", "list"),
            links=sorted(link["ifname"] for link in json.loads(command("ip", "-j", "link").stdout or "[]")),
            routes=_lines("ip", "route", "show", "table", "all"),
            rules=[*_rules("iptables-save"), *_rules("ip6tables-save"), *_lines("nft", "list", "ruleset")],
            listeners=listeners(),
            processes=sorted(words for words in _commands().values() if "homelab-network" in words),
            groups=sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/homelab-*")),
            forwarding=Path("/proc/sys/net/ipv4/ip_forward").read_text(),
            tree=command("git", "status", "--porcelain").stdout,
        )

    def left(self, later: "Snapshot") -> dict[str, object]:
        """Return what is otherwise later, by field; others' processes and ports may end in the meantime."""
        ended = {
            name: [each for each in getattr(self, name) if each in getattr(later, name)]
            for name in ("processes", "listeners")
        }
        before = asdict(self) | ended
        return {name: value for name, value in asdict(later).items() if value != before[name]}


def listeners() -> list[str]:
    """Return the TCP ports that listen on non-loopback addresses, as `address:port`."""
    words = [line.split() for line in _lines("ss", "-Hltn")]
    return sorted({w[3] for w in words if not w[3].startswith(("127.", "[::1]"))})


def _commands() -> dict[int, str]:
    """Return the command line of each process by id, including this process and its children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        found[int(folder.name)] = words
    return found


def _lines(*words: str) -> list[str]:
    try:
        return sorted(command(*words).stdout.splitlines())
    except FileNotFoundError:
        return []


def _rules(program: str) -> list[str]:
    """Return rules and policies without counters and dates; omits empty chains that accept."""
    return [
        line.partition(" [")[0]
        for line in _lines(program)
        if line.startswith(("-A", ":")) and "ACCEPT" not in line
    ]


@dataclass(frozen=True)
class Answer:
    """A response of the ingress."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Site:
    """The running dev stack."""

    said: str
    environment: dict[str, str]

    def get(
        self,
        host: str,
        path: str = "/",
        method: str = "GET",
        body: str | None = None,
        user: str | None = None,
    ) -> Answer:
        """Send a request to the ingress on 443 for a host; checks the certificate with the lab's CA.

        `user` logs in with the host's password.
        """
        name = f"{host}.{DOMAIN}"
        password = PROMETHEUS if host == "prometheus" else self.password() if user else ""
        login = urllib3.make_headers(basic_auth=f"{user}:{password}") if user else {}
        with urllib3.HTTPSConnectionPool(
            "127.0.0.1",
            443,
            ssl_context=ssl.create_default_context(cafile=str(tls.bundle())),
            server_hostname=name,
            assert_hostname=name,
            timeout=15,
            retries=False,
        ) as pool:
            answer = pool.urlopen(method, path, headers={"Host": name, **login}, body=body, redirect=False)
            return Answer(answer.status, dict(answer.headers), answer.data.decode(errors="replace"))

    def docker(self, *words: str) -> str:
        """Return the output of a docker command on the lab's engine; it must succeed."""
        done = command("docker", *words, environment=self.environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def password(self) -> str:
        """Return Grafana's password from the stack's configuration."""
        return self.pulumi("config", "get", "grafana:adminPassword").stdout.strip()

    def pulumi(self, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a plain pulumi command on the stack."""
        return command(
            "pulumi",
            *words,
            "--non-interactive",
            "--stack",
            "dev",
            seconds=seconds,
            environment=self.environment,
        )


def updated(site: Site, folder: Path, *changes: tuple[str, str]) -> None:
    """Update the stack from a changed copy of its file, checked by the pack."""
    text = (PROJECT / "Pulumi.dev.yaml").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = folder / "changed.yaml"
    file.write_text(text)
    judged = ("--yes", "--skip-preview", "--policy-pack", "policies/serve")
    done = site.pulumi("up", *judged, "--config-file", str(file))
    assert done.returncode == 0, done.stdout[-4000:]
