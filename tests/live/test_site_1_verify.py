"""The live probe on the running dev stack: sound, and after each sabotage."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import engine
from lab.daemon import Process
from tests.live.sabotage import ROUNDS, TOPOLOGY
from tests.live.site import PROJECT, Site, command, eventually, make
from verify import foothold, host

AT_MOST_SECONDS = 60


def verify(site: Site, folder: Path) -> dict[str, Any]:
    """Return the JSON of one run of the probe, with `said`, its output, and `status`, its exit status."""
    file = folder / "verify.json"
    done = command(
        sys.executable, "-m", "commands", "verify", "--json", str(file), environment=site.environment
    )
    assert file.exists(), done.stdout
    return {**json.loads(file.read_text()), "said": done.stdout, "status": done.returncode}


@pytest.fixture(scope="module")
def sound(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a run on the stack as `make up` left it."""
    return verify(site, tmp_path_factory.mktemp("sound"))


def test_every_cell_agrees(sound: dict[str, Any]) -> None:
    """The live network equals the declared flows and the proof, cell by cell; none is left unjudged."""
    assert sound["good"], sound["said"]
    assert sound["counts"] == {**dict.fromkeys(sound["counts"], 0), "agrees": len(sound["cells"])}
    assert (len(sound["cells"]) > 1000, sound["pairs"] > 300) == (True, True)
    assert "declared, proved and live agree" in sound["said"]
    assert sound["seconds"] < AT_MOST_SECONDS


def test_up_ends_with_the_probe(site: Site) -> None:
    """`make up` itself runs the probe, and prints how many cells it checked."""
    assert "pairs asked of the proof as well: declared, proved and live agree" in site.said


def test_make_verify_is_the_same(site: Site, sound: dict[str, Any]) -> None:
    """`make verify` needs no prepared shell, and ends as the probe does."""
    done = make("verify")
    assert (done.returncode == 0) is sound["good"]
    assert f"{len(sound['cells'])} cells in" in done.stdout
    assert site


@pytest.mark.parametrize("service", ["loki", "node-exporter", "cadvisor", "promtail"])
def test_backend_reaches_no_service_of_the_host(sound: dict[str, Any], service: str) -> None:
    """Docker-SRV listens on 80, 443 and the probe's own port; no backend container reaches any of them."""
    cells = [c for c in sound["cells"] if (c["source"], c["destination"]) == (service, "docker-srv")]
    assert {c["what"].rpartition(":")[2] for c in cells} == {"80/tcp", "443/tcp", "*/tcp"}
    assert {(c["expected"], c["verdict"]) for c in cells} == {("DENIED", "agrees")}


def test_a_foothold_connects_to_what_the_docs_say(sound: dict[str, Any], tmp_path: Path) -> None:
    """The connections from each container's network equal the table in docs/hardening.md, line by line."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(sound))
    seen = list(foothold.table(PROJECT / "Pulumi.dev.yaml", file))
    assert "\n".join(seen) in (PROJECT / "docs" / "hardening.md").read_text(), "\n".join(seen)


@pytest.mark.parametrize("service", [*TOPOLOGY.services])
def test_nobody_reaches_out(sound: dict[str, Any], service: str) -> None:
    """No flow leads to the internet, and no service reaches a listener there."""
    cells = [c for c in sound["cells"] if (c["source"], c["destination"]) == (service, "internet")]
    assert {(c["expected"], c["verdict"]) for c in cells} == {("DENIED", "agrees")}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", ROUNDS)
def test_sabotage_is_found_and_undone(site: Site, sound: dict[str, Any], tmp_path: Path, number: str) -> None:
    """A change outside Pulumi is found, with cell and cause; `make up` repairs what Pulumi owns."""
    for sabotage in ROUNDS[number]:
        sabotage.do(site)
    try:
        found = verify(site, tmp_path)
    finally:
        for sabotage in ROUNDS[number]:
            if sabotage.undo:
                sabotage.undo(site)
        again = make("verify" if all(each.undo for each in ROUNDS[number]) else "up")
    cells = [
        f"✗ {c['what']}{' at ' * bool(c['where'])}{c['where']}: {c['cause']}"
        for c in found["cells"]
        if c["verdict"] == "disagrees"
    ]
    said = [*found["said"].splitlines(), *cells]
    unseen = [
        f"{sabotage}: {start} … {cause}"
        for sabotage in ROUNDS[number]
        for start, cause in sabotage.lines
        if not any(line.startswith(start) and cause in line for line in said)
    ]
    assert (found["status"], unseen) == (1, []), found["said"]
    assert again.returncode == 0, again.stdout[-6000:]
    assert f"{len(sound['cells'])} cells in" in again.stdout


def test_a_restart_of_docker_opens_nothing(site: Site, sound: dict[str, Any], tmp_path: Path) -> None:
    """After Docker ends and starts again the host's rules are still there, and every cell is as before."""
    for pid in engine._engines():
        process = Process.of(pid)
        assert process
        process.end(60)
    assert host.rules_in_force(TOPOLOGY)
    engine.up(print)
    running = [service.name for service in TOPOLOGY.containers]
    form = "{{.Names}} {{.Status}}"
    eventually(
        "every container up",
        lambda: all(f"{name} Up" in site.docker("ps", "--format", form) for name in running),
    )
    found = verify(site, tmp_path)
    assert found["good"], found["said"]
    assert found["counts"] == sound["counts"]


def test_there_are_enough_of_them() -> None:
    """There are at least 45 sabotages."""
    assert sum(map(len, ROUNDS.values())) >= 45


def traces() -> list[str]:
    """Return what a run could leave: namespaces, links, routes, agents."""
    found = command("ip", "netns", "list").stdout + command("ip", "-brief", "link").stdout
    routes = command("ip", "route", "show", "type", "unreachable").stdout.splitlines()
    agents = [line for line in command("ps", "-eo", "args").stdout.splitlines() if "verify/agent.py" in line]
    return [
        *(line for line in found.splitlines() if line.startswith("verify")),
        *(line for line in routes if "4278255361" in line),
        *agents,
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ended_run_leaves_nothing(site: Site, number: signal.Signals) -> None:
    """A probe that a signal ends midway removes its namespaces, links, routes and agents."""
    with subprocess.Popen(
        [sys.executable, "-m", "commands", "verify"],
        cwd=PROJECT,
        env={**os.environ, **site.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr
        assert "endpoints" in run.stderr.readline()
        assert traces()
        run.send_signal(number)
        run.wait(timeout=30)
    assert (run.returncode, traces()) == (128 + number, [])


def test_a_killed_run_is_cleaned_up_by_the_next(site: Site, tmp_path: Path) -> None:
    """The next run removes what a killed one left."""
    with subprocess.Popen(
        [sys.executable, "-m", "commands", "verify"],
        cwd=PROJECT,
        env={**os.environ, **site.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr
        assert "endpoints" in run.stderr.readline()
        run.kill()
    assert traces()
    assert verify(site, tmp_path)["counts"]["inconclusive"] == 0
    assert traces() == []
