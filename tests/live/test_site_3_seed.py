"""The second stack file in the lab: other VLANs, names and addresses, and the same proof."""

import pytest

from tests.live.site import Snapshot, command, make


@pytest.mark.timeout(1200)
def test_another_plan_on_the_same_code(before: Snapshot) -> None:
    """With dev down, seed comes up, every cell of the probe agrees, and its `make down` leaves nothing."""
    assert make("down").returncode == 0
    try:
        done = make("up", "STACK=seed")
        assert done.returncode == 0, done.stdout[-4000:]
        assert "declared, proved and live agree" in done.stdout
        assert "https://vaultwarden.seed.localhost/" in done.stdout
        drift = make("drift", "STACK=seed")
        assert drift.returncode == 0, drift.stdout
        other = make("up")
        assert "stack seed is up in the lab; run `make down STACK=seed` first" in other.stdout
        assert other.returncode != 0
    finally:
        down = make("down", "STACK=seed")
    assert down.returncode == 0, down.stdout[-3000:]
    assert before.left(Snapshot.take()) == {}
    assert command("git", "status", "--porcelain").stdout == before.tree
