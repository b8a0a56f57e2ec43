"""Restoring Docker-SRV's own rules at boot, executed below another root folder."""

import os
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from reachability.facts import Exit
from rendered import host_rules, leg_rules
from resources.host_rules import forward
from tests.egress import with_egress, with_machines
from tests.policies.sound import with_acme
from tests.site import changed, configuration, loaded
from tests.unit.test_leg_rules import FLAT
from topology.config import load
from topology.model import Port
from verify import host

SITE = loaded()
PLACES = ("/etc/homelab-network", "/etc/systemd/system", "/run/systemd/system")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a machine's folders, with a `systemctl` that records its calls."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    systemctl.chmod(0o755)
    return tmp_path


def run(root: Path, *words: str, given: str = "") -> None:
    """Run a command of the project with its folders below another root."""

    def moved(text: str) -> str:
        for place in PLACES:
            text = text.replace(place, f"{root}{place}")
        return text

    path = f"{root}/bin:{os.environ['PATH']}"
    subprocess.run(
        [moved(word) for word in words],
        input=moved(given), text=True, check=True, env={**os.environ, "PATH": path},
    )  # fmt: skip


def test_a_machine_with_systemd_has_its_rules_again(root: Path) -> None:
    """The same rules are kept; Docker requires the table's unit, and starts the unit of the probe rules."""
    (root / "run/systemd/system").mkdir(parents=True)
    run(root, *host_rules.KEEP.split(), given=host_rules.keep(SITE))
    folder, units = root / "etc/homelab-network", root / "etc/systemd/system"
    assert (folder / "homelab-network-rules.nft").read_text() == host_rules.rules(SITE)
    assert (folder / "homelab-network-rules-probes.sh").read_text() == f"{host_rules.open_probes(SITE)}\n"
    wanted = {
        "homelab-network-rules.service": {
            "After=network-pre.target",
            "Before=docker.service",
            "RequiredBy=docker.service",
            f"ExecStart=/usr/sbin/nft --file {folder}/homelab-network-rules.nft",
        },
        "homelab-network-rules-probes.service": {
            "After=docker.service",
            "PartOf=docker.service",
            "WantedBy=docker.service",
            f"ExecStart=/bin/sh {folder}/homelab-network-rules-probes.sh",
        },
        **{
            f"homelab-network-rules-leg-{parent}.service": {
                f"BindsTo=sys-subsystem-net-devices-{parent}.device",
                f"After=sys-subsystem-net-devices-{parent}.device network-pre.target",
                "Before=docker.service",
                f"WantedBy=sys-subsystem-net-devices-{parent}.device docker.service",
                f"ExecStart=/usr/sbin/nft --file {folder}/homelab-network-rules-leg-{parent}.nft",
            }
            for parent in ("trunk.10", "trunk.20", "trunk.30")
        },
    }
    for parent, text in leg_rules.tables(SITE).items():
        assert (folder / f"homelab-network-rules-leg-{parent}.nft").read_text() == text
    for unit, lines in wanted.items():
        assert lines <= set((units / unit).read_text().splitlines())
    for _ in range(2):
        run(root, "sh", "-c", host_rules.forget(SITE))
    assert [*folder.iterdir(), *units.iterdir()] == []
    both = " ".join(wanted)
    assert (root / "asked").read_text().splitlines() == [
        "daemon-reload",
        f"enable {both}",
        f"disable {both}",
        "daemon-reload",
    ]


def test_a_former_leg_leaves_no_unit(root: Path) -> None:
    """The next rules remove unit and file of each interface that carries no leg any more, and no other's."""
    (root / "run/systemd/system").mkdir(parents=True)
    folder, units = root / "etc/homelab-network", root / "etc/systemd/system"
    other = units / "b-homelab-network-rules-leg-trunk.10.service"
    other.touch()
    run(root, *host_rules.KEEP.split(), given=host_rules.keep(SITE))
    moved = load(changed({"hosts.docker-srv.trunk": "eth1"}))
    run(root, *host_rules.KEEP.split(), given=host_rules.keep(moved))
    files = {root / each.lstrip("/") for each in host_rules.kept(moved)}
    assert {*folder.iterdir(), *units.iterdir()} == {other, *files}
    former = [f"disable homelab-network-rules-leg-trunk.{tag}.service" for tag in (10, 20, 30)]
    assert [each for each in (root / "asked").read_text().splitlines() if "disable" in each] == former


def test_an_interface_may_be_named_like_another_unit() -> None:
    """The rules of a leg on the interface `probes` have a unit beside that of the probe zone's rules."""
    zone = {**FLAT["zones.lan"], "parent": "probes"}
    site = load(changed({**FLAT, "zones.lan": zone}))
    assert site.probes
    assert "probes" in leg_rules.tables(site)
    assert len(host_rules.units(site)) == 2 + len(leg_rules.tables(site))


def test_kept_files_are_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or changed file and a disabled unit are reported; without systemd nothing is."""
    monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(host_rules, "SYSTEMD", f"{root}/run/systemd/system")
    monkeypatch.setattr(host_rules, "_FOLDER", f"{root}/etc/homelab-network")
    monkeypatch.setattr(host_rules, "_UNITS", f"{root}/etc/systemd/system")
    assert host.comes_back(SITE)
    (root / "run/systemd/system").mkdir(parents=True)
    assert not host.comes_back(SITE)
    subprocess.run(host_rules.KEEP.split(), input=host_rules.keep(SITE), text=True, check=True)
    systemctl = root / "bin/systemctl"
    systemctl.write_text("#!/bin/sh\necho enabled\n")
    assert host.comes_back(SITE)
    for path, text in host_rules.kept(SITE).items():
        Path(path).write_text(f"{text}# changed\n")
        assert not host.comes_back(SITE)
        Path(path).write_text(text)
    systemctl.write_text("#!/bin/sh\necho disabled\nexit 1\n")
    assert not host.comes_back(SITE)


def test_egress_is_let_out_to_public_addresses_alone() -> None:
    """A declared flow from the ingress to the internet opens its port for public addresses only.

    What comes by the ingress's leg from a VLAN has another source, and does not leave.
    """
    near = (
        "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, "
        "192.168.0.0/16, 198.18.0.0/15, 198.41.0.0/24, 224.0.0.0/3"
    )
    keys = with_acme(configuration())
    keys["zones"]["office"] = {"role": "management", "prefix": "198.41.0.0/24"}
    opened = [line.strip() for line in host_rules.rules(load(keys)).splitlines() if "daddr !=" in line]
    assert opened == [
        f'iifname {{ "br-edge" }} ip saddr {load(keys).edge_address} ip daddr != {{ {near} }} {port} accept'
        for port in ("tcp dport 443", "udp dport 53")
    ]
    assert "daddr !=" not in host_rules.rules(SITE)


def test_a_member_of_an_egress_zone_leaves_on_its_own_ports() -> None:
    """Each flow is one element; what no element names is dropped before packets to published ports pass."""
    text = host_rules.rules(load(with_egress(configuration())))
    elements = text.partition("set leaving {")[2].partition("}")[0].splitlines()[3:]
    assert [line.strip() for line in elements if line.strip()] == [
        "172.30.9.35 . tcp . 443,",
        "172.30.9.35 . udp . 53,",
        "172.30.9.51 . tcp . 80,",
        "172.30.9.51 . udp . 53,",
    ]
    lines = [line.strip() for line in text.partition("chain forward {")[2].splitlines()]
    at = lines.index("ct state established,related accept")
    near = (
        "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, "
        "192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3"
    )
    member = 'iifname { "br-egress" } ip saddr . meta l4proto . th dport @leaving'
    each = '"br-backend", "br-edge", "br-egress", "br-frontend", "br-probe", "br-query"'
    assert lines[at + 1 : lines.index("}", at)] == [
        f"{member} ip daddr != {{ {near} }} accept",
        'iifname { "br-egress" } goto undeclared',
        'iifname "br-probe" ct status dnat accept',
        f"iifname {{ {each} }} goto undeclared",
        'oifname { "br-edge" } ct status dnat accept',
        f"oifname {{ {each} }} goto undeclared",
    ]
    assert "leaving" not in host_rules.rules(SITE)


def test_a_member_of_an_egress_zone_reaches_external_machines_by_a_line_of_its_own() -> None:
    """Its flow names its address, the machines' prefix and the port, before the zone's other packets drop."""
    text = host_rules.rules(load(with_machines(configuration())))
    lines = [line.strip() for line in text.splitlines()]
    at = lines.index('iifname { "br-egress" } goto undeclared')
    wanted = 'iifname "br-egress" ip saddr 172.30.9.51 ip daddr 192.168.77.0/24 tcp dport 444 accept'
    assert lines[at - 1] == wanted
    exit_ = Exit(port=Port(number=444), source=IPv4Address("172.30.9.51"), to=IPv4Network("192.168.77.0/24"))
    assert exit_ in forward(text).leaving["br-egress"]


def test_what_the_probe_zone_asks_of_the_host_is_not_remembered() -> None:
    """Its packets to the host are dropped before the line that remembers and logs."""
    lines = host_rules.rules(SITE).partition("chain input {")[2].partition("}\n  chain")[0].splitlines()
    assert [line.strip() for line in lines if "drop" in line or "goto" in line] == [
        'iifname "br-probe" drop',
        'iifname { "br-backend", "br-edge", "br-frontend", "br-probe", "br-query" } goto undeclared',
    ]


def test_egress_does_not_lead_to_a_zone_with_a_documentation_prefix() -> None:
    """Documentation prefixes count as the internet, except where a zone of the site has one."""
    keys = with_egress(configuration())
    keys["zones"]["office"] = {"role": "management", "prefix": "203.0.113.0/24"}
    assert "192.168.0.0/16, 198.18.0.0/15, 203.0.113.0/24, 224.0.0.0/3 }" in host_rules.rules(load(keys))


def test_what_the_rules_let_out_is_read() -> None:
    """What leaves edge and an egress zone is read from the text; nothing leaves another bridge."""
    site = load(with_egress(with_acme(configuration())))
    found, ingress = forward(host_rules.rules(site)).leaving, str(site.edge_address)
    assert {bridge: {(str(e.port), str(e.source)) for e in exits} for bridge, exits in found.items()} == {
        "br-edge": {("443/tcp", ingress), ("53/udp", ingress)},
        "br-egress": {
            ("443/tcp", "172.30.9.35"),
            ("53/udp", "172.30.9.35"),
            ("80/tcp", "172.30.9.51"),
            ("53/udp", "172.30.9.51"),
        },
        **{bridge: set() for bridge in ("br-backend", "br-frontend", "br-probe", "br-query")},
    }
    assert {len(each.without) for exits in found.values() for each in exits} == {10}


def test_a_machine_without_systemd_keeps_nothing(root: Path) -> None:
    """Without systemd neither files nor units are written."""
    run(root, *host_rules.KEEP.split(), given=host_rules.keep(SITE))
    run(root, "sh", "-c", host_rules.forget(SITE))
    assert not (root / "asked").exists()
    assert not (root / "etc/homelab-network").exists()
