"""What more than one file of unit tests needs."""

from pathlib import Path

import pytest

from tests.clone import git
from tests.site import loaded, put, state
from topology.model import Topology


@pytest.fixture(scope="module")
def site() -> Topology:
    """The sound site."""
    return loaded()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the sound site names below $HOMELAB_STATE; nothing checks with them."""
    monkeypatch.setenv("HOMELAB_STATE", str(state(tmp_path)))


@pytest.fixture
def tree(tree: Path) -> Path:
    """A clone to change, its dev stack the sound site: what the user does to the dev stack breaks no test."""
    put(tree)
    git(tree, "commit", "--quiet", "--all", "--amend", "--no-edit")
    return tree
