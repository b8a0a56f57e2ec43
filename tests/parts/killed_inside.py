"""What `test_killed_up` runs on a machine of its own: `make up`, stopped on the way."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests

from tests.live.runs import kill_up_at, read_until, started_up
from tests.live.sabotage import NODE, TOPOLOGY, api
from tests.live.site import make
from tests.parts import users_docker
from tests.parts.users_docker import Watch, machine
from tests.parts.users_engine_inside import STATE, theirs

__all__ = ["theirs"]

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
    """Something of the user's that has a name of ours; `shown` is what its owner sees of it."""

    kind: str
    name: str
    shown: Callable[[], str]
    remove: Callable[[], object]


def container() -> Thing | None:
    """Make a container of the user's with the first name of ours that is free, if any is."""
    there = users_docker.docker("ps", "--all", "--format", "{{.Names}}").split()
    free = [service.name for service in TOPOLOGY.containers if service.name not in there]
    if not free:
        return None
    users_docker.serve(free[0])
    return Thing(
        kind="container",
        name=free[0],
        shown=lambda: users_docker.docker("inspect", "--format", "{{.Id}} {{.State.Running}}", free[0]),
        remove=lambda: users_docker.docker("rm", "--force", free[0]),
    )


def guest() -> Thing | None:
    """Make a guest of the user's with the first id of ours that is free, if any is and the API answers."""
    try:
        there = {int(one["vmid"]) for one in api("GET", NODE)}
    except requests.ConnectionError:
        return None
    free = [one.vm for one in TOPOLOGY.guests if one.vm not in there]
    if not free:
        return None
    api("POST", f"{NODE}/9000/clone", newid=free[0], name="mine", full=1, description="my own")
    return Thing(
        kind="guest",
        name=str(free[0]),
        shown=lambda: json.dumps(api("GET", f"{NODE}/{free[0]}/config"), sort_keys=True),
        remove=lambda: api("DELETE", f"{NODE}/{free[0]}/"),
    )


@pytest.mark.timeout(900)
def test_a_killed_up_leaves_the_users_things(theirs: Watch) -> None:
    """Killed at six moments, beside a container and a guest of the user's with names of ours.

    Both live on; the next `make up` names them and changes nothing; once they are out of the way it goes on.
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
                met.append(thing.kind)
                assert f"{thing.name}: taken by" in refused.stdout, (moment, refused.stdout[-3000:])
                assert thing.shown() == seen[thing.name], (moment, thing.name)
                thing.remove()
    assert min(met.count("container"), met.count("guest")) >= 3, met
    done = make("up")
    assert done.returncode == 0, done.stdout[-4000:]
    # What is written in two steps, a kill leaves half-written; then nothing reads the state any more.
    assert list((STATE / ".pulumi").rglob("*.attrs")) == []
    assert make("down").returncode == 0
    assert (machine(), theirs.gaps) == (before, [])


def test_an_interrupted_up_ends_in_order(theirs: Watch) -> None:
    """Ctrl-C during an update: Pulumi ends by itself, nothing is pending or locked, a line says what next."""
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
