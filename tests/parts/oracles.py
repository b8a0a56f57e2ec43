"""Traefik run on loopback as an oracle: what it makes of a configuration, by its own API."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 20
"""Seconds after which a program that says nothing has failed."""
NO_PAGE = 1
"""Seconds after the first 404 from which Traefik has no page that is not expected."""
ENTRIES = ("web", "websecure", "dns")
"""Entry points of the one Traefik that loads every dynamic configuration; the last one is UDP."""
_FAILED = "Error while building configuration"
_PANIC = "Error in Go routine"
"""What Traefik says before its file provider stops for good."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that no program listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@dataclass(kw_only=True)
class Running:
    """A Traefik in a folder of its own, whose API answers at a port of loopback."""

    program: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the program; its output goes to a file."""
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.program, *words],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environment or {})},
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """End the program."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(LIMIT)

    def said(self) -> str:
        """Return the output so far."""
        return (self.folder / "log").read_text(errors="replace")

    def ask(self, path: str) -> Any:
        """Return the API's answer; raises OSError if no API answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=LIMIT) as answer:
            return json.load(answer)

    def answers(self, patience: float = LIMIT) -> bool:
        """Wait until the API answers; false if the program ends, or has no page for so many seconds."""
        assert self.process is not None
        limit, first = time.monotonic() + LIMIT, 0.0
        while self.process.poll() is None:
            try:
                return self.ask("/api/overview") is not None
            except urllib.error.HTTPError:  # no page yet, or never
                first = first or time.monotonic()
                if time.monotonic() > first + patience:
                    return False
            except OSError:
                assert time.monotonic() < limit, self.said()
            time.sleep(0.01)
        return False


def started(
    program: Path,
    folder: Path,
    port: int,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    routes: bool,
) -> dict[str, Any] | None:
    """Return what a Traefik started with these words says of itself; None if it ends or has no API.

    If `routes` are expected, the API and they are waited for; else there is none after `NO_PAGE` seconds.
    """
    running = Running(program=program, folder=folder, port=port)
    running.start(*words, environment=environment)
    patience = LIMIT if routes else NO_PAGE
    try:
        if not running.answers(patience):
            return None
        limit = time.monotonic() + patience
        while not _routed(running.ask("/api/rawdata")) and time.monotonic() < limit:
            time.sleep(0.01)
        return {path: running.ask(f"/api/{path}") for path in ("entrypoints", "overview", "rawdata")}
    finally:
        running.stop()


def _routed(data: Mapping[str, Any]) -> bool:
    return any(name.endswith("@file") for name in data["routers"])


class Dynamic:
    """One Traefik that loads one folder of dynamic files after the other."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.files = folder / "dynamic"
        self.files.mkdir()
        api, *ports = free_ports(4)
        at = {name: f"127.0.0.1:{port}" for name, port in zip(ENTRIES, ports, strict=True)}
        at["dns"] += "/udp"
        static = {
            "entryPoints": {name: {"address": address} for name, address in at.items()}
            | {"traefik": {"address": f"127.0.0.1:{api}"}},
            "api": {"insecure": True},
            "providers": {
                "providersThrottleDuration": "1ms",
                "file": {"directory": str(self.files), "watch": False},
            },
            "log": {"level": "ERROR"},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        self.text = json.dumps(static)
        (folder / "traefik.yml").write_text(self.text)
        self.running = Running(program=program, folder=folder, port=api)
        self.count = 0
        self.start()

    def start(self) -> None:
        """Start Traefik, and wait for its API."""
        self.running.start(f"--configFile={self.running.folder}/traefik.yml")
        assert self.running.answers(), self.running.said()

    def stop(self) -> None:
        """End Traefik."""
        self.running.stop()

    def load(self, files: Mapping[str, str]) -> Any:
        """Return Traefik's view of these files: routers, services, middlewares; None if it takes none."""
        shutil.rmtree(self.files)
        self.count += 1
        marker = f"loaded-{self.count}"
        loaded = {"http": {"routers": {marker: {"rule": "Host(`x`)", "service": "noop@internal"}}}}
        for name, text in {**files, f"~{marker}.yml": json.dumps(loaded)}.items():
            file = self.files / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        before = len(self.running.said())
        assert self.running.process is not None
        self.running.process.send_signal(signal.SIGHUP)
        limit = time.monotonic() + LIMIT
        while not self._has(f"{marker}@file"):
            said = self.running.said()[before:]
            if _PANIC in said:
                self.running.stop()
                shutil.rmtree(self.files)
                self.files.mkdir()
                self.start()
            if _PANIC in said or _FAILED in said:
                return None
            assert time.monotonic() < limit, said
            time.sleep(0.003)
        data = self.running.ask("/api/rawdata")
        del data["routers"][f"{marker}@file"]
        return data

    def _has(self, router: str) -> bool:
        try:
            return bool(self.running.ask(f"/api/http/routers/{router}"))
        except urllib.error.HTTPError:
            return False

    def reason(self) -> str:
        """Return why the last configuration was not taken."""
        lines = [line for line in self.running.said().splitlines() if _FAILED in line]
        return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]) if lines else ""
