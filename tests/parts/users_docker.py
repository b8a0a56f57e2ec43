"""A user's engine, with a network and a container on it that serves a page."""

import contextlib
import io
import json
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from lab import engine, images
from lab.engine.programs import Programs
from lab.process import run
from tests.live.site import command, eventually

SETTINGS: Mapping[str, Mapping[str, object]] = {
    "debian": {},
    "28": {},
    "29": {"userland-proxy": False},
    "29-nftables": {"bridge": "none", "features": {"containerd-snapshotter": False}},
}
"""Each engine's daemon.json; together they cover all settings that users change."""
PORT = 8099
LAN = "lan"
"""The namespace of a neighbour on the LAN, at 192.0.2.2; Docker's host is 192.0.2.1."""


def docker(*words: str, given: bytes | None = None) -> str:
    """Return what a docker command prints; it must succeed."""
    done = subprocess.run(["docker", *words], input=given, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[None]:
    """Run the engine called `name` as the machine's own: default socket, default data root."""
    programs = Programs.chosen(name)
    config = folder / "daemon.json"
    config.write_text(json.dumps({**programs.settings, **SETTINGS[name]}))
    programs.prepare()
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["sh", "-c", engine.LAUNCH, "dockerd", f"--config-file={config}", *engine._top_groups()],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **programs.environment},
            stdout=log,
            stderr=log,
        )
        try:
            answers = ["docker", "version", "--format", "{{.Server.Version}}"]
            eventually("the user's engine", lambda: command(*answers).returncode == 0, 60)
            yield
        finally:
            daemon.terminate()
            daemon.wait(60)


def neighbour() -> None:
    """Make a LAN with one neighbour, who sees what the machine publishes."""
    for words in (
        f"netns add {LAN}",
        f"link add lan0 type veth peer name eth0 netns {LAN}",
        "address add 192.0.2.1/24 dev lan0",
        "link set lan0 up",
        f"-n {LAN} address add 192.0.2.2/24 dev eth0",
        f"-n {LAN} link set eth0 up",
        f"-n {LAN} link set lo up",
    ):
        run(["ip", *words.split()], "the LAN")


def legacy() -> None:
    """Make `iptables` the legacy one in this namespace of mounts, for the engine and all others."""
    run(["mount", "--bind", *(f"/usr/sbin/xtables-{kind}-multi" for kind in ("legacy", "nft"))], "iptables")


def page_image() -> None:
    """Load an image of the user's own, without the lab's label."""
    program = images.standin_binary().read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("page")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    docker("import", "-", "my/page:1", given=buffer.getvalue())


def serve(name: str, port: int | None = None) -> None:
    """Run a container of the user's, with or without a published port."""
    published = (f"--publish={port}:8099",) if port else ()
    words = ("--detach", f"--name={name}", "--network=my-net", *published, "my/page:1")
    docker("run", *words, "/page", "page", "--name", "Mine", "--listen", ":8099")


def page() -> bool:
    """Whether the user's page answers at the machine's own address on the LAN."""
    try:
        with urllib.request.urlopen(f"http://192.0.2.1:{PORT}/", timeout=2) as answer:
            return "stand-in for Mine" in answer.read().decode()
    except OSError:
        return False


class Watch:
    """Requests the user's page ten times a second until stopped; `gaps` are the seconds it was away."""

    def __init__(self) -> None:
        self.asked = 0
        self.gaps: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _ask(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.1):
            self.asked += 1
            if not page():
                self.gaps.append(round(time.monotonic() - began, 1))


JUMPS = ("-A FORWARD -j DOCKER-USER", "counter jump DOCKER-USER")
"""The rule, as iptables and nft write it, that the engine may add twice.

Networks that are made at once each delete and insert it (moby's `EnsureJumpRule`).
"""


def machine() -> dict[str, list[str]]:
    """Return what the stack could change on a machine: rules, addresses, and what the engine holds."""

    def lines(*words: str) -> list[str]:
        return [line.partition(" [")[0] for line in command(*words).stdout.splitlines() if line[:1] != "#"]

    def rules(*words: str) -> Iterator[str]:
        jumped = False
        for line in lines(*words):
            jumps = line.strip() in JUMPS
            if not (jumps and jumped):
                yield line
            jumped = (jumped or jumps) and not line.startswith(("*", "table "))

    form = ("--format", "{{.ID}} {{.Name}}")
    return {
        "iptables": list(rules("iptables-save")),
        "ip6tables": list(rules("ip6tables-save")),
        "nftables": list(rules("nft", "--stateless", "list", "ruleset")),
        "addresses": lines("ip", "-o", "addr"),
        "routes": sorted(lines("ip", "route", "show", "table", "all")),
        "namespaces": sorted(lines("ip", "netns", "list")),
        "switches": [file.read_text() for file in engine.kernel.SWITCHES if file.exists()],
        "containers": sorted(lines("docker", "ps", "--all", "--format", "{{.ID}} {{.Names}} {{.State}}")),
        "networks": sorted(lines("docker", "network", "ls", *form)),
        "volumes": sorted(lines("docker", "volume", "ls", "--format", "{{.Name}}")),
        "images": sorted(lines("docker", "image", "ls", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")),
        "files": sorted(str(path) for path in Path("/var/lib/homelab-network").rglob("*")),
    }
