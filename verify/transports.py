"""The transports to endpoints: nsenter, ssh and docker commands that start agents, and their faults.

This module also removes the run's containers.
Note: SSH accepts only the pinned key and ignores the user's known_hosts and shared connections. The rest of
the user's SSH configuration applies, such as keys, ports and jump hosts.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from topology.model import SshVantage
from verify.namespaces import run

_AGENT = Path(__file__).with_name("agent.py")
_LABEL = "org.homelab-network.verify"
_SECONDS = 30
_SHOWN = 160
_REMEDIES = (
    ("Host key verification failed", "find out why its key is not host-key before you change that"),
    ("Permission denied", "let your key log in there as this user"),
    ("python3", "install Python 3.11 or newer there"),
)
_ANY_REMEDY = "see that it runs and can be reached, and run verify again"


@dataclass(frozen=True, kw_only=True)
class Transport:
    """A command (`words`) that starts an endpoint's agent; `path` names it, or its key, in a fault."""

    words: tuple[str, ...]
    path: str
    lasting: bool = False
    """Whether the machine existed before the run, so that its neighbour table is no evidence."""


def here(name: str) -> Transport:
    """Return the transport to the machine that the probe runs on, without a namespace."""
    return Transport(words=_local(), path=name, lasting=True)


def namespace(path: str | Path, name: str) -> Transport:
    """Return the transport to a network namespace of this machine, and no other namespace; needs root."""
    return Transport(words=("nsenter", f"--net={path}", *_local()), path=name)


def ssh(vantage: SshVantage, known_hosts: Path) -> Transport:
    """Return the transport to a machine whose key is in `known_hosts` under the vantage's name.

    ssh writes nothing to `known_hosts`.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "KnownHostsCommand": "none",
        "HostKeyAlias": vantage.name,
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "ConnectTimeout": 10,
        "ConnectionAttempts": 1,
        "ServerAliveInterval": 5,
        "LogLevel": "ERROR",
    }
    given = (word for key, value in options.items() for word in ("-o", f"{key}={value}"))
    command = shlex.join(("python3", *_source()))
    words = ("ssh", "-T", *given, "--", vantage.ssh, command)
    return Transport(words=words, path=f"vantages.{vantage.name}", lasting=True)


def known_hosts(vantages: Iterable[SshVantage]) -> str:
    """Return the pinned keys in known_hosts format, each under its vantage's name."""
    return "".join(f"{vantage.name} {vantage.host_key}\n" for vantage in vantages)


def docker(image: str, network: str, name: str, *more: str) -> Transport:
    """Return the transport to a new, unprivileged container on a network, or in another's network."""
    words = (
        *("docker", "run", "--rm", "--interactive", "--pull", "never", "--log-driver", "none"),
        *("--label", _LABEL, "--network", network, *more, "--user", "65534:65534", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--read-only", "--entrypoint", "python3", image, *_source()),
    )
    return Transport(words=words, path=f"vantages.containers: {name}")


def remove_containers() -> None:
    """Remove every container of a run; the engine may have removed some already."""
    found = run("docker", "ps", "--all", "--quiet", "--filter", f"label={_LABEL}").split()
    if found:
        words = ("docker", "rm", "--force", "--volumes", *found)
        subprocess.run(words, capture_output=True, timeout=_SECONDS, check=False)


def fault(transport: Transport, said: str) -> str:
    """Return the operator's message on a missing agent, from the last output (`said`) of its transport."""
    lines = ["".join(filter(str.isprintable, line)).strip() for line in said.splitlines()]
    known = ((line, remedy) for words, remedy in _REMEDIES for line in lines if words in line)
    if lines[:1] == ["Traceback (most recent call last):"]:
        lines.reverse()
    first = next(filter(None, lines), "ended without a word")
    what, remedy = next(known, (first, _ANY_REMEDY))
    return f"{transport.path}: {what[:_SHOWN].rstrip('.')}; {remedy}"


def _local() -> tuple[str, ...]:
    return (sys.executable, "-I", str(_AGENT))


def _source() -> tuple[str, ...]:
    return ("-I", "-c", _AGENT.read_text(encoding="utf-8"))
