"""Settings of the engine's process that its API does not show."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

CONFIG: Final = Path("/etc/docker/daemon.json")
_PID: Final = Path("/run/docker.pid")
_FALSE: Final = frozenset({"0", "f", "F", "false", "False", "FALSE"})
_SYSTEMD: Final = 1
_NETWORK_OPTIONS: Final = "default-network-opts"
_NETWORK_OPTION: Final = "default-network-opt"
RAW: Final = "DOCKER_INSECURE_NO_IPTABLES_RAW"


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A dockerd's settings; `config` is the file that it reads, `in_file` the keys set there.

    `network_options` are the names of the options that every new bridge network gets.
    """

    iptables: bool = True
    direct_routing: bool = False
    no_raw_rules: bool = False
    userland_proxy: bool = True
    ip_forward: bool = True
    network_options: tuple[str, ...] = ()
    config: Path = CONFIG
    in_file: frozenset[str] = frozenset()

    def place(self, key: str) -> str:
        """Return where a setting is made: the file, or the command line."""
        return str(self.config) if key in self.in_file else "dockerd's command line"


def settings(
    words: Sequence[str], environment: Mapping[str, str], config: Path, file: Mapping[str, Any]
) -> Daemon:
    """Return a dockerd's settings from its command line, environment and configuration file.

    The engine refuses to start if file and command line name the same setting.
    """

    def told(key: str, *, unless: bool) -> bool:
        if key in file:
            return bool(file[key])
        given = [word.partition("=")[2] or "true" for word in words if _names(word, key)]
        return given[-1] not in _FALSE if given else unless

    return Daemon(
        iptables=told("iptables", unless=True),
        direct_routing=told("allow-direct-routing", unless=False),
        no_raw_rules=environment.get(RAW) == "1",
        userland_proxy=told("userland-proxy", unless=True),
        ip_forward=told("ip-forward", unless=True),
        network_options=tuple(sorted({*_network_options(words), *_bridge(file.get(_NETWORK_OPTIONS))})),
        config=config,
        in_file=frozenset(file),
    )


def read(path: str, proc: Path = Path("/proc")) -> Daemon | None:
    """Return the settings of the dockerd that listens on a socket; None if not found or not readable."""
    for number in _candidates(path, proc):
        folder = proc / str(number)
        try:
            if (folder / "comm").read_text().strip() != "dockerd":
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            config = _config(words)
            file = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
        except (OSError, ValueError):
            continue
        pairs = (line.partition("=")[::2] for line in environment)
        return settings(words, dict(pairs), config, file if isinstance(file, dict) else {})
    return None


def _candidates(path: str, proc: Path) -> Iterable[int]:
    """Yield processes that may be the engine.

    These are the process that listens on the socket and, if that is systemd, which opens sockets for other
    programs, the recorded process or the only dockerd of this machine.
    """
    listens = _peer(path)
    yield from listens
    if listens not in ([], [_SYSTEMD]):
        return
    with contextlib.suppress(OSError, ValueError):
        yield int(_PID.read_text())
    found = [folder for folder in proc.glob("[0-9]*") if _is_engine(folder)]
    if len(found) == 1:
        yield int(found[0].name)


def _is_engine(folder: Path) -> bool:
    try:
        return (folder / "comm").read_text().strip() == "dockerd"
    except OSError:
        return False


def _peer(path: str) -> list[int]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return []
    return [struct.unpack("3i", raw)[0]]


def _config(words: Sequence[str]) -> Path:
    for number, word in enumerate(words):
        if word.startswith("--config-file="):
            return Path(word.partition("=")[2])
        if word == "--config-file" and number + 1 < len(words):
            return Path(words[number + 1])
    return CONFIG


def _network_options(words: Sequence[str]) -> Iterable[str]:
    """Yield the options' names from `--default-network-opt bridge=<name>=<value>` in both of its forms."""
    following = zip_longest(words, words[1:], fillvalue="")
    given = [word.partition("=")[2] or after for word, after in following if _names(word, _NETWORK_OPTION)]
    for driver, _, option in (each.partition("=") for each in given):
        if driver == "bridge":
            yield option.partition("=")[0]


def _bridge(options: object) -> Iterable[str]:
    """Return the options' names for bridges in daemon.json; the engine does not start with another form."""
    bridge = options.get("bridge") if isinstance(options, dict) else None
    return [str(name) for name in bridge] if isinstance(bridge, dict) else []


def _names(word: str, key: str) -> bool:
    return word.partition("=")[0] == f"--{key}"
