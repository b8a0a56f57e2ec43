"""What `test_killed_up` runs on a machine of its own: `make up`, stopped on the way."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.live.runs import kill_up_at, read_until, started_up
from tests.live.sabotage import NODE, api
from tests.live.site import command, make
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

    name: str
    words: str
    shown: Callable[[], str]
    remove: Callable[[], object]


def container() -> Thing | None:
    """Make the user's own container `grafana`, unless the stack has one by now."""
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
    """Make the user's own guest 101, unless the stack has one by now."""
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
                met.append(thing.name)
                assert thing.words in refused.stdout, (moment, refused.stdout[-3000:])
                assert thing.shown() == seen[thing.name], (moment, thing.name)
                thing.remove()
    assert (met.count("grafana"), met.count("101")) >= (3, 3)
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
