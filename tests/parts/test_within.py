"""Docker-SRV's own rules in force: what members of one bridge, and a newcomer there, reach of each other."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rendered import host_rules
from tests.parts.test_egress import inside, running
from tests.site import changed
from topology.config import load
from topology.model import Topology
from topology.project import PROJECT
from verify import learned
from verify.learned import Learned

PEERS = {
    "services.sender": {"zones": ["backend"], "image": "sender:1"},
    "services.sink": {"zones": ["backend"], "image": "sink:1", "ports": ["5000/udp"]},
    "flows[+]": "sender -> sink:5000/udp",
    "unencrypted[+]": {"flow": "sender -> sink:5000/udp", "reason": "it is a test of datagrams"},
}
SITE, BEFORE = load(changed(PEERS)), load(changed({}))
NEWCOMER, OTHER = "newcomer", 444
NUMBERS = sorted({OTHER, *(port.number for each in SITE.containers for port in each.ports)})
_LISTEN = f"""
import socket, threading
def answer(udp):
    while True:
        data, sender = udp.recvfrom(65535)
        udp.sendto(data, sender)
for port in {NUMBERS}:
    socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512).detach()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    threading.Thread(target=answer, args=(udp,)).start()
print("ready", flush=True)
"""
ASK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def opens(ask):
    what, host, port = ask
    echo = bytes.fromhex("0800f7fe00010000")
    try:
        if what == "tcp":
            socket.create_connection((host, port), 1).close()
        elif what == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.settimeout(1)
                udp.sendto(b"x" * 4000, (host, port))
                udp.recv(4096)
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
                raw.settimeout(1)
                raw.sendto(echo, (host, 0))
                while raw.recvfrom(99)[1][0] != host:
                    pass
    except OSError:
        return False
    return True
asks = json.load(sys.stdin)
with ThreadPoolExecutor(len(asks)) as pool:
    print(json.dumps([ask for ask, there in zip(asks, pool.map(opens, asks)) if there]))
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Run a host with the bridge of backend, its members at their addresses, and a newcomer."""
    zone = SITE.zones["backend"]
    members = {c.name: SITE.address_on(c.name, zone) for c in SITE.containers if "backend" in c.zones}
    with ExitStack() as undo:
        host = undo.enter_context(running("sh", "-c", "echo ready; exec sleep 600"))
        inside(host, "ip", "link", "add", "br-backend", "type", "bridge")
        inside(host, "ip", "link", "set", "br-backend", "up")
        found = {"host": host}
        for number, (name, ip) in enumerate({**members, NEWCOMER: zone.prefix[250]}.items(), 1):
            member = found[name] = undo.enter_context(running(sys.executable, "-c", _LISTEN))
            far = ("peer", "name", "eth0", "netns", str(member.pid))
            inside(host, "ip", "link", "add", f"veth{number}", "type", "veth", *far)
            inside(host, "ip", "link", "set", f"veth{number}", "master", "br-backend", "up")
            inside(member, "ip", "address", "add", f"{ip}/24", "dev", "eth0")
            inside(member, "ip", "-6", "address", "add", f"fe80::{number}/64", "dev", "eth0", "nodad")
            inside(member, "ip", "link", "set", "eth0", "up")
        yield found


def install(machines: dict[str, subprocess.Popen[str]], site: Topology) -> None:
    """Set the switch and install the rules of a site, as the stack's commands do."""
    inside(machines["host"], "sh", "-c", host_rules.SWITCH_ON)
    inside(machines["host"], *host_rules.INSTALL.split(), given=host_rules.rules(site))


def reached(machines: dict[str, subprocess.Popen[str]]) -> set[tuple[str, str, str]]:
    """Return every source, destination and port that a packet gets through, `icmp` and IPv6 included."""
    zone, found = SITE.zones["backend"], set()
    names = [name for name in machines if name != "host"]
    ends = {name: str(SITE.address_on(name, zone)) for name in names if name != NEWCOMER}
    ends[NEWCOMER] = str(zone.prefix[250])
    for source in names:
        asked = {
            (what, host, port): (source, name, f"{port}/{what}" + " by IPv6" * (":" in host))
            for number, name in enumerate(names, 1)
            if name != source
            for what, host, port in (
                *(("tcp", ends[name], port) for port in NUMBERS),
                *(("udp", ends[name], port) for port in NUMBERS),
                ("icmp", ends[name], 0),
                ("tcp", f"fe80::{number}%eth0", OTHER),
            )
        }
        said = inside(machines[source], sys.executable, "-c", ASK, given=json.dumps([*asked]))
        found |= {asked[what, host, port] for what, host, port in json.loads(said)}
    return found


def declared(site: Topology) -> set[tuple[str, str, str]]:
    """Return the declared flows between members of backend."""
    members = {c.name for c in site.containers if "backend" in c.zones}
    return {
        (f.source, f.destination, str(f.port)) for f in site.flows if {f.source, f.destination} <= members
    }


def test_exactly_the_declared_flows_pass(machines: dict[str, subprocess.Popen[str]]) -> None:
    """Without rules all members reach each other; with them, declared flows pass, fragments and all."""
    count = len(machines) - 1
    assert len(reached(machines)) == count * (count - 1) * (2 * len(NUMBERS) + 2)
    install(machines, SITE)
    assert reached(machines) == declared(SITE)
    assert ("sender", "sink", "5000/udp") in declared(SITE)


def asked(machines: dict[str, subprocess.Popen[str]], source: str, destination: str, *ports: int) -> int:
    """Try TCP ports of a member of backend from another one; returns how many are open."""
    ip = str(SITE.address_on(destination, SITE.zones["backend"]))
    asks = json.dumps([("tcp", ip, port) for port in ports])
    return len(json.loads(inside(machines[source], sys.executable, "-c", ASK, given=asks)))


def booted(host: subprocess.Popen[str], site: Topology, unit: str, folder: Path) -> None:
    """Run the command lines of a kept unit, whose files are written below a folder."""

    def moved(text: str) -> str:
        return text.replace("/etc/", f"{folder}/etc/")

    for path, text in host_rules.kept(site).items():
        file = Path(moved(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(moved(text))
    started = (folder / f"etc/systemd/system/homelab-network-rules{unit}.service").read_text()
    lines = re.findall(r"^ExecStart=(.*)$", started, re.MULTILINE)
    assert lines
    for line in lines:
        inside(host, *line.split())


def test_a_boot_brings_rules_and_switch_back(
    machines: dict[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    """After a start with no rules and no switch, the unit's command lines let declared flows alone pass."""
    install(machines, SITE)
    off = "; ".join(("nft flush ruleset", *(f"echo 0 >{switch}" for switch in host_rules.SWITCHES)))
    inside(machines["host"], "sh", "-c", off)
    assert asked(machines, NEWCOMER, "loki", 3100) == 1
    booted(machines["host"], SITE, "", tmp_path)
    assert reached(machines) == declared(SITE)


def seen(machines: dict[str, subprocess.Popen[str]]) -> Learned:
    """Return what the rules saw, as the command `suggest` reads it."""
    table = host_rules.table(SITE).split()
    return learned.read(inside(machines["host"], "nft", "--json", "list", "table", *table))


def test_tries_and_uses_are_remembered(machines: dict[str, subprocess.Popen[str]]) -> None:
    """What was tried and what was used is known by name, but not what is tried in a pause of the probe."""
    install(machines, SITE)
    asked(machines, "promtail", "cadvisor", 8080)
    asked(machines, NEWCOMER, "loki", 3100)
    asked(machines, "prometheus", "node-exporter", 9100)
    inside(machines["host"], "nft", host_rules.pause(SITE, 60))
    assert seen(machines).paused
    asked(machines, "loki", "cadvisor", 8080)
    asked(machines, "prometheus", "cadvisor", 8080)
    inside(machines["host"], "nft", host_rules.pause(SITE, 0))
    found = seen(machines)
    assert {str(each) for each in learned.named(SITE, found.tried)} == {
        "promtail -> cadvisor:8080/tcp",
        "172.30.3.250 (unknown, on backend) -> loki:3100/tcp",
    }
    assert [str(each) for each in learned.named(SITE, found.used)] == ["prometheus -> node-exporter:9100/tcp"]
    assert found.age
    assert all(each.ago <= found.age < timedelta(minutes=1) for each in (*found.tried, *found.used))
    assert "prometheus -> cadvisor:8080/tcp" in map(str, learned.unused(SITE, found)[0])
    assert not found.paused


def test_what_is_remembered_is_no_change_of_the_rules(machines: dict[str, subprocess.Popen[str]]) -> None:
    """Rules that have learned are in force as before; with one element more they are not."""
    program = (
        "from verify.host import rules_in_force; from tests.parts.test_within import SITE;"
        "print(rules_in_force(SITE))"
    )
    asking = ("env", f"PYTHONPATH={PROJECT}", sys.executable, "-c", program)
    install(machines, SITE)
    asked(machines, NEWCOMER, "loki", 3100)
    inside(machines["host"], "nft", host_rules.pause(SITE, 60))
    assert inside(machines["host"], *asking) == "True\n"
    more = "{ 172.30.3.250 . 172.30.3.207 . tcp . 3100 }"
    inside(machines["host"], "nft", f"add element {host_rules.table(SITE)} declared {more}")
    assert inside(machines["host"], *asking) == "False\n"


def test_a_flood_is_bounded(machines: dict[str, subprocess.Popen[str]]) -> None:
    """Of more tries than the kernel remembers it remembers its number, and declared flows pass as before."""
    install(machines, SITE)
    ip = str(SITE.address_on("loki", SITE.zones["backend"]))
    inside(machines[NEWCOMER], sys.executable, "-c", _FLOOD, ip)
    asked(machines, "prometheus", "node-exporter", 9100)
    found = seen(machines)
    assert (len(found.tried), found.full) == (host_rules.REMEMBERED - 1, True)
    assert [str(each) for each in learned.named(SITE, found.used)] == ["prometheus -> node-exporter:9100/tcp"]


def test_without_the_switch_the_rules_see_nothing(machines: dict[str, subprocess.Popen[str]]) -> None:
    """With either switch off, neighbours reach each other by its protocol: both are needed."""
    ways = f"{OTHER}/tcp", f"{OTHER}/tcp by IPv6"
    for switch, way in zip(host_rules.SWITCHES, ways, strict=True):
        install(machines, SITE)
        inside(machines["host"], "sh", "-c", f"echo 0 >{switch}")
        assert {port for _, _, port in reached(machines)} & {*ways} == {way}
    install(machines, SITE)
    assert reached(machines) == declared(SITE)


_FLOOD = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(20000, 30000):
    udp.sendto(b"x", (sys.argv[1], port))
"""
_HOLD = """
import fcntl, socket, struct, sys, termios, time
held = socket.create_connection((sys.argv[1], 9100), 5)
def missing():
    return struct.unpack("i", fcntl.ioctl(held, termios.TIOCOUTQ, bytes(4)))[0]
print("open", flush=True)
for line in sys.stdin:
    held.sendall(b"x" * 100)
    limit = time.monotonic() + 5
    while missing() and time.monotonic() < limit:
        time.sleep(0.001)
    print(missing(), flush=True)
"""
"""Sends something for each line, and prints how many bytes the other end did not acknowledge."""


def test_a_change_breaks_no_connection(machines: dict[str, subprocess.Popen[str]]) -> None:
    """A connection is used while the set changes a hundred times; the newcomer never gets in meanwhile."""
    ip = SITE.address_on("node-exporter", SITE.zones["backend"])
    way = (
        "nsenter",
        f"--net=/proc/{machines['prometheus'].pid}/ns/net",
        sys.executable,
        "-c",
        _HOLD,
        str(ip),
    )
    install(machines, SITE)
    asks = json.dumps([["tcp", str(ip), 9100]] * 20)
    with subprocess.Popen(way, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdin
        assert held.stdout
        assert held.stdout.readline() == "open\n"
        for number in range(100):
            install(machines, (SITE, BEFORE)[number % 2])
            held.stdin.write("more\n")
            held.stdin.flush()
            assert held.stdout.readline() == "0\n"
            if number % 20 == 0:
                assert inside(machines[NEWCOMER], sys.executable, "-c", ASK, given=asks) == "[]\n"
        held.stdin.close()


# The last one: for some seconds, what passed here is an answer to the rules.
def test_members_of_an_observed_zone_pass_until_its_day(machines: dict[str, subprocess.Popen[str]]) -> None:
    """Members reach each other by IPv4, which is remembered; a newcomer reaches nothing."""
    key = "zones.backend.observed-until"
    install(machines, load(changed({**PEERS, key: "2026-01-31"})))
    assert reached(machines) == declared(SITE)
    install(machines, load(changed({**PEERS, key: str(datetime.now(UTC).date())})))
    members = [name for name in machines if name not in {"host", NEWCOMER}]
    ports = [*(f"{number}/{protocol}" for number in NUMBERS for protocol in ("tcp", "udp")), "0/icmp"]
    assert reached(machines) == {(a, b, port) for a in members for b in members if a != b for port in ports}
    assert "loki -> cadvisor:8080/tcp" in map(str, learned.named(SITE, seen(machines).tried))
