"""The Docker engine of the lab: the user's own where one answers, else Debian's, started and stopped by us.

Owns the engine process, its data root and what it leaves in the kernel (firewall chains, forwarding
switches, control groups): `down` puts those back as `up` found them. Owns no network, container or image;
`pulumi destroy` comes first, and `down` removes what it left. The default bridge is off, so a container that
names no network has none. An engine that we did not start is never stopped or changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import apt, paths
from lab.daemon import Process, write
from lab.errors import LabError
from lab.process import run, tail

Report = Callable[[str], None]

NAME = "Docker engine"
ROOT = paths.DATA / "docker"
EXEC = paths.RUN / "docker"
SOCKET = paths.RUN / "docker.sock"
CONFIG = paths.RUN / "docker.json"
LOG = paths.RUN / "docker.log"
PID = paths.RUN / "docker.pid"
BEFORE = paths.RUN / "docker-before.json"

SWITCHES = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables"),
    Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
)
CGROUPS = Path("/sys/fs/cgroup")
FIREWALLS = ("iptables", "ip6tables")
BRIDGE = re.compile(r"br-[0-9a-f]{12}")
# What the engine writes: jumps to its chains, rules on its bridges, and one masquerade a published port.
ITS_RULE = re.compile(rf"DOCKER|\b{BRIDGE.pattern}\b|^-A POSTROUTING -s (\S+) -d \1 .*-j MASQUERADE$")

# A container's group is made below its engine's own where its parent's name is relative, so the engine leaves
# those of the shell that started it: they differ from controller to controller, and end with the session.
LAUNCH = """\
config=$1; shift
for group in "$@"; do echo $$ >"$group"; done
exec dockerd "$config"
"""

START_SECONDS = 60
STOP_SECONDS = 40


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Docker engine that answers; `endpoint` is its DOCKER_HOST, None for the user's own."""

    endpoint: str | None
    version: str


def up(report: Report) -> Engine:
    """Return an engine that answers, starting ours where neither it nor the user's runs.

    Raises LabError naming the step that failed, with the end of the engine's log where it has one.
    """
    running = endpoint()
    if not running and (version := _version(None)):
        report(f"{NAME}: {version}, yours; it is left as it is")
        return Engine(endpoint=None, version=version)
    _need_root()
    with _alone():
        _install(report)
        began = time.monotonic()
        version = _start()
    if not running:
        report(f"{NAME}: {version}, started in {time.monotonic() - began:.1f} s at unix://{SOCKET}")
    return Engine(endpoint=f"unix://{SOCKET}", version=version)


def down(report: Report) -> None:
    """Stop the engine that `up` started and put the machine back; without one, do nothing.

    An engine of ours that died is started once more, because only it can take its containers apart in order.
    """
    if not (endpoint() or BEFORE.exists() or ROOT.exists()):
        return
    _need_root()
    with _alone():
        _take_down(report)
    report(f"{NAME}: stopped and cleared")


def endpoint() -> str | None:
    """Return what DOCKER_HOST should be: our engine's socket while it runs, else None (the user's own)."""
    return f"unix://{SOCKET}" if _engines() else None


def _take_down(report: Report) -> None:
    try:
        _start()
        _empty()
    except LabError as fault:
        report(f"{fault}\n{NAME}: clearing up without it")
    for pid in [*_engines(), *_left(), *_helpers()]:
        if process := Process.of(pid):
            process.end(STOP_SECONDS)
    _clear_files()
    if BEFORE.exists():
        _restore(json.loads(BEFORE.read_text()))
    for file in (SOCKET, CONFIG, PID, LOG, BEFORE):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep a second `up` or `down` waiting: two engines on one socket would leave neither in reach."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    folder = os.open(paths.RUN, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _need_root() -> None:
    if os.geteuid():
        raise LabError(f"{NAME}: ours needs root to start and stop; run as root, or start Docker yourself")


def _version(host: str | None) -> str | None:
    try:
        return run(
            ["docker", "version", "--format", "{{.Server.Version}}"], NAME, timeout=10,
            env={"DOCKER_HOST": host} if host else None,
        ).strip()  # fmt: skip
    except LabError:
        return None


def _install(report: Report) -> None:
    installed = apt.install(NAME, {"dockerd": "docker.io"}, report)
    if installed and Path("/run/systemd/system").is_dir():
        run(["systemctl", "disable", "docker.service", "docker.socket", "containerd.service"], NAME)


def _start() -> str:
    """Return the version of our engine once it answers, starting it where it does not run."""
    launched = None if _engines() else _launch()
    deadline = time.monotonic() + START_SECONDS
    while (alive := launched is None or launched.poll() is None) and time.monotonic() < deadline:
        if version := _version(f"unix://{SOCKET}"):
            if launched:
                _put_users_rules_first()
            return version
        time.sleep(0.2)
    fault = f"no answer in {START_SECONDS} s" if alive else "dockerd ended while starting"
    raise LabError(f"{NAME}: {fault}; the end of {LOG}:\n{_last_words()}")


def _put_users_rules_first() -> None:
    """Have FORWARD ask DOCKER-USER before the engine's own chains, whose drops are final.

    An engine does so whenever it makes a network; at a start only one with a default bridge makes any.
    """
    jump = "FORWARD -j DOCKER-USER"
    if f"filter\t-A {jump}" in _firewall("iptables"):
        script = f"*filter\n-D {jump}\n-I {jump}\nCOMMIT\n"
        run(["iptables-restore", "--noflush", "--wait"], NAME, stdin=script)


def _last_words() -> str:
    return tail(LOG.read_text(errors="replace")) if LOG.exists() else "  (there is none)"


def _launch() -> subprocess.Popen[bytes]:
    for folder in (paths.RUN, ROOT):
        folder.mkdir(parents=True, exist_ok=True)
    if not BEFORE.exists():
        write(BEFORE, json.dumps(_snapshot()))
    config = {
        "data-root": str(ROOT),
        "exec-root": str(EXEC),
        "pidfile": str(PID),
        "hosts": [f"unix://{SOCKET}"],
        "bridge": "none",
        "live-restore": False,
    }
    CONFIG.write_text(json.dumps(config))
    PID.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        return subprocess.Popen(
            ["sh", "-c", LAUNCH, "dockerd", f"--config-file={CONFIG}", *_top_groups()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _top_groups() -> list[str]:
    """Return the topmost control groups' process lists: one under version 2, one a controller under 1."""
    unified = CGROUPS / "cgroup.procs"
    return [str(unified)] if unified.exists() else [str(file) for file in CGROUPS.glob("*/cgroup.procs")]


def _empty() -> None:
    """Remove every container and network, so that the engine itself takes their rules and links away."""

    def docker(*words: str) -> list[str]:
        return run(["docker", *words], NAME, env={"DOCKER_HOST": f"unix://{SOCKET}"}).split()

    if containers := docker("ps", "-aq"):
        docker("rm", "--force", "--volumes", *containers)
    if networks := docker("network", "ls", "-q", "--filter", "type=custom"):
        docker("network", "rm", *networks)


def _arguments() -> Iterator[tuple[int, list[str]]]:
    """Words of each process that sees this process's network: one apart from it has an engine of its own."""
    ours = Path("/proc/self/ns/net").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "ns/net").readlink() == ours:
                yield int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


def _engines() -> list[int]:
    return [pid for pid, words in _arguments() if f"--config-file={CONFIG}" in words]


def _helpers() -> list[int]:
    """Return our engine's containerd and its shims."""
    return [
        pid
        for pid, (program, *words) in _arguments()
        if Path(program).name.startswith("containerd") and any(f"{EXEC}/" in word for word in words)
    ]


def _left() -> list[int]:
    """Return the first processes of containers that outlived their engine; its shims keep their numbers."""
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
    tops = [*CGROUPS.glob("**/homelab*.slice"), *CGROUPS.glob("*/docker")]
    # Only an empty group can be removed, so one that is in use stays.
    for group in sorted((group for top in tops for group in (top, *top.glob("**/"))), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


def _snapshot() -> dict[str, dict[str, list[str]]]:
    return {
        "switches": {str(file): [file.read_text().strip()] for file in SWITCHES if file.exists()},
        "firewall": {tool: _firewall(tool) for tool in FIREWALLS},
        "links": {"all": _links()},
        "tables": {"all": _tables()},
    }


def _links() -> list[str]:
    return [link["ifname"] for link in json.loads(run(["ip", "-json", "link"], NAME))]


def _tables() -> list[str]:
    """Return nftables' tables as `ip nat`; those of iptables are among them, where it is the newer one."""
    if not shutil.which("nft"):
        return []
    return [line.removeprefix("table ") for line in run(["nft", "list", "tables"], NAME).splitlines()]


def _is_bare(table: str) -> bool:
    """Tell whether a table has no rule: iptables leaves such behind, with the chains that it began."""
    listed = json.loads(run(["nft", "--json", "list", "table", *table.split()], NAME))["nftables"]
    return not any("rule" in each for each in listed)


def _firewall(tool: str) -> list[str]:
    """Return the rules and chains of every table as `table<TAB>line`, without counters."""
    if not shutil.which(f"{tool}-save"):
        return []
    found, table = [], ""
    for line in run([f"{tool}-save"], NAME).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            found.append(f"{table}\t{line.partition(' [')[0] if line.startswith(':') else line}")
    return found


def _restore(before: dict[str, dict[str, list[str]]]) -> None:
    for link in _links():
        if BRIDGE.fullmatch(link) and link not in before["links"]["all"]:
            run(["ip", "link", "delete", link], NAME)
    for tool in FIREWALLS:
        if script := removal(before["firewall"][tool], _firewall(tool)):
            run([f"{tool}-restore", "--noflush"], NAME, stdin=script)
    for table in _tables():
        if table not in before["tables"]["all"] and table.startswith(("ip ", "ip6 ")) and _is_bare(table):
            run(["nft", "delete", "table", *table.split()], NAME)
    for file, value in before["switches"].items():
        if Path(file).exists() and Path(file).read_text().strip() != value[0]:
            Path(file).write_text(value[0])


def removal(before: list[str], now: list[str]) -> str:
    """Return the `iptables-restore --noflush` script that undoes what the engine added since `before`.

    Rules that others added meanwhile stay. FORWARD gets its ACCEPT back where the engine made it DROP.
    """
    script = []
    new = [line.split("\t") for line in now if line not in before]
    for table in dict.fromkeys(table for table, _ in new):
        lines = [line for where, line in new if where == table]
        chains = [line[1:].split()[0] for line in lines if line.startswith(":DOCKER")]
        rules = [line for line in lines if line.startswith("-A") and ITS_RULE.search(line)]
        undo = [f"-D{line[2:]}" for line in rules if shlex.split(line)[1] not in chains]
        undo += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
        if ":FORWARD DROP" in lines:
            undo.insert(0, "-P FORWARD ACCEPT")
        if undo:
            script += [f"*{table}", *undo, "COMMIT"]
    return "\n".join([*script, ""]) if script else ""


def main(words: list[str]) -> int:
    """Run `up` or `down` by hand; print faults without a traceback."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
