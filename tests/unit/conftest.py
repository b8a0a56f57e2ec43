"""Fixtures of several unit test modules."""

from pathlib import Path

import pytest

from tests.clone import git
from tests.site import loaded, put, state
from topology.model import Topology


@pytest.fixture(scope="module")
def site() -> Topology:
    """Return the sound site."""
    return loaded()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that the sound site names below $HOMELAB_STATE; no test verifies with them."""
    monkeypatch.setenv("HOMELAB_STATE", str(state(tmp_path)))


@pytest.fixture
def tree(tree: Path) -> Path:
    """Return a clone whose dev stack is the sound site, so that edits of the dev stack break no test."""
    put(tree)
    git(tree, "commit", "--quiet", "--all", "--amend", "--no-edit")
    return tree
