"""The lab's Docker engine: the user's own where one answers, else one that the lab starts and stops.

The lab never stops or changes the user's engine. It identifies its own by a mark, a file written before the
first start. `down` restores the kernel to its state before `up`, except while another engine runs. The
default bridge of the lab's engine is off, so a container that names no network has none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import paths
from lab.daemon import Process, write
from lab.engine import kernel
from lab.engine.programs import DEFAULT, Programs
from lab.errors import LabError
from lab.process import run, tail

Report = Callable[[str], None]

NAME = "Docker engine"
ROOT = paths.DATA / "docker"
"""Data root of the lab's engine, or a link to the user's: the stack file uses one path for both."""
MARK = paths.DATA / "docker-started-by-the-lab.json"
EXEC = paths.RUN / "docker"
SOCKET = paths.RUN / "docker.sock"
CONFIG = paths.RUN / "docker.json"
LOG = paths.RUN / "docker.log"
PID = paths.RUN / "docker.pid"
BEFORE = paths.RUN / "docker-before.json"
CGROUPS = Path("/sys/fs/cgroup")

# With a relative cgroup parent a container's group is made below the engine's own. The engine therefore
# leaves the groups of its shell, which differ between controllers and end with the session.
LAUNCH = """\
config=$1; shift
for group in "$@"; do echo $$ >"$group"; done
exec dockerd "$config"
"""

_NOT_OURS = f"{ROOT}: there already, and not made by the lab; move it away and run it again"

START_SECONDS = 60
STOP_SECONDS = 40


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Docker engine that answers at `endpoint` (its DOCKER_HOST); None: the `docker` command's default."""

    endpoint: str | None
    version: str


def up(report: Report) -> Engine:
    """Return a running engine; starts the lab's where neither it nor the user's runs.

    Raises LabError naming the failed step, with the end of the engine's log where there is one.
    """
    running = bool(_engines())
    if not running and (theirs := _info(users_endpoint())):
        _link_data_root(theirs)
        report(f"{NAME}: {theirs['ServerVersion']}, yours; it is left as it is")
        return Engine(endpoint=users_endpoint(), version=theirs["ServerVersion"])
    if not running:
        _refuse_beside_another()
    _need_root()
    with _alone():
        programs = Programs.chosen(_marked().get("engine"))
        programs.install(report)
        began = time.monotonic()
        version = _start(programs)
    if not running:
        report(f"{NAME}: {version}, started in {time.monotonic() - began:.1f} s at unix://{SOCKET}")
    return Engine(endpoint=f"unix://{SOCKET}", version=version)


def down(report: Report, groups: Collection[str] = ()) -> None:
    """Stop the engine that `up` started and restore the machine; remove the containers' control groups.

    A crashed lab engine is started once more, because only an engine can remove its containers in order; but
    never beside another engine.
    """
    if ROOT.is_symlink():
        ROOT.unlink()
    if not (_engines() or _marked()):
        clear_groups(groups)
        return
    _need_root()
    with _alone():
        _take_down(report)
    clear_groups(groups)
    report(f"{NAME}: stopped and cleared")


def endpoint() -> str | None:
    """Return the DOCKER_HOST to use: the lab's socket while its engine runs, else the user's endpoint."""
    return f"unix://{SOCKET}" if _engines() else users_endpoint()


def is_ours() -> bool:
    """Whether the lab's own engine runs."""
    return bool(_engines())


def answers() -> bool:
    """Whether an engine answers: the lab's own, or else the user's."""
    return _info(endpoint()) is not None


def is_abandoned() -> bool:
    """Whether the lab's engine is gone and another one, on which the stack is not, answers in its place."""
    return bool(_marked() and not ROOT.is_symlink() and not _engines() and _info(users_endpoint()))


def users_endpoint() -> str | None:
    """Return the endpoint of the user's engine; None for the one that DOCKER_HOST or the default names.

    The `docker` command follows its context, which Pulumi's provider does not know.
    """
    if os.environ.get("DOCKER_HOST") not in {None, "", f"unix://{SOCKET}"}:
        return None
    # With DOCKER_HOST, which `make env` sets, the command names the lab's socket in place of the context's.
    words = ("env", "--unset=DOCKER_HOST", "docker", "context", "inspect")
    try:
        found = run([*words, "--format", "{{.Endpoints.docker.Host}}"], NAME).strip()
    except LabError:
        return None
    return None if found in {"", "unix:///var/run/docker.sock"} else found


def _marked() -> dict[str, Any]:
    """Return the mark of the engine that the lab started; empty where it started none."""
    try:
        return dict(json.loads(MARK.read_text()))
    except FileNotFoundError:
        return {}
    except ValueError as fault:
        written = json.dumps({"engine": DEFAULT})
        raise LabError(f"{MARK}: not JSON; write {written} into it and run it again") from fault


def _take_down(report: Report) -> None:
    theirs = _others() or _info(users_endpoint())
    if theirs and not _engines():
        report(f"{NAME}: the lab's died, and another runs; clearing up without it")
    else:
        try:
            _start(Programs.chosen(_marked().get("engine")))
            _empty()
        except LabError as fault:
            report(f"{fault}\n{NAME}: clearing up without it")
    for pid in [*_engines(), *_left(), *_helpers()]:
        if process := Process.of(pid):
            process.end(STOP_SECONDS)
    _clear_files()
    if BEFORE.exists() and not theirs:
        kernel.restore(json.loads(BEFORE.read_text()))
    for file in (SOCKET, CONFIG, PID, LOG, BEFORE, MARK):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock against a second `up` or `down`: two engines on one socket would both be unreachable."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    folder = os.open(paths.RUN, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _need_root() -> None:
    if os.geteuid():
        raise LabError(
            f"{NAME}: the lab's needs root to start and stop; run as root, or start Docker yourself"
        )


def _info(host: str | None) -> dict[str, Any] | None:
    """Return `/info` of the engine at `host` (None: DOCKER_HOST or the default); None where none answers."""
    # DOCKER_HOST may be the lab's socket, set by `make env`; an empty value counts as unset.
    ours = os.environ.get("DOCKER_HOST") == f"unix://{SOCKET}"
    env = {"DOCKER_HOST": host} if host else {"DOCKER_HOST": ""} if ours else {}
    try:
        told = run(["docker", "info", "--format", "{{json .}}"], NAME, timeout=20, env=env)
    except LabError:
        return None
    info: dict[str, Any] = json.loads(told)
    return info if info.get("ServerVersion") else None


def _refuse_beside_another() -> None:
    """Raise LabError where the user's engine does not answer: it starts, stops, or listens elsewhere."""
    remedy = "start Docker and run it again"
    if ROOT.is_symlink():
        raise LabError(
            f"{NAME}: the one that was used, with its data in {ROOT.readlink()}, does not answer; {remedy}, "
            f"or remove {ROOT} if that engine is gone for good"
        )
    others = _others() or ([] if _marked() else _shims())
    if others and not shutil.which("docker"):
        raise LabError(
            f"{NAME}: process {others[0]} is another engine's, and there is no `docker` command to "
            "ask it with; install the command, or put its folder on root's PATH"
        )
    if others:
        raise LabError(
            f"{NAME}: process {others[0]} is another engine's, which does not answer; {remedy}, "
            "or name its socket with DOCKER_HOST"
        )


def _link_data_root(theirs: Mapping[str, Any]) -> None:
    """Link ROOT to the data root of the user's engine, where its containers' logs are."""
    root = Path(theirs["DockerRootDir"])
    here = theirs["Name"] == socket.gethostname()
    if here and ROOT.is_symlink() and ROOT.readlink() == root:
        return
    if not (here and root.is_dir()):
        raise LabError(
            f"{NAME}: its data root {root} is not on this machine; the lab needs an engine that runs here"
        )
    if ROOT.exists() and not ROOT.is_symlink():
        if not _marked():
            raise LabError(_NOT_OURS)
        raise LabError(
            f"{ROOT}: data of an engine that the lab started, and another one runs now; run `make down` first"
        )
    _need_root()
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    ROOT.unlink(missing_ok=True)
    ROOT.symlink_to(root)


def _start(programs: Programs) -> str:
    """Start the lab's engine where it does not run; return its version once it answers."""
    launched = None if _engines() else _launch(programs)
    deadline = time.monotonic() + START_SECONDS
    while (alive := launched is None or launched.poll() is None) and time.monotonic() < deadline:
        if info := _info(f"unix://{SOCKET}"):
            if launched:
                _put_users_rules_first()
            return str(info["ServerVersion"])
        time.sleep(0.2)
    fault = f"no answer in {START_SECONDS} s" if alive else "dockerd ended while starting"
    raise LabError(f"{NAME}: {fault}; the end of {LOG}:\n{_last_words()}")


def _put_users_rules_first() -> None:
    """Make FORWARD jump to DOCKER-USER before the engine's own chains, whose drops are final.

    An engine does so whenever it makes a network; at start, only an engine with a default bridge makes one.
    """
    jump = "FORWARD -j DOCKER-USER"
    if f"filter\t-A {jump}" in kernel.firewall("iptables"):
        script = f"*filter\n-D {jump}\n-I {jump}\nCOMMIT\n"
        run(["iptables-restore", "--noflush", "--wait"], NAME, stdin=script)


def _last_words() -> str:
    return tail(LOG.read_text(errors="replace")) if LOG.exists() else "  (there is none)"


def _launch(programs: Programs) -> subprocess.Popen[bytes]:
    if ROOT.exists() and not _marked():
        raise LabError(_NOT_OURS)
    paths.RUN.mkdir(parents=True, exist_ok=True)
    if not BEFORE.exists():
        write(BEFORE, json.dumps(kernel.snapshot()))
    # Written before the start, so that a killed start leaves the mark and part of its content.
    write(MARK, json.dumps({"engine": programs.name, "by": "make up of homelab-network; make down ends it"}))
    ROOT.mkdir(parents=True, exist_ok=True)
    programs.prepare()
    config = {
        "data-root": str(ROOT),
        "exec-root": str(EXEC),
        "pidfile": str(PID),
        "hosts": [f"unix://{SOCKET}"],
        "bridge": "none",
        "live-restore": False,
        **programs.settings,
    }
    CONFIG.write_text(json.dumps(config))
    PID.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        return subprocess.Popen(
            ["sh", "-c", LAUNCH, "dockerd", f"--config-file={CONFIG}", *_top_groups()],
            env={**os.environ, **programs.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _top_groups() -> list[str]:
    """Return the process lists of the topmost control groups: one for version 2, one per controller for 1."""
    unified = CGROUPS / "cgroup.procs"
    return [str(unified)] if unified.exists() else [str(file) for file in CGROUPS.glob("*/cgroup.procs")]


def _empty() -> None:
    """Remove every container and network through the engine, which then removes their rules and links."""

    def docker(*words: str) -> list[str]:
        return run(["docker", *words], NAME, env={"DOCKER_HOST": f"unix://{SOCKET}"}).split()

    if containers := docker("ps", "-aq"):
        docker("rm", "--force", "--volumes", *containers)
    if networks := docker("network", "ls", "-q", "--filter", "type=custom"):
        docker("network", "rm", *networks)


def _arguments() -> Iterator[tuple[int, list[str]]]:
    """Yield id and arguments of each process in this network namespace; others have their own engines."""
    ours = Path("/proc/self/ns/net").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "ns/net").readlink() == ours:
                yield int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


def _engines() -> list[int]:
    return [pid for pid, words in _arguments() if f"--config-file={CONFIG}" in words]


def _others() -> list[int]:
    """Return the ids of engines that are not the lab's, whether or not they answer."""
    return [
        pid
        for pid, (program, *words) in _arguments()
        if Path(program).name == "dockerd" and f"--config-file={CONFIG}" not in words
    ]


def _shims() -> list[int]:
    """Return the ids of containers' shims, which outlive an engine with `live-restore`."""
    return [
        pid
        for pid, (program, *words) in _arguments()
        if Path(program).name.startswith("containerd-shim") and "moby" in words
    ]


def _helpers() -> list[int]:
    """Return the ids of the lab engine's containerd and its shims."""
    return [
        pid
        for pid, (program, *words) in _arguments()
        if Path(program).name.startswith("containerd") and any(f"{EXEC}/" in word for word in words)
    ]


def _left() -> list[int]:
    """Return the main processes of containers that outlived their engine, as recorded by the shims."""
    found = []
    for file in EXEC.glob("containerd/daemon/*/moby/*/init.pid"):
        with contextlib.suppress(OSError):
            pid = int(file.read_text())
            if file.parent.name in Path(f"/proc/{pid}/cgroup").read_text():
                found.append(pid)
    return found


def _clear_files() -> None:
    def mounts() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
        return [point for point in points if f"{point}/".startswith((f"{ROOT}/", f"{EXEC}/"))]

    for point in reversed(mounts()):
        run(["umount", "--lazy", point], NAME)
    if left := mounts():
        raise LabError(f"{NAME}: {left[0]} is still mounted; unmount it and run it again")
    for folder in (ROOT, EXEC):
        if folder.exists():
            shutil.rmtree(folder)
    _remove_groups(CGROUPS.glob("*/docker"))


def clear_groups(names: Collection[str]) -> None:
    """Remove the groups of these names that an engine left behind; one in use is not empty and stays."""
    _remove_groups(group for name in names for group in CGROUPS.glob(f"**/{name}"))


def _remove_groups(tops: Iterable[Path]) -> None:
    for group in sorted((group for top in tops for group in (top, *top.glob("**/"))), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


def main(words: list[str]) -> int:
    """Run `up` or `down` from the command line; print faults without a traceback."""
    if words not in (["up"], ["down"]):
        print("usage: python -m lab.engine up|down", file=sys.stderr)
        return 2
    try:
        if words == ["up"]:
            engine = up(print)
            print(f"DOCKER_HOST={engine.endpoint or '(yours)'}")
        else:
            down(print)
    except LabError as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0
