"""Docker-SRV's own rules in force: what members of the edge and egress bridges reach beyond their host."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from rendered import host_rules
from tests.egress import with_egress, with_machines
from tests.live.site import eventually
from tests.policies.sound import with_acme
from tests.site import configuration
from topology.config import load

PUBLIC, OFFICE, LAN = "9.9.9.9", "10.10.1.5", "192.168.77.2"
OWN, HOST, BACKEND = "9.9.9.8", "172.30.9.1", "172.30.3.2"
"""The host's public address, on which the ingress's port is published; its gateway; a backend service."""
MEMBERS = {
    "traefik": "172.30.0.2",
    "loki": BACKEND,
    "paperless": "172.30.9.35",
    "crawler": "172.30.9.51",
    "newcomer": "172.30.9.77",
}
"""Members of the bridges, the third number of whose addresses says which bridge."""
BRIDGES = {"0": "br-edge", "3": "br-backend", "9": "br-egress"}
PUBLISHED = f"""
table ip published {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {OWN} tcp dport 443 dnat to {MEMBERS["traefik"]}
  }}
}}
"""
_LISTEN = """
import socket, sys, threading
for port in (443, 444):
    listener = socket.create_server(("", port))
    threading.Thread(target=lambda l=listener: [l.accept() for _ in iter(int, 1)]).start()
print("ready", flush=True)
"""
_ASK = """
import json, socket, sys
found = []
for end in sys.argv[1:]:
    host, _, port = end.partition(":")
    try:
        socket.create_connection((host, int(port)), 0.5).close()
        found.append(end)
    except OSError:
        pass
print(json.dumps(found))
"""


def inside(process: subprocess.Popen[str], *words: str, given: str = "") -> str:
    """Run a program in a process's network namespace; returns its output."""
    way = ("nsenter", f"--net=/proc/{process.pid}/ns/net")
    done = subprocess.run(
        [*way, *words], input=given, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a network namespace of its own; ends it afterwards."""
    own = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    with subprocess.Popen([*own, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            eventually("a network", process.stdout.readline, 10)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Run a host with the edge bridge, a member of it, and an external host with addresses of every kind."""
    waits = ("sh", "-c", "echo ready; exec sleep 300")
    with ExitStack() as undo:
        host, member = (undo.enter_context(running(*waits)) for _ in range(2))
        outside = undo.enter_context(running(sys.executable, "-c", _LISTEN))
        inside(host, "ip", "link", "add", "br-edge", "type", "bridge")
        for near, other in (("veth0", member), ("veth1", outside)):
            far = ("peer", "name", "eth0", "netns", str(other.pid))
            inside(host, "ip", "link", "add", near, "type", "veth", *far)
            inside(host, "ip", "link", "set", near, "up")
            inside(other, "ip", "link", "set", "eth0", "up")
        inside(host, "ip", "link", "set", "veth0", "master", "br-edge")
        inside(host, "ip", "link", "set", "br-edge", "up")
        for machine, device, address, gateway in (
            (host, "br-edge", "172.30.0.1/24", None),
            (host, "veth1", "198.18.0.1/30", "198.18.0.2"),
            (member, "eth0", f"{load(configuration()).edge_address}/24", "172.30.0.1"),
            (outside, "eth0", "198.18.0.2/30", "198.18.0.1"),
        ):
            inside(machine, "ip", "address", "add", address, "dev", device)
            if gateway:
                inside(machine, "ip", "route", "add", "default", "via", gateway)
        for address in (PUBLIC, OFFICE, LAN):
            inside(outside, "ip", "address", "add", f"{address}/32", "dev", "lo")
        inside(host, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        yield {"host": host, "member": member}


def reached(machines: dict[str, subprocess.Popen[str]]) -> Any:
    """Return what the member of the bridge reaches."""
    ends = [f"{host}:{port}" for host in (PUBLIC, OFFICE, LAN) for port in (443, 444)]
    return json.loads(inside(machines["member"], sys.executable, "-c", _ASK, *ends))


def test_declared_egress_leads_to_the_internet_alone(machines: dict[str, subprocess.Popen[str]]) -> None:
    """Without rules all is reached; with them, only the declared port of a public address."""
    assert len(reached(machines)) == 6
    for keys, wanted in ((with_acme(configuration()), [f"{PUBLIC}:443"]), (configuration(), [])):
        inside(machines["host"], *host_rules.INSTALL.split(), given=host_rules.rules(load(keys)))
        assert reached(machines) == wanted
    # As what a machine on a VLAN sends by the ingress's leg: the packets have another source.
    rules = host_rules.rules(load(with_acme(configuration())))
    inside(machines["host"], *host_rules.INSTALL.split(), given=rules)
    inside(machines["member"], "ip", "address", "flush", "dev", "eth0")
    inside(machines["member"], "ip", "address", "add", "172.30.0.2/24", "dev", "eth0")
    inside(machines["member"], "ip", "route", "replace", "default", "via", "172.30.0.1")
    assert reached(machines) == []


@pytest.fixture(scope="module")
def zone() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Run a host with three bridges, their members, a published port, and an external host; all listen."""
    with ExitStack() as undo:
        listens = (sys.executable, "-c", _LISTEN)
        found = {name: undo.enter_context(running(*listens)) for name in ("host", "outside", *MEMBERS)}
        host, outside = found["host"], found["outside"]
        for number, bridge in BRIDGES.items():
            inside(host, "ip", "link", "add", bridge, "type", "bridge")
            inside(host, "ip", "address", "add", f"172.30.{number}.1/24", "dev", bridge)
            inside(host, "ip", "link", "set", bridge, "up")
        for index, (name, machine) in enumerate(found.items()):
            if name == "host":
                continue
            far = ("peer", "name", "eth0", "netns", str(machine.pid))
            inside(host, "ip", "link", "add", f"veth{index}", "type", "veth", *far)
            if name in MEMBERS:
                number = MEMBERS[name].split(".")[2]
                inside(host, "ip", "link", "set", f"veth{index}", "master", BRIDGES[number])
                address, gateway = f"{MEMBERS[name]}/24", f"172.30.{number}.1"
            else:
                inside(host, "ip", "address", "add", "198.18.0.1/30", "dev", f"veth{index}")
                address, gateway = "198.18.0.2/30", "198.18.0.1"
            inside(host, "ip", "link", "set", f"veth{index}", "up")
            inside(machine, "ip", "link", "set", "eth0", "up")
            inside(machine, "ip", "address", "add", address, "dev", "eth0")
            inside(machine, "ip", "route", "add", "default", "via", gateway)
        inside(host, "ip", "route", "add", "default", "via", "198.18.0.2")
        inside(host, "ip", "address", "add", f"{OWN}/32", "dev", "lo")
        for ip in (PUBLIC, OFFICE, LAN):
            inside(outside, "ip", "address", "add", f"{ip}/32", "dev", "lo")
        inside(host, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        inside(host, *host_rules.INSTALL.split(), given=PUBLISHED)
        yield found


def test_each_member_of_an_egress_zone_leaves_on_its_own_ports(
    zone: dict[str, subprocess.Popen[str]],
) -> None:
    """Without rules all is reached; with them, only a member's own port of a public address.

    Neither the host, other bridges, the LAN nor the ingress by a port published on a public address is: not
    for a member of backend either, though nothing here does what an engine does between its bridges.
    """
    hosts = (PUBLIC, OFFICE, LAN, OWN, HOST, BACKEND)
    ends = [f"{host}:{port}" for host in hosts for port in (443, 444)]
    config = with_egress(configuration(), "crawler -> internet:444/tcp")

    def found(name: str) -> Any:
        return json.loads(inside(zone[name], sys.executable, "-c", _ASK, *ends))

    assert found("paperless") == ends
    inside(zone["host"], *host_rules.INSTALL.split(), given=host_rules.rules(load(config)))
    assert found("paperless") == [f"{PUBLIC}:443"]
    assert found("crawler") == [f"{PUBLIC}:444"]
    assert found("newcomer") == []
    assert found("loki") == [f"{BACKEND}:443", f"{BACKEND}:444"]  # its own


def test_a_container_reaches_external_machines_on_the_port_of_its_flow(
    zone: dict[str, subprocess.Popen[str]],
) -> None:
    """The crawler reaches them on one port and nothing else; another member of its zone does not."""
    ends = [f"{host}:{port}" for host in (PUBLIC, OFFICE, LAN, OWN, HOST) for port in (443, 444)]
    rules = host_rules.rules(load(with_machines(configuration())))
    inside(zone["host"], *host_rules.INSTALL.split(), given=rules)
    found = {
        name: json.loads(inside(zone[name], sys.executable, "-c", _ASK, *ends))
        for name in ("crawler", "paperless", "newcomer", "loki")
    }
    assert found == {"crawler": [f"{LAN}:444"], "paperless": [f"{PUBLIC}:443"], "newcomer": [], "loki": []}
