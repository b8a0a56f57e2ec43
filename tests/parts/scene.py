"""A network of a test's own, with nothing but loopback, and programs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.live.site import eventually


@dataclass(kw_only=True)
class Scene:
    """Programs in one network; what each prints goes to a file in the folder."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def open(self, *addresses: str) -> None:
        """Make the network, with further addresses on loopback; programs may take any port."""
        steps = [
            "ip link set lo up",
            *(f"ip address add {each}/32 dev lo" for each in addresses),
            "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start",
            "echo ready",
            "exec sleep 600",
        ]
        self.start("network", "unshare", "--net", "sh", "-c", " && ".join(steps))
        eventually("the network", lambda: "ready" in self.said("network"), 10)

    @property
    def _way(self) -> tuple[str, ...]:
        network = self.processes.get("network")
        return ("nsenter", f"--net=/proc/{network.pid}/ns/net") if network else ()

    def start(self, name: str, *words: str | Path, **environment: str) -> None:
        """Start a program, in the network once it exists."""
        way, told = self._way, {**os.environ, **environment}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*way, *words], cwd=self.folder, env=told, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        """End a program."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=10)

    def close(self) -> None:
        """End all programs, and the network with them."""
        for name in [*self.processes]:
            self.stop(name)

    def said(self, name: str) -> str:
        """Return the program's output so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def asks(self, script: str, *words: str) -> Any:
        """Return the JSON that a Python script in the network prints."""
        command = [*self._way, sys.executable, "-c", script, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
