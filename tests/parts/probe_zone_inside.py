"""The tests that `test_probe_zone` runs in namespaces of their own: one engine behind our rules.

The site has the dev stack's Docker networks with one container each, and a user's containers on the default
bridge and on a network of their own. The network options are those of the program.
"""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from components.docker_networks import bridge_options
from lab import engine, paths
from lab.images.catalogue import BASE
from lab.process import run
from rendered import host_rules
from topology.config import from_file
from topology.model import Role, Zone

CONFIG = Path("/run/docker.json")
LOG = Path("/run/dockerd.log")
SITE = from_file(paths.PROJECT / "Pulumi.dev.yaml")
ZONES = [zone for zone in SITE.zones.values() if zone.is_docker]
(PROBE,) = SITE.probes
(EDGE,) = (zone for zone in ZONES if zone.role is Role.EDGE)
# At boot Docker's chain does not exist yet; an engine reuses an existing one.
PROBES_THROUGH = f"iptables --wait --new-chain DOCKER-USER; {host_rules.open_probes(SITE)}"

PORTS = {"web": 80, "other": 9000}
PUBLISHED = {"edge": 8443, "default": 8081, "own": 8082}
LAN, NEIGHBOUR = "192.0.2.1", "192.0.2.2"
HOST_SERVICE = 7000
SERVE = (
    f"/bin/busybox httpd -p {PORTS['web']} -h /bin; exec /bin/busybox httpd -f -p {PORTS['other']} -h /bin"
)
ASK = """\
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def answers(target):
    try:
        with socket.create_connection(target, 2) as connection:
            connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return connection.recv(4) == b"HTTP"
    except OSError:
        return False

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(answers, map(tuple, targets)))))
"""


def docker(*words: str) -> str:
    """Run docker against the engine of these namespaces."""
    return run(["docker", *words], "docker").strip()


class Engine:
    """The engine with its options; its output goes to LOG."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine; returns when it answers."""
        with LOG.open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", engine.LAUNCH, "dockerd", f"--config-file={CONFIG}", *engine._top_groups()],
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + 60
        while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
            assert self.process.poll() is None, LOG.read_text()
            assert time.monotonic() < limit, LOG.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the engine in order."""
        if self.process:
            self.process.terminate()
            self.process.wait(60)

    def restart(self) -> None:
        """Stop the engine and start the one that is first on PATH; returns when the containers run."""
        self.stop()
        self.start()
        limit = time.monotonic() + 60
        while docker("ps", "--quiet", "--filter=status=running").count("\n") + 1 < len(ZONES) + 2:
            assert time.monotonic() < limit, LOG.read_text()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Engine]:
    """Yield the engine, started behind the host's own rules as at boot."""
    CONFIG.write_text(os.environ["ENGINE_OPTIONS"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(host_rules.INSTALL.split(), "rules", stdin=host_rules.rules(SITE))
    run(["sh", "-c", PROBES_THROUGH], "probe rules")
    one = Engine()
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def site(daemon: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Make networks with a container each, two of a user's, a service of the host, and a LAN neighbour."""
    image = tmp_path_factory.mktemp("image") / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(BASE.get(print), ".")
    docker("import", str(image), "base")
    for zone in ZONES:
        _network(zone)
        _container(zone.name, zone.network, *(["-p", "8443:80"] if zone is EDGE else []))
    docker("network", "create", "--subnet=172.30.250.0/24", "own")
    _container("default", "bridge", "-p", "8081:80")
    _container("own", "own", "-p", "8082:80", "-p", "127.0.0.1:8083:9000")
    serve = [sys.executable, "-m", "http.server", str(HOST_SERVICE), "--directory", "/run"]
    others = [
        subprocess.Popen(["unshare", "--net", "sleep", "infinity"]),
        subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    ]
    _lan(others[0].pid)
    _wait_for_service()
    yield daemon
    for other in others:
        other.kill()


def _network(zone: Zone) -> None:
    words = [f"--opt={key}={value}" for key, value in bridge_options(SITE, zone).items()]
    words += [
        f"--subnet={zone.prefix}",
        f"--gateway={zone.gateway}",
        *(["--internal"] if zone.internal else []),
    ]
    docker("network", "create", *words, zone.network)


def _container(name: str, network: str, *words: str) -> None:
    command = ["--restart=always", "base", "/bin/busybox", "sh", "-c", SERVE]
    docker("run", "--detach", f"--name={name}", f"--network={network}", *words, *command)


def _lan(process: int) -> None:
    """Join the namespace of `process` to this one as a neighbour with routes to every container."""
    own = Path("/proc/self/ns/net").readlink()
    limit = time.monotonic() + 10
    while Path(f"/proc/{process}/ns/net").readlink() == own:
        assert time.monotonic() < limit
        time.sleep(0.05)
    script = f"""
set -e
ip link add lan type veth peer name neighbour netns {process}
ip addr add {LAN}/24 dev lan
ip link set lan up
nsenter --target {process} --net sh -ec '
ip addr add {NEIGHBOUR}/24 dev neighbour
ip link set neighbour up
ip route add default via {LAN}'
"""
    run(["sh", "-c", script], "lan")
    NAMESPACES["neighbour"] = process


def _wait_for_service() -> None:
    limit = time.monotonic() + 30
    while not _reached("host", [("127.0.0.1", HOST_SERVICE)]):
        assert time.monotonic() < limit
        time.sleep(0.1)


NAMESPACES: dict[str, int] = {}
"""The process in whose network namespace each source runs that is no container."""


def _address(name: str) -> str:
    (network,) = json.loads(docker("inspect", name))[0]["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def _gateways() -> list[str]:
    """Return the addresses of the host: on the LAN and on each bridge that has one."""
    found = json.loads(run(["ip", "-4", "-json", "address"], "addresses"))
    return [one["local"] for link in found for one in link["addr_info"] if link["ifname"] != "lo"]


def _reached(source: str, targets: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the targets that answer `source`, which is a container, the neighbour or the host."""
    process = os.getpid() if source == "host" else NAMESPACES.get(source)
    process = process or int(docker("inspect", "--format={{.State.Pid}}", source))
    ask = ["nsenter", f"--target={process}", "--net", sys.executable, "-c", ASK, json.dumps(targets)]
    return [one for one, open_ in zip(targets, json.loads(run(ask, source)), strict=True) if open_]


def _host_ports(*ports: int) -> list[tuple[str, int]]:
    return list(product(_gateways(), ports))


def _container_ports(*but: str) -> list[tuple[str, int]]:
    names = [*(zone.name for zone in ZONES), "default", "own"]
    return list(product([_address(name) for name in names if name not in but], PORTS.values()))


def _check_probe() -> None:
    published = _host_ports(*PUBLISHED.values())
    asked = [*published, *_host_ports(8083, HOST_SERVICE), *_container_ports(PROBE.name)]
    assert sorted(_reached(PROBE.name, asked)) == sorted(published)


@pytest.mark.usefixtures("site")
def test_probe_sees_what_is_published() -> None:
    """A probe zone reaches every published port at every address of the host, and nothing else."""
    assert len(_gateways()) == 5
    _check_probe()


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone is not PROBE], ids=lambda zone: zone.name)
def test_other_zones_reach_nothing(zone: Zone) -> None:
    """A container on any other network of ours reaches neither the host, nor a published port, nor others."""
    asked = [*_host_ports(*PUBLISHED.values(), 8083, HOST_SERVICE), *_container_ports(zone.name)]
    assert _reached(zone.name, asked) == []
    assert _reached(zone.name, [(_address(zone.name), PORTS["web"])]) != []


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("source", ["default", "own", "neighbour"])
def test_strangers_reach_no_container_of_ours(source: str) -> None:
    """Neither a user's containers nor a neighbour on the LAN reach a container of ours by its address."""
    asked = _container_ports("default", "own")
    assert _reached(source, asked) == []
    assert sorted(_reached("host", asked)) == sorted(
        target for target in asked if target[0] in {_address(EDGE.name), _address(PROBE.name)}
    )


@pytest.mark.usefixtures("site")
def test_neighbour_sees_what_is_published() -> None:
    """The LAN reaches the published ports."""
    asked = list(product([LAN], PUBLISHED.values()))
    assert _reached("neighbour", asked) == asked


def test_restart(site: Engine) -> None:
    """A probe zone reaches the same after the engine was stopped and started again."""
    site.restart()
    _check_probe()
