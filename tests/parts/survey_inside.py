"""What `test_survey` runs on a machine of its own: the survey of an engine that a user runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import survey as command_of
from lab import tls
from survey import proxmox
from survey.docker_api import DEFAULT
from survey.findings import Findings
from survey.proxmox import RunningProxmox
from survey.proxmox_api import ProxmoxApi
from survey.site import RunningSite
from tests.live.site import command, eventually
from tests.parts import users_docker, users_site
from tests.parts.users_docker import LAN, machine
from tests.unit.test_lab_proxmox import NODE, TOKEN, add_bridge, served
from topology.model import Port


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """The user's site, surveyed."""
    users_docker.neighbour()
    with users_docker.running(os.environ["USERS_ENGINE"], tmp_path_factory.mktemp("engine")):
        users_site.make()
        yield command_of.look(DEFAULT)


def test_what_it_says_is_what_connects(site: RunningSite) -> None:
    """Each connection that the survey says is possible connects, and each other one does not."""
    boxes = users_site.boxes()
    said = {
        (source, name, box.port)
        for name, box in boxes.items()
        for source in (*boxes, LAN)
        if source != name and site.reachability.evaluate(source, name, Port(number=box.port)).allowed
    }
    there = users_site.passes()
    assert (sorted(said - there), sorted(there - said)) == ([], [])
    assert len(there) > 20


@pytest.fixture
def program() -> Iterator[None]:
    """A program of the host's own, which listens on every address."""
    with subprocess.Popen([sys.executable, "-m", "http.server", "10000"], stderr=subprocess.DEVNULL) as own:
        eventually("the host's program", lambda: ":10000 " in command("ss", "-Hltn").stdout, 20)
        yield
        own.kill()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[RunningProxmox]:
    """Two guests on VLANs, made by plain calls of the lab's Proxmox API, without any firewall."""
    with served(tmp_path / "api.json", []) as (ask, node):
        node.networks["vmbr0"]["gateway"] = "192.0.2.254"
        add_bridge(ask)
        for number, name, vlan in ((101, "shop", 10), (102, "vault", 20)):
            ask("POST", f"{NODE}/qemu/9000/clone", newid=number, name=name, full=1)
            card, address = (
                f"virtio=BC:24:11:00:00:{number - 40},bridge=vmbr1,tag={vlan}",
                f"10.10.{vlan}.5/24",
            )
            ask("PUT", f"{NODE}/qemu/{number}/config", net0=card, ipconfig0=f"ip={address}")
            ask("POST", f"{NODE}/qemu/{number}/status/start")
        yield proxmox.read(ProxmoxApi(node.url, TOKEN, trust=str(tls.bundle())))


@pytest.mark.skipif(os.environ["USERS_ENGINE"] != "29", reason="the list is that of one engine")
@pytest.mark.usefixtures("program")
def test_every_planted_exposure_is_found_and_none_invented(guests: RunningProxmox) -> None:
    """The findings on a whole running site are exactly the exposures that it was made with."""
    seen = command_of.look(DEFAULT)
    found = {
        (str(each.severity), each.rule, each.destination.replace(seen.host, "docker-srv"), each.port)
        for each in Findings(RunningSite(seen.docker, seen.machine, guests)).sorted()
    }
    assert (sorted(users_site.PLANTED - found), sorted(found - users_site.PLANTED)) == ([], [])
    assert len(users_site.PLANTED) > 20


def test_nothing_changes(site: RunningSite) -> None:
    """A survey leaves rules, addresses and everything on the engine as it was."""
    before = machine()
    Findings(command_of.look(site.docker.engine.endpoint)).sorted()
    assert machine() == before


def test_the_engines_own_rules_are_not_told_as_others(site: RunningSite) -> None:
    """As root the rules are read, and on a machine without other rules none is told as not Docker's."""
    assert site.machine is not None
    assert site.machine.rules is not None or site.docker.engine.backend == "nftables"
    assert [each for each in site.unseen if "that Docker did not make" in each] == []
