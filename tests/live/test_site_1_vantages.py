"""The live probe from other vantages: over SSH and by the engine the results equal those on Docker-SRV."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.live import elsewhere
from tests.live.elsewhere import PYTHON, VPS, WORKSTATION, Elsewhere
from tests.live.site import PROJECT, Site, command, pids
from topology.config import load
from topology.model import Topology

VERIFY = """\
import sys
from pathlib import Path
from commands import verify as command
command.PROJECT = Path(sys.argv[1])
sys.exit(command.main(sys.argv[2:]))
"""
"""verify, with the stack file in another folder."""
PREFIX = "homelab-network:"
AGENT = "The agent that runs at each endpoint"
"""Part of an agent's command line, on any host."""
PINNED = "find out why its key is not host-key before you change that"
ANY = "see that it runs and can be reached, and run verify again"


def configuration(vantages: Mapping[str, object]) -> dict[str, Any]:
    """Return the dev stack's file with SSH to every guest declared, and the given vantages."""
    file: dict[str, Any] = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text())
    for name, service in file["config"][f"{PREFIX}services"].items():
        if "vmid" in service:
            service["ports"].append(22)
            file["config"][f"{PREFIX}flows"].append(f"management -> {name}:22/tcp")
    file["config"][f"{PREFIX}vantages"] = vantages
    return file


def topology() -> Topology:
    """Return the topology of `configuration`."""
    config = configuration({})["config"]
    return load({key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)})


class Run:
    """One run of verify: its JSON, its output, its exit status."""

    def __init__(
        self, there: Elsewhere, name: str, vantages: Mapping[str, object], *into: str, **env: str
    ) -> None:
        self.folder = there.folder / name
        self.folder.mkdir()
        (self.folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump(configuration(vantages)))
        words = (sys.executable, "-c", VERIFY, str(self.folder), "--json", str(self.folder / "run.json"))
        self.process = there.start((*into, *words), env)
        self.said = ""
        self.json: dict[str, Any] = {}

    def until(self, word: str) -> None:
        """Read the output until a line contains the word."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if word in line:
                return
        pytest.fail(self.said)

    def end(self) -> Self:
        """Wait for the end of the run."""
        self.said += self.process.communicate(timeout=150)[0]
        assert (self.folder / "run.json").exists(), self.said
        self.json = json.loads((self.folder / "run.json").read_text())
        return self

    @property
    def verdicts(self) -> set[tuple[str, str, str]]:
        """Return every cell by its name, with expectation and verdict."""
        return {(cell["what"], cell["expected"], cell["verdict"]) for cell in self.json["cells"]}

    def cells(self, verdict: str) -> list[dict[str, str]]:
        """Return the cells with one verdict."""
        return [cell for cell in self.json["cells"] if cell["verdict"] == verdict]


@pytest.fixture(scope="module")
def there(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Yield an sshd in each guest, and a client configured to reach it."""
    with elsewhere.guests(site, topology(), tmp_path_factory.mktemp("elsewhere")) as made:
        yield made


@pytest.fixture(scope="module")
def here(there: Elsewhere) -> Run:
    """Return a run on Docker-SRV, which enters every namespace itself."""
    return Run(there, "here", {}).end()


@pytest.fixture(scope="module")
def machines(there: Elsewhere, here: Run) -> Iterator[None]:
    """Make both machines, after the run that makes its own."""
    assert here
    with elsewhere.machines(there, topology()):
        yield


def declared(there: Elsewhere, **keys: str) -> dict[str, dict[str, str]]:
    """Return vantages with every guest and the internet over SSH; `keys` replace correct host keys."""
    hosts = {guest.name: str(guest.address) for guest in topology().guests} | {"internet": VPS}
    found = {
        name: {"ssh": f"root@{host}", "host-key": keys.get(name.replace("-", "_"), there.key)}
        for name, host in hosts.items()
    }
    found["internet"]["docker-host-address"] = elsewhere.FRONT
    return found


def traces(there: Elsewhere) -> list[str]:
    """Return what a run could leave anywhere: agents and containers."""
    agents = [line for line in command("ps", "-eo", "args").stdout.splitlines() if AGENT in line]
    label = ("--filter", "label=org.homelab-network.verify")
    return [*agents, *there.site.docker("ps", "--all", "--quiet", *label).split()]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("machines")
def test_a_workstation_finds_the_same(there: Elsewhere, here: Run) -> None:
    """From a workstation in management, by SSH and engine alone: same cells and verdicts, nothing left."""
    ways = {**declared(there), "containers": {"image": PYTHON.tag}}
    into = ("ip", "netns", "exec", WORKSTATION)
    desk = Run(there, "desk", ways, *into, DOCKER_HOST="ssh://root@docker-srv").end()
    assert desk.verdicts == here.verdicts, desk.said
    assert {cell["what"] for cell in desk.json["cells"]} >= {"stranger@vault -> vaultwarden:80/tcp"}
    assert (desk.cells("disagrees"), desk.cells("inconclusive")) == ([], []), desk.said
    assert len(desk.cells("agrees")) > 1000
    assert traces(there) == []


@pytest.mark.timeout(300)
def is_agent(pid: int) -> bool:
    """Whether a process is the probe's agent; False for one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return AGENT.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.usefixtures("machines")
def test_each_vantage_that_fails_says_so(there: Elsewhere) -> None:
    """An unreachable host, a wrong key, no Python and an agent killed midway are each reported; exit 1."""
    there.configure(VPS, "Port 2")
    there.lead("10.10.10.12", "/run/netns/vm-102", "sshd_bare")
    wrong = " ".join((there.folder / "other.pub").read_text().split()[:2])
    run = Run(there, "faults", declared(there, site_1=wrong))
    run.until("endpoints,")
    killed = [pid for pid in pids("vm-201") if is_agent(pid)]
    os.kill(killed[-1], signal.SIGKILL)
    run.end()
    assert {cell["cause"] for cell in run.cells("inconclusive")} == {
        f"vantages.internet: ssh: connect to host {VPS} port 2: Connection refused; {ANY}",
        f"vantages.jellyfin: ended without a word; {ANY}",
        f"vantages.site-1: Host key verification failed; {PINNED}",
        "vantages.site-2: /bin/sh: 1: python3: not found; install Python 3.11 or newer there",
    }, run.said
    assert (run.process.returncode, run.cells("disagrees"), traces(there)) == (1, [], [])
    asked = {cell["source"] for cell in run.cells("agrees")}
    assert asked & {"internet", "site-1", "site-2", "jellyfin"} == set()
    assert asked >= {"stirling-pdf", "vaultwarden", "traefik", "stranger@wordpress"}
