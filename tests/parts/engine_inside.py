"""The tests that `test_engine` runs in namespaces of their own: the engine's start, crash and removal."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, UDPServer

import pytest

from lab import engine, images, orphans, paths
from lab.engine import kernel
from lab.engine.programs import Programs
from lab.errors import LabError
from lab.images.catalogue import IMAGES
from lab.process import run
from topology.model import NO_NAME_SERVER

ENGINE = {"DOCKER_HOST": f"unix://{engine.SOCKET}"}
GROUPS = ("homelab-inside.slice",)
STAND_IN = "homelab-lab/grafana-stand-in:1"


def docker(*words: str | Path) -> str:
    """Run docker against the engine of this test."""
    return run(["docker", *words], "docker", env=ENGINE).strip()


def machine() -> dict[str, list[str]]:
    """Return what an engine could leave behind, without values that vary between reads."""
    firewall = [line for tool in kernel.FIREWALLS for line in run([f"{tool}-save"], tool).splitlines()]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = (str(paths.RUN), str(paths.DATA))
    processes = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")]
    return {
        "rules": [line for line in firewall if re.match(r"-A|:DOCKER|:.* DROP", line)],
        "switches": [file.read_text() for file in kernel.SWITCHES if file.exists()],
        "tables": kernel.tables(),
        "links": run(["ip", "-brief", "link"], "ip").splitlines(),
        "routes": run(["ip", "route", "show", "table", "all"], "ip").splitlines(),
        "mounts": [point for point in mounts if point.startswith(ours)],
        "processes": sorted(name for name in processes if re.match("docker|containerd|runc|standin", name)),
        "files": [str(path) for root in (paths.RUN, paths.DATA) for path in root.iterdir()],
        "groups": [str(path) for path in engine.CGROUPS.glob(f"**/{GROUPS[0]}")],
    }


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; a timeout fails the test and names the condition."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


@pytest.fixture
def before() -> Iterator[dict[str, list[str]]]:
    """Yield the machine's state before the engine; stops the engine after the test in any case."""
    yield machine()
    engine.down(print, GROUPS)


def load(tag: str) -> None:
    """Make one image present."""
    (one,) = [image for image in IMAGES if image.tag == tag]
    images._make(one, ENGINE, print)


def serve() -> None:
    """Run a page in a container as the stack does: on a network of its own, with a published port."""
    load(STAND_IN)
    docker("network", "create", "--subnet", "172.30.200.0/24", "inside")
    docker("network", "create", "--internal", "--subnet", "172.30.201.0/24", "second")
    options = [
        "--name=inside",
        "--network=bridge",
        "--publish=8099:8099",
        f"--cgroup-parent={GROUPS[0]}",
    ]
    program = ["--entrypoint=/usr/bin/standin", "--volume=inside:/data", "--restart=unless-stopped", STAND_IN]
    docker("create", *options, *program, "page", "--name", "Inside", "--listen", ":8099")
    docker("network", "disconnect", "bridge", "inside")
    docker("network", "connect", "inside", "inside")
    docker("network", "connect", "second", "inside")
    docker("start", "inside")


def page() -> str:
    """Return the page on the published port, "" while there is none."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:8099/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def kill_engine() -> None:
    """End the engine and its containerd as a crash would; containers stay alive."""
    for pid in [*engine._engines(), *engine._helpers()]:
        # containerd may end by itself as soon as the engine does.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"shim" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    until("the engine is dead", lambda: not engine._engines())


def test_down_leaves_nothing(before: dict[str, list[str]]) -> None:
    """A container with a published port works without a default bridge, and `down` removes everything."""
    engine.up(print)
    serve()
    until("the page is served", lambda: "stand-in for Inside, not Inside" in page())
    assert machine() != before
    assert machine()["groups"]
    engine.down(print, GROUPS)
    assert machine() == before


def test_up_again_is_nothing(before: dict[str, list[str]]) -> None:
    """A second `up` finds the engine, and a second `down` finds nothing."""
    first = engine.up(print)
    pids = engine._engines()
    assert engine.up(print) == first
    assert engine._engines() == pids
    assert engine.endpoint() == ENGINE["DOCKER_HOST"]
    engine.down(print, GROUPS)
    engine.down(print, GROUPS)
    assert engine.endpoint() is None
    assert machine() == before


def test_two_at_once_start_one(before: dict[str, list[str]]) -> None:
    """Two concurrent `up` commands return the same single engine."""
    command = [sys.executable, "-m", "lab.engine", "up"]
    both = [subprocess.Popen(command, cwd=paths.PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert all(ENGINE["DOCKER_HOST"] in text for text in said)
    assert len(engine._engines()) == 1
    engine.down(print, GROUPS)
    assert machine() == before


def test_killed_engine_goes_on(before: dict[str, list[str]]) -> None:
    """After a crash `up` brings the same engine back, its containers start again, and `down` cleans up."""
    engine.up(print)
    serve()
    kill_engine()
    engine.up(print)
    docker("start", "inside")
    until("the page is served again", lambda: "stand-in for Inside" in page())
    engine.down(print, GROUPS)
    assert machine() == before


def test_down_after_a_crash(before: dict[str, list[str]]) -> None:
    """`down` alone cleans up after an engine that was killed with its containers running."""
    engine.up(print)
    serve()
    kill_engine()
    engine.down(print, GROUPS)
    assert machine() == before


def test_half_made_things_go_by_their_label(before: dict[str, list[str]]) -> None:
    """A container or network that a killed run left is removed; one of the user's of the same name stays."""
    engine.up(print)
    load(STAND_IN)
    mark = {"label": "homelab-network.stack", "value": "dev"}
    label = f"--label={mark['label']}={mark['value']}"

    def remove(kind: str, name: str) -> None:
        inputs = {"name": name, "labels": [mark]}
        orphans.remove({"type": f"docker:index/{kind.lower()}:{kind}", "inputs": inputs}, ENGINE)

    for name, marks in (("theirs", ()), ("ours", (label,)), ("other-stack", (f"{label}-2",))):
        docker("network", "create", "--internal", *marks, f"net-{name}")
        docker("create", "--name", name, *marks, STAND_IN)
        remove("Container", name)
        remove("Network", f"net-{name}")
    assert docker("ps", "--all", "--format", "{{.Names}}").split() == ["other-stack", "theirs"]
    listed = docker("network", "ls", "--filter=type=custom", "--format", "{{.Name}}").split()
    assert sorted(listed) == ["net-other-stack", "net-theirs"]
    remove("Container", "never-made")
    engine.down(print, GROUPS)
    assert machine() == before


def test_the_images_go_again(before: dict[str, list[str]]) -> None:
    """Images are removed by label and name: a copy under a user's name stays, and so does one in use."""
    engine.up(print)
    load(STAND_IN)
    docker("create", "--name", "user", STAND_IN)
    images.remove(ENGINE["DOCKER_HOST"], print)
    assert STAND_IN in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    docker("rm", "user")
    docker("tag", STAND_IN, "my/copy:1")
    images.remove(ENGINE["DOCKER_HOST"], print)
    assert docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}") == "my/copy:1"
    engine.down(print, GROUPS)
    assert machine() == before


class _Names(BaseRequestHandler):
    """Answers every question about a name with an address."""

    def handle(self) -> None:
        query, sock = self.request
        head = query[:2] + bytes.fromhex("8180 0001 0001 0000 0000")
        record = bytes.fromhex("c00c 0001 0001 0000003c 0004 01010101")
        sock.sendto(head + query[12:] + record, self.client_address)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[None]:
    """Run a name server on this machine's loopback, as systemd-resolved is, and have the machine ask it."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.53\n")
    run(["mount", "--bind", file, "/etc/resolv.conf"], "mount")
    with UDPServer(("127.0.0.53", 53), _Names) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
    run(["umount", "/etc/resolv.conf"], "umount")


def learns(container: str, name: str) -> bool:
    """Whether a container gets an answer about a name from the engine's name server, asked by the probe."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container)
    ask = {"id": "1", "kind": "name", "address": "127.0.0.11", "port": 53, "within": 0, "host": name}
    way = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-I", "verify/agent.py"]
    said = json.dumps({"ask": [ask], "authorities": ""})
    done = subprocess.run(way, input=f"{{}}\n{said}\n", capture_output=True, text=True, check=True)
    return bool(json.loads(done.stdout.splitlines()[1])["answers"]["1"] == "open")


def test_a_container_on_its_own_loopback_learns_no_name(before: dict[str, list[str]], names: None) -> None:
    """An engine asks its host's name server for others; each keeps the engine's own names."""
    assert names is None
    engine.up(print)
    load(STAND_IN)
    docker("network", "create", "--subnet", "172.30.200.0/24", "edge")
    docker("network", "create", "--internal", "--subnet", "172.30.201.0/24", "backend")
    program = ["--entrypoint=/usr/bin/standin", STAND_IN, "page", "--name", "Inside", "--listen", ":8099"]
    for network in ("edge", "backend"):
        for name, dns in ((network, []), (f"{network}-closed", [f"--dns={NO_NAME_SERVER}"])):
            docker("run", "--detach", "--name", f"c-{name}", f"--network={network}", *dns, *program)
    seen = {
        name: (learns(f"c-{name}", f"c-{name}"), learns(f"c-{name}", "example.org"))
        for name in ("edge", "backend", "edge-closed", "backend-closed")
    }
    forwards = int(docker("version", "--format", "{{.Server.Version}}").partition(".")[0]) < 25
    assert seen == {
        "edge": (True, True),
        "backend": (True, forwards),
        "edge-closed": (True, False),
        "backend-closed": (True, False),
    }
    engine.down(print, GROUPS)
    assert machine() == before


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Replace dockerd by a program that prints an error and exits."""

    def break_it() -> None:
        program = tmp_path / "dockerd"
        program.write_text("#!/bin/sh\necho failed to start daemon: no such storage driver >&2\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setattr(Programs, "environment", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})

    return break_it


def test_down_without_an_engine(before: dict[str, list[str]], broken: Callable[[], None]) -> None:
    """Where the killed engine can't restart, containers, bridges, rules and files are still removed."""
    engine.up(print)
    serve()
    kill_engine()
    broken()
    engine.down(print, GROUPS)
    assert machine() == before


def test_failed_start_is_told(before: dict[str, list[str]], broken: Callable[[], None]) -> None:
    """The error for an engine that does not start has the end of its log, and nothing is left to remove."""
    broken()
    with pytest.raises(LabError, match=r"(?s)dockerd ended while starting.*no such storage driver"):
        engine.up(print)
    engine.down(print, GROUPS)
    assert machine() == before
