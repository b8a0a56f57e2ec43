"""The rules of legs: what is declared is in their text, and what their text lets pass is read from it."""

import subprocess
from ipaddress import IPv4Address
from typing import Any

import pytest

from reachability.facts import Pass
from rendered import host_rules, leg_rules
from resources.leg_rules import legs
from tests.monitoring import with_monitoring
from tests.site import changed
from topology.config import load
from topology.model import Port, Topology

SITE = load(changed({"flows[+]": "site-2 -> traefik:443/tcp"}))
LEG = ("trunk.10", IPv4Address("10.10.10.2"))
FLAT: dict[str, Any] = {
    "zones.lan": {
        "role": "tenant", "prefix": "192.168.77.0/24", "bridge": "vmbr0", "parent": "eth0",
        "ingress": "192.168.77.2",
    },
    "services.box": {
        "zone": "lan", "vmid": 701, "address": "192.168.77.11", "ports": [8080], "host": "box.example.test",
    },
    "flows[+]": "traefik -> box:8080/tcp",
    "unencrypted[+]": {"flow": "traefik -> box:8080/tcp", "reason": "it has no TLS"},
}  # fmt: skip


def line(site: Topology, parent: str, word: str) -> str:
    """Return the first line of an interface's table that has a word."""
    return next(each.strip() for each in leg_rules.tables(site)[parent].splitlines() if word in each)


def test_what_passes_is_read() -> None:
    """A declared flow to a leg is read as passing, answers are not, and every leg is closed."""
    passes = Pass(source=IPv4Address("10.10.10.12"), destination=LEG[1], port=Port(number=443))
    found = legs(leg_rules.rules(SITE))
    assert found.pop(LEG) == (passes,)
    assert found == {(f"trunk.{tag}", IPv4Address(f"10.10.{tag}.2")): () for tag in (20, 30)}


def test_each_leg_of_an_interface_is_closed() -> None:
    """Prometheus's leg is in the table of the ingress's; it gets the answers of what it scrapes."""
    site = load(with_monitoring())
    assert {("trunk.20", IPv4Address("10.10.20.2")), ("trunk.20", IPv4Address("10.10.20.3"))} <= {
        *legs(leg_rules.rules(site))
    }
    assert "10.10.20.11 . 10.10.20.3 . tcp . 9100," in leg_rules.tables(site)["trunk.20"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    counter drop\n", ""),
        ("    counter drop\n", "    counter accept\n"),
        ("  chain leg {\n", "  chain leg {\n    accept\n"),
        ("policy accept;\n", "policy accept;\n    accept\n"),
        ("{ 10.10.10.2 } goto leg", "{ 10.10.10.3 } goto leg"),
        ("{ 10.10.10.2 } goto leg", "{ 10.10.10.2 } jump other"),
        ("hook ingress", "hook egress"),
        ("tcp flags & (syn | ack) != syn accept", "accept"),
        ("0x1fff != 0 accept", "0x1fff == 0 accept"),
        ('device "trunk.10"', 'device "trunk.11"'),
    ],
)
def test_a_table_that_is_not_understood_closes_nothing(old: str, new: str) -> None:
    """With another line a leg is open, and the legs of other interfaces are closed as before."""
    text = leg_rules.rules(SITE)
    assert old in text
    found = legs(text.replace(old, new, 1))
    assert LEG not in found
    assert ("trunk.30", IPv4Address("10.10.30.2")) in found


def test_the_sites_other_networks_are_not_behind_a_leg() -> None:
    """Packets to every Docker network and to other VLANs are dropped; on a LAN, other VLANs' frames pass."""
    docker = ", ".join(f"172.30.{number}.0/24" for number in range(5))
    others = f"ip daddr {{ 10.10.10.0/24, 10.10.30.0/24, {docker} }} counter drop"
    assert line(SITE, "trunk.20", "ip daddr {") == others
    flat = load(changed(FLAT))
    assert "vlan" not in leg_rules.tables(flat)["trunk.10"]
    assert line(flat, "eth0", "vlan") == "vlan id 1-4095 accept"
    assert "192.168.77.2/32" in line(flat, "trunk.10", "ip daddr {")
    assert "192.168.77" not in line(flat, "eth0", "ip daddr {")
    assert ("eth0", IPv4Address("192.168.77.2")) in legs(leg_rules.rules(flat))


def test_a_hyphen_in_an_interfaces_name_is_escaped_for_systemd() -> None:
    """The unit of an interface is named as systemd names it (systemd-escape(1))."""
    site = load(changed({"hosts.docker-srv.trunk": "my-trunk"}))
    text = next(t for path, t in host_rules.kept(site).items() if path.endswith("my-trunk.10.service"))
    assert r"BindsTo=sys-subsystem-net-devices-my\x2dtrunk.10.device" in text


def test_only_tables_of_the_stack_are_removed() -> None:
    """A former leg's table goes; one of a stack whose prefix begins with the name stays, as others do."""
    kept = ["table netdev homelab-network-b-homelab-network-trunk.10", "table netdev mine"]
    made = "".join(f"add {each}\n" for each in ("table netdev homelab-network-eth0.4094", *kept))
    script = f"nft --file - && {leg_rules.remove(SITE)} && nft list tables netdev"
    words = ["unshare", "--net", "sh", "-c", script]
    done = subprocess.run(words, input=made, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == kept
