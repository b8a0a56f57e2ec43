"""What `test_upgraded_engine` runs on a machine of its own: a newer engine on an older one's data root."""

import os
import re
from pathlib import Path

from tests.live.site import command, eventually, make
from tests.parts import users_docker
from tests.parts.users_engine_inside import found

NETWORK = "gateway mode of network probe"


def restarted() -> bool:
    """Whether the new engine has started all containers of the stack."""
    marked = ("docker", "ps", "--quiet", "--filter", "label=homelab-network.stack")
    return len(command(*marked).stdout.split()) == len(command(*marked, "--all").stdout.split())


def test_upgrade(tmp_path: Path) -> None:
    """The upgrade closes the probe zone; it is named, and one `make up` makes the zone anew."""
    users_docker.neighbour()
    with users_docker.running("26", tmp_path):
        first = make("up")
        assert first.returncode == 0, found(first.stdout)
    with users_docker.running(os.environ["USERS_ENGINE"], tmp_path):
        eventually("the containers", restarted, 90)
        told = make("verify")
        assert told.returncode == 1, told.stdout[-4000:]
        assert any(NETWORK in line for line in found(told.stdout)), told.stdout[-6000:]
        drift = make("drift")
        assert re.search(rf"{NETWORK} .*--replace='\*\*docker:index/network:Network::probe'", drift.stdout), (
            drift.stdout
        )
        mended = make("up")
        assert mended.returncode == 0, found(mended.stdout)
        again = make("drift")
        assert again.returncode == 0, again.stdout
        down = make("down")
        assert down.returncode == 0, down.stdout[-4000:]
