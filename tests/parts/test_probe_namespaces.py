"""The probe's own namespaces and links, beside a user's of such names, and what its agent sees arrive."""

import json
import os
import subprocess
import sys

import pytest

from tests.live.site import PROJECT

SCRIPT = """
from ipaddress import IPv4Network
from pathlib import Path
from verify import namespaces
from verify.driver import ProbeError

def there():
    names = [path.name for path in Path("/run/netns").glob("*")]
    return sorted(names + [path.name for path in Path("/sys/class/net").glob("v*")])

namespaces.remove_all()
print(there())
made = namespaces.Made()
made.beside("internet", IPv4Network("198.51.100.0/30"), ())
made.beside("near", IPv4Network("203.0.113.0/30"), ())
print(there())
try:
    made.beside("mine", IPv4Network("192.0.2.0/30"), ())
except ProbeError as fault:
    print(fault)
namespaces.remove_all()
print(there(), namespaces.MARKS.exists())
"""
APART = (
    "mount -t tmpfs run /run; mount -t sysfs sysfs /sys; ip netns add verify-mine; "
    "ip link add verify1 type veth peer name vpeer; " + 'exec "$@"'
)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_users_namespace_and_link_stay() -> None:
    """A namespace and a link with names like the probe's are not removed, and its own are."""
    words = ("unshare", "--net", "--mount", "sh", "-ec", APART, "sh", sys.executable, "-c", SCRIPT)
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    theirs = ["verify-mine", "verify1", "vpeer"]
    assert done.stdout.splitlines() == [
        str(theirs),
        str(sorted([*theirs, "verify-internet", "verify-near", "verify0", "verify2"])),
        "namespace verify-mine: there already, and not the probe's; remove it, or rename it",
        f"{theirs} False",
    ]


HEARS = """
import json, socket, subprocess, sys
dropped, silent, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(3))
for port, each in ((5300, dropped), (5301, silent)):
    each.bind(("127.0.0.1", port))
piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
agent = subprocess.Popen([sys.executable, "verify/agent.py"], **piped)
def told(message):
    print(json.dumps(message), file=agent.stdin, flush=True)
    return json.loads(agent.stdout.readline())
told({"listen": []})
other.sendto(b"of another", ("127.0.0.1", 5301))
same = {"kind": "udp", "address": "127.0.0.1", "within": 0}
asks = [{**same, "id": str(port), "port": port} for port in (5300, 5301, 5302)]
print(json.dumps([told({"ask": asks, "authorities": ""})["answers"], told({})["arrived"]]))
agent.stdin.close()
"""
DROPS = (
    "ip link set lo up; nft 'add table ip t; add chain ip t c { type filter hook output priority 0; }; "
    "add rule ip t c udp dport 5300 drop'; "
)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_agent_sees_what_arrives_in_silence() -> None:
    """What a rule drops does not arrive; what a program gets does, and what is refused."""
    words = ("unshare", "--net", "sh", "-ec", DROPS + 'exec "$@"', "sh", sys.executable, "-c", HEARS)
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answers, arrived = json.loads(done.stdout)
    assert arrived == ["5301", "5302"]
    assert (answers["5301"], answers["5302"]) == ("silent", "refused")


BUSY = """
import socket
from verify import agent
kept, sock = agent.watching(), socket.socket(type=socket.SOCK_DGRAM)
for _ in range(60_000):
    sock.sendto(bytes(200), ("127.0.0.1", 5300))
for number in range(2000):
    sock.sendto(agent._MARK + str(number).encode(), ("127.0.0.1", 5300))
print(len(agent.arrived(kept) or ()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_agent_sees_all_that_arrives_on_a_busy_host() -> None:
    """Many datagrams of the probe, behind many more of others, are all seen."""
    words = (
        "unshare",
        "--net",
        "sh",
        "-ec",
        'ip link set lo up; exec "$@"',
        "sh",
        sys.executable,
        "-c",
        BUSY,
    )
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("2000\n", "")
