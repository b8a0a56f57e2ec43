"""The tests that `test_engines` runs in namespaces of their own: the dev stack on a user's engine."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import users_docker
from tests.live.runs import kill_up_at, read_until, started_up
from tests.live.sabotage import NODE, ROUNDS, Sabotage, api
from tests.live.site import Site, command, environment, make
from tests.live.users_docker import PORT, Watch, machine

ENGINE = os.environ["USERS_ENGINE"]
STATE = Path(os.environ["HOMELAB_STATE"])
TEN = (*ROUNDS["containers"], *ROUNDS["rules"][:4])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Yield a watch on the user's engine, container and network, whose page is requested all the time."""
    users_docker.neighbour()
    with users_docker.running(ENGINE, tmp_path_factory.mktemp("engine")):
        users_docker.page_image()
        users_docker.docker("network", "create", "--subnet", "198.51.100.0/24", "my-net")
        users_docker.serve("mine", PORT)
        with Watch() as watch:
            yield watch


def found(said: str) -> list[str]:
    """Return the lines about cells that disagree."""
    return [line for line in said.splitlines() if line.startswith("✗")]


def test_up_twice_ten_sabotages_and_down(theirs: Watch) -> None:
    """The stack comes up, agrees cell by cell, is broken, repaired and removed; the machine is as before."""
    before = machine()
    first = make("up")
    print(first.stdout[-6000:])
    assert first.returncode == 0, found(first.stdout)
    assert "yours; it is left as it is" in first.stdout
    cells = re.search(r"(\d+) cells in .*: (\d+) agrees(?:, (\d+) free)?", first.stdout)
    assert cells
    second = make("up")
    assert second.returncode == 0, second.stdout[-4000:]
    assert not re.search(r"\b(created|updated|replaced)\b", second.stdout), second.stdout[-4000:]
    site = Site(said=first.stdout, environment=environment())
    told, again = broken(site, TEN)
    print(told[-3000:])
    unseen = [
        f"{sabotage}: {start}"
        for sabotage in TEN
        for start, cause in sabotage.lines
        if not any(line.startswith(start) and cause in line for line in told.splitlines())
    ]
    assert unseen == [], told
    assert again == 0
    info = json.loads(users_docker.docker("info", "--format", "{{json .}}"))
    down = make("down")
    assert down.returncode == 0, down.stdout[-4000:]
    after = machine()
    for what, lines in before.items():
        assert after[what] == lines, what
    assert (theirs.asked > 100, theirs.gaps) == (True, [])
    (STATE / "seen.json").write_text(json.dumps(seen(info, cells)))


def seen(info: dict[str, Any], cells: re.Match[str]) -> dict[str, str]:
    """Return this run's results, in the columns of the table in `docs/engines.md`."""
    store = (
        "containerd"
        if ["driver-type", "io.containerd.snapshotter.v1"] in info["DriverStatus"]
        else "graph driver"
    )
    settings = users_docker.SETTINGS[ENGINE]
    return {
        "Docker": info["ServerVersion"],
        "firewall backend": (info.get("FirewallBackend") or {"Driver": "iptables"})["Driver"],
        "images": store,
        "userland-proxy": "off" if settings.get("userland-proxy") is False else "on",
        "default bridge": "none" if settings.get("bridge") == "none" else "docker0",
        "cells that disagree": str(int(cells[1]) - int(cells[2]) - int(cells[3] or 0)),
        "second up": "nothing to do",
        "sabotages found and undone": str(len(TEN)),
        "left by make down": "nothing",
        "the user's page": "always there",
    }


def broken(site: Site, sabotages: tuple[Sabotage, ...]) -> tuple[str, int]:
    """Apply the sabotages; return the probe's output and the exit status of the next `make up`."""
    for sabotage in sabotages:
        sabotage.do(site)
    told = command("make", "verify", seconds=300).stdout
    return told, make("up").returncode


MOMENTS = (
    "API: https",
    "pulumi up: stack dev",
    "Network edge creating",
    "Container loki creating",
    "VmLegacy jellyfin creating",
    "verify: every source",
)


@dataclass(frozen=True)
class Thing:
    """An object of the user's with a name of ours; `shown` is its owner's view of it."""

    name: str
    words: str
    shown: Callable[[], str]
    remove: Callable[[], object]


def container() -> Thing | None:
    """Make the user's own container `grafana`, unless the stack already has one."""
    if command("docker", "container", "inspect", "grafana").returncode == 0:
        return None
    users_docker.serve("grafana")
    return Thing(
        name="grafana",
        words="grafana",
        shown=lambda: users_docker.docker("inspect", "--format", "{{.Id}} {{.State.Running}}", "grafana"),
        remove=lambda: users_docker.docker("rm", "--force", "grafana"),
    )


def guest() -> Thing | None:
    """Make the user's own guest 101, unless the stack already has one."""
    if any(int(one["vmid"]) == 101 for one in api("GET", NODE)):
        return None
    api("POST", f"{NODE}/9000/clone", newid=101, name="mine", full=1, description="my own")
    return Thing(
        name="101",
        words="101",
        shown=lambda: json.dumps(api("GET", f"{NODE}/101/config"), sort_keys=True),
        remove=lambda: api("DELETE", f"{NODE}/101/"),
    )


@pytest.mark.timeout(900)
@pytest.mark.skipif(ENGINE != "29", reason="one engine speaks for all")
def test_a_killed_up_leaves_the_users_things(theirs: Watch) -> None:
    """The user's container and guest, named like ours, survive `make up` killed at six moments.

    The next `make up` names them and changes nothing; once they are removed it continues.
    """
    before, met = machine(), []
    for moment in MOMENTS:
        kill_up_at(moment)
        things = [thing for make_one in (container, guest) if (thing := make_one())]
        seen = {thing.name: thing.shown() for thing in things}
        if things:
            refused = make("up")
            assert refused.returncode != 0, (moment, refused.stdout[-3000:])
            for thing in things:
                met.append(thing.name)
                assert thing.words in refused.stdout, (moment, refused.stdout[-3000:])
                assert thing.shown() == seen[thing.name], (moment, thing.name)
                thing.remove()
    assert (met.count("grafana"), met.count("101")) >= (3, 3)
    done = make("up")
    assert done.returncode == 0, done.stdout[-4000:]
    # A file written in two steps is half-written after a kill, and the state is then unreadable.
    assert list((STATE / ".pulumi").rglob("*.attrs")) == []
    assert make("down").returncode == 0
    assert (machine(), theirs.gaps) == (before, [])


@pytest.mark.skipif(ENGINE != "29", reason="one engine speaks for all")
def test_an_interrupted_up_ends_in_order(theirs: Watch) -> None:
    """After Ctrl-C in an update Pulumi ends itself, nothing is pending or locked, a line says what next."""
    assert theirs
    with started_up() as run:
        read_until(run, "Container loki creating")
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=180)[0]
    assert "up: interrupted; `make up STACK=dev` goes on from here" in said
    assert "Traceback" not in said
    state = STATE / ".pulumi/stacks/homelab-network/dev.json"
    latest = json.loads(state.read_text())["checkpoint"]["latest"]
    assert not latest.get("pending_operations")
    assert list((STATE / ".pulumi/locks").rglob("*.json")) == []
    again = make("up")
    assert again.returncode == 0, again.stdout[-4000:]
    assert make("down").returncode == 0
