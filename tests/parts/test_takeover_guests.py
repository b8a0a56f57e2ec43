"""Guests made by plain calls of a Proxmox API become a stack's own, by the real provider, as they run."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from adoption import stack_file
from lab import paths, tls, toolchain
from lab.proxmox.api import Proxmox
from survey import proxmox
from survey.proxmox_api import ProxmoxApi
from survey.site import RunningSite
from tests.parts.takeover_shell import STACK, Home
from tests.unit.test_lab_proxmox import NODE, TOKEN, Ask, add_bridge, served
from tests.unit.test_survey_proxmox import DOCKER, HERE

GUESTS = {101: "shop", 102: "vault"}
NAMESPACE = "homelab-network:"
DOCKERS = re.compile("traefik|edge|home")
"""What the written file has for the Docker host, which runs nothing here."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ask, Proxmox]]:
    """The lab's API with two guests on VLANs, whose cards have addresses of their own and no firewall."""
    monkeypatch.setattr(paths, "STATE", tmp_path / "authority")
    with served(tmp_path / "api.json", []) as (ask, node):
        node.networks["vmbr0"]["gateway"] = "192.0.2.254"
        add_bridge(ask)
        for number, name in GUESTS.items():
            vlan = (number - 100) * 10
            card = f"virtio=BC:24:11:AA:00:{number - 40},bridge=vmbr1,tag={vlan}"
            address = f"ip=10.10.{vlan}.5/24,gw=10.10.{vlan}.1"
            ask("POST", f"{NODE}/qemu/9000/clone", newid=number, name=name, full=1)
            ask("PUT", f"{NODE}/qemu/{number}/config", net0=card, ipconfig0=address, cores=2, memory=2048)
            ask("POST", f"{NODE}/qemu/{number}/status/start")
        yield ask, node


def declared(node: Proxmox) -> str:
    """Return the file that a survey writes, for the guests alone, with one flow to each."""
    site = RunningSite(DOCKER, HERE, proxmox.read(ProxmoxApi(node.url, TOKEN, trust=str(tls.bundle()))))
    config: dict[str, Any] = yaml.safe_load(stack_file.written(site, (), date(2026, 12, 1), STACK))["config"]
    del config[f"{NAMESPACE}tls"]
    for section in ("hosts", "zones", "services"):
        for name in [*filter(DOCKERS.fullmatch, config[f"{NAMESPACE}{section}"])]:
            del config[f"{NAMESPACE}{section}"][name]
    flows = [each for each in config[f"{NAMESPACE}flows"] if "traefik" not in each]
    for name in GUESTS.values():
        config[f"{NAMESPACE}services"][name]["ports"] = [443]
        flows.append(f"management -> {name}:443/tcp")
    config[f"{NAMESPACE}flows"] = flows
    return yaml.safe_dump({"config": config}, sort_keys=False)


def machines(ask: Ask) -> dict[int, dict[str, Any]]:
    """Return what would differ if a guest were made anew or restarted: process, card, disk and identity."""
    found = {}
    for number in GUESTS:
        config = ask("GET", f"{NODE}/qemu/{number}/config")
        status = ask("GET", f"{NODE}/qemu/{number}/status/current")
        kept = ("name", "scsi0", "smbios1", "cores", "memory", "ipconfig0", "boot")
        mac = re.search("=(.*?),", config["net0"])
        assert mac
        found[number] = {key: config[key] for key in kept} | {"mac": mac[1], "pid": status["pid"]}
        found[number]["status"] = status["status"]
    return found


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_guests_are_taken_over(api: tuple[Ask, Proxmox], origin: Path, tmp_path: Path) -> None:
    """Guests keep id, hardware address, disk and process, get their firewall, and stay on the way back."""
    ask, node = api
    toolchain.ensure(print)
    variables = {
        "HOMELAB_STATE": str(tmp_path / "state"),
        "PROXMOX_VE_API_TOKEN": TOKEN,
        "SSL_CERT_FILE": str(tls.bundle()),
    }
    home = Home.of(origin, tmp_path, **variables)
    before = machines(ask)
    file = home.tree / f"Pulumi.{STACK}.yaml"
    file.write_text(declared(node), encoding="utf-8")
    home.types(f".venv/bin/python -m commands judge {file.name}", f"pulumi stack select --create {STACK}")
    assert "mend before" not in home.types(f"make adopt STACK={STACK}")
    imports, up = home.plan("4. Import and make")
    home.types(imports)
    said = home.types(f"pulumi preview --stack {STACK} --json 2>/dev/null")
    steps = json.loads(said[said.index("{") :])["steps"]
    planned = {step["urn"].rpartition("::")[2]: step["op"] for step in steps if "VmLegacy::" in step["urn"]}
    assert planned == dict.fromkeys(GUESTS.values(), "update")
    home.types(up)
    assert machines(ask) == before
    for number in GUESTS:
        assert ask("GET", f"{NODE}/qemu/{number}/firewall/options")["enable"] == 1
        assert "firewall=1" in ask("GET", f"{NODE}/qemu/{number}/config")["net0"]
    again = home.types(up)
    assert not re.search(r"\b(created|updated|replaced)\b", again), again[-3000:]
    for line in home.plan("The way back"):
        if line.startswith("pvesh"):  # the node's own command
            path = line.split()[2]
            ask("PUT", path, enable=0)
        else:
            home.types(line)
    assert machines(ask) == before
