"""A second run changes nothing, and `make down` leaves nothing."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.site import Site, Snapshot, command, make

UP_CACHED_SECONDS = 90


@dataclass(frozen=True, kw_only=True)
class Again:
    """A second `make up`, and the output of `make preview` before and after it."""

    seconds: float
    up: subprocess.CompletedProcess[str]
    before: str
    after: str


@pytest.fixture(scope="module")
def again(site: Site) -> Again:
    """Return a second run on the running stack, after an update by plain pulumi, without the pack."""
    assert site.pulumi("up", "--yes", "--skip-preview").returncode == 0
    before, started = make("preview").stdout, time.monotonic()
    up, ended = make("up"), time.monotonic()
    return Again(seconds=ended - started, up=up, before=before, after=make("preview").stdout)


def test_a_second_up_changes_nothing(again: Again) -> None:
    """`make up` on the running stack finds nothing to do, and is quick."""
    said = again.up.stdout
    assert again.up.returncode == 0, said[-3000:]
    assert [line for line in said.splitlines() if "created" in line or "updated" in line] == []
    assert "unchanged" in said
    assert again.seconds < UP_CACHED_SECONDS


def test_an_update_without_the_pack_is_noticed(again: Again) -> None:
    """`make preview` says when the last update was made without the pack, and stops after one with it."""
    notice = "was made without the policy pack"
    assert notice in again.before
    assert notice in again.up.stdout
    assert notice not in again.after


def test_a_plain_preview_expects_no_changes(site: Site) -> None:
    """Plain pulumi, without wrappers and with a refresh, agrees with the live network."""
    done = site.pulumi("preview", "--refresh", "--expect-no-changes", "--policy-pack", "policies/serve")
    assert done.returncode == 0, done.stdout[-3000:]


def test_policy_analyze_agrees(site: Site, tmp_path: Path) -> None:
    """The exported state of the running stack passes the pack."""
    state = tmp_path / "state.json"
    assert site.pulumi("stack", "export", "--file", str(state)).returncode == 0
    words = ("policy", "analyze", "--policy-pack", "policies/serve", "--file", str(state))
    done = command("pulumi", *words, environment=site.environment)
    assert done.returncode == 0, done.stdout[-3000:]


def test_down_leaves_nothing(site: Site, before: Snapshot) -> None:
    """After `make down` the machine is as before: links, namespaces, routes, rules, processes, work tree."""
    assert site
    done = make("down")
    assert done.returncode == 0, done.stdout[-3000:]
    assert before.left(Snapshot.take()) == {}
    gone = make("verify")
    assert (gone.returncode, "Is the stack up (`make up`)" in gone.stdout) == (2, True), gone.stdout
