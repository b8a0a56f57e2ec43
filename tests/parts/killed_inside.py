"""What `test_killed_up` runs on a machine of its own: `make up`, stopped on the way again and again.

Each run goes on from the one before, so the moments are in the order in which Pulumi makes things: aliases,
then guests, then, after the host's rules, Docker's networks and containers.
"""

import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lab.process import run
from tests.live.sabotage import NODE, TOPOLOGY, api
from tests.live.site import make
from tests.parts import users_docker
from tests.parts.runs import kill_up_at, said, started_up, wait_until
from tests.parts.users_docker import Watch, machine
from tests.parts.users_engine_inside import STATE, theirs

__all__ = ["theirs"]

MOMENTS = (
    "API: https",
    r"AliasLegacy \S+ creating",
    r"VmLegacy \S+ creating",
    r"Network \S+ creating",
    r"Container \S+ creating",
)
LAST = "verify: every source"
GUEST = next(guest for guest in TOPOLOGY.guests if guest.name == "vaultwarden")
MET: list[str] = []
"""Paths of the findings about the user's things so far."""


@dataclass(frozen=True)
class Thing:
    """Something of the user's that has a name of ours: the path of its finding, and what its owner does."""

    path: str
    make: Callable[[], object]
    shown: Callable[[], str]
    remove: Callable[[], object]


def serve() -> None:
    """Run a container of the user's, in place of what a killed run left."""
    users_docker.docker("rm", "--force", "grafana")
    users_docker.serve("grafana")


def clone() -> None:
    """Make a guest of the user's, in place of what a killed run left."""
    if any(int(row["vmid"]) == GUEST.vmid for row in api("GET", NODE)):
        api("POST", f"{NODE}/{GUEST.vmid}/status/stop")
        api("DELETE", f"{NODE}/{GUEST.vmid}")
    api("POST", f"{NODE}/9000/clone", newid=GUEST.vmid, name="mine", full=1, description="my own")


CONTAINER = Thing(
    "container grafana",
    make=serve,
    shown=lambda: users_docker.docker("inspect", "--format", "{{.Id}} {{.State.Running}}", "grafana"),
    remove=lambda: users_docker.docker("rm", "--force", "grafana"),
)
MACHINE = Thing(
    f"vmid {GUEST.vmid}",
    make=clone,
    shown=lambda: json.dumps(api("GET", f"{NODE}/{GUEST.vmid}/config"), sort_keys=True),
    remove=lambda: api("DELETE", f"{NODE}/{GUEST.vmid}"),
)


def ip(*words: str) -> None:
    """Change the machine's interfaces and namespaces; it must succeed."""
    run(["ip", *words], "the machine")


def state() -> dict[str, Any]:
    """Return the stack's state; empty before its first resource."""
    file = STATE / ".pulumi/stacks/homelab-network/dev.json"
    return json.loads(file.read_text())["checkpoint"]["latest"] or {} if file.exists() else {}


def users_things() -> list[Thing]:
    """Make a container of the user's, and a guest if the API runs and the stack has none of this id."""
    CONTAINER.make()
    if any(each["urn"].endswith(f"VmLegacy::{GUEST.name}") for each in state().get("resources", ())):
        return [CONTAINER]
    try:
        MACHINE.make()
    except OSError:
        return [CONTAINER]
    return [CONTAINER, MACHINE]


def killed_beside_users_things(moment: str) -> None:
    """Kill `make up` at a moment; the next one names the user's things, changes none, and ends."""
    kill_up_at(moment)
    things = users_things()
    seen = [thing.shown() for thing in things]
    refused = make("up")
    assert refused.returncode != 0, refused.stdout[-3000:]
    assert "Traceback" not in refused.stdout
    assert [thing.path for thing in things if f"\n{thing.path}: taken by" not in refused.stdout] == []
    assert [thing.shown() for thing in things] == seen
    for thing in things:
        MET.append(thing.path)
        thing.remove()


@pytest.fixture(scope="module")
def before(theirs: Watch) -> dict[str, list[str]]:
    """Return the machine before the first run."""
    assert theirs
    return machine()


def test_names_of_the_lab_are_named_before_its_first_change(before: dict[str, list[str]]) -> None:
    """A user's interface, namespace and program with the lab's names and port are told together, and stay."""
    ip("link", "add", "trunk.10", "type", "veth", "peer", "name", "theirs")
    ip("netns", "add", f"vm-{GUEST.vmid}")
    with socket.create_server(("127.0.0.1", 8006)):
        theirs = machine()
        refused = make("up")
        assert refused.returncode != 0
        assert machine() == theirs
    ip("netns", "del", f"vm-{GUEST.vmid}")
    ip("link", "del", "trunk.10")
    told = refused.stdout.splitlines()
    there = "there already, and not made by the lab"
    assert [line for line in told if line.startswith(("interface", "namespace", "127."))] == [
        f"interface trunk.10: {there}; give the stack file another name, or remove it",
        f"namespace vm-{GUEST.vmid}: {there}; remove it, or give the guest another id",
        "127.0.0.1:8006: in use by another program, and the lab's Proxmox API listens there; end it",
    ]
    assert "3 findings" in told
    assert machine() == before


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.usefixtures("before")
def test_a_killed_up_leaves_the_users_things(moment: str) -> None:
    """A container and a guest of the user's with names of ours live on, and the next `make up` names them."""
    killed_beside_users_things(moment)


@pytest.mark.usefixtures("before")
def test_an_interrupted_up_ends_in_order() -> None:
    """Ctrl-C during an update: Pulumi ends by itself, nothing is pending or locked, a line says what next."""
    with started_up() as run:
        wait_until(run, r"Container \S+ creating")
        os.killpg(run.pid, signal.SIGINT)
        run.wait(180)
    assert "up: interrupted; `make up STACK=dev` goes on from here" in said()
    assert "Traceback" not in said()
    assert not state().get("pending_operations")
    assert list((STATE / ".pulumi/locks").rglob("*.json")) == []


def test_the_last_run_goes_on_to_the_end(before: dict[str, list[str]], theirs: Watch) -> None:
    """After a kill during the probe, and with nothing of the user's in the way, `make up` and `down` end."""
    killed_beside_users_things(LAST)
    assert MET.count(CONTAINER.path) == len(MOMENTS) + 1
    assert MET.count(MACHINE.path) >= 2
    done = make("up")
    assert done.returncode == 0, done.stdout[-4000:]
    # What is written in two steps, a kill leaves half-written; then nothing reads the state any more.
    assert list((STATE / ".pulumi").rglob("*.attrs")) == []
    assert make("down").returncode == 0
    assert (machine(), theirs.gaps) == (before, [])
