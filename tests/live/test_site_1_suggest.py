"""`make suggest` on the running dev stack: an undeclared packet of a container, and what the probe asks."""

import subprocess
import sys

from tests.live.sabotage import TOPOLOGY
from tests.live.site import Site, command, eventually, make

TRY = "loki -> node-exporter:9100/tcp"
_ASK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


_FLOOD = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(20000, 20200):
    udp.sendto(b"x", (sys.argv[1], port))
"""


def within(site: Site, source: str, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a container's network."""
    pid = site.docker("inspect", "--format", "{{.State.Pid}}", source).strip()
    return command("nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", program, *words)


def ask(site: Site, source: str, destination: str, port: int) -> int:
    """Connect from a container's network to a neighbour on backend; returns the exit status."""
    ip = str(TOPOLOGY.address_on(destination, TOPOLOGY.zones["backend"]))
    return within(site, source, _ASK, ip, str(port)).returncode


def test_an_undeclared_packet_becomes_a_line(site: Site) -> None:
    """What Loki tries is a line of the stack file with its count; what Prometheus uses is not without use."""
    assert ask(site, "loki", "node-exporter", 9100)
    assert ask(site, "prometheus", "node-exporter", 9100) == 0
    done = make("suggest")
    (line,) = (line for line in done.stdout.splitlines() if TRY in line)
    assert line.startswith(f"    - {TRY}  # "), done.stdout
    assert "s ago" in line
    assert "prometheus -> node-exporter" not in done.stdout
    assert done.returncode != 0


def test_the_probe_teaches_nothing(site: Site) -> None:
    """A run of the probe, which asks everything from everywhere, adds no suggestion."""
    before = {line.partition("  #")[0] for line in make("suggest").stdout.splitlines()}
    assert make("verify").returncode == 0
    after = {line.partition("  #")[0] for line in make("suggest").stdout.splitlines()}
    assert {line for line in after - before if "->" in line} == set(), site


def test_a_dropped_packet_is_in_the_kernels_log_and_a_flood_is_not(site: Site) -> None:
    """The log has a line with the prefix and both addresses, and two hundred packets add a few lines."""
    prefix = "homelab-network: IN=br-backend"

    def logged() -> int:
        return command("dmesg").stdout.count(prefix)

    before = logged()
    eventually("a line", lambda: ask(site, "loki", "node-exporter", 9101) and logged() > before, 30)
    before = logged()
    ip = str(TOPOLOGY.address_on("node-exporter", TOPOLOGY.zones["backend"]))
    assert within(site, "loki", _FLOOD, ip).returncode == 0
    assert logged() - before < 30
