"""What `users_engine` runs on a machine of its own: the dev stack on an engine that is the user's."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.sabotage import ROUNDS, Sabotage
from tests.live.site import Site, command, environment, eventually, make
from tests.parts import users_docker
from tests.parts.users_docker import PORT, Watch, machine

ENGINE = os.environ["USERS_ENGINE"]
LEGACY = "USERS_LEGACY" in os.environ
STATE = Path(os.environ["HOMELAB_STATE"])
ELEVEN = (*ROUNDS["containers"], *ROUNDS["rules"][:3])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """The user's engine, container and network, whose page is asked for all the time."""
    users_docker.neighbour()
    if LEGACY:
        users_docker.legacy()
    with users_docker.running(ENGINE, tmp_path_factory.mktemp("engine")):
        users_docker.page_image()
        users_docker.docker("network", "create", "--subnet", "198.51.100.0/24", "my-net")
        users_docker.serve("mine", PORT)
        # A link's own addresses and routes come a second after it.
        eventually("the links", lambda: "tentative" not in command("ip", "address").stdout)
        with Watch() as watch:
            yield watch


def found(said: str) -> list[str]:
    """Return a line for each disagreement, with its cause, also for those that have one cause together."""
    lines, cause = [], ""
    for line in said.splitlines():
        if begun := re.match(r"✗ \d+ disagree, with one likely cause: (.*)", line):
            cause = begun[1]
        elif cause and line.startswith("    "):
            lines.append(f"✗ {line.strip()} (likely cause: {cause})")
        else:
            cause = ""
            lines += [line] if line.startswith("✗") else []
    return lines


def test_up_twice_eleven_sabotages_and_down(theirs: Watch) -> None:
    """The stack comes, agrees cell by cell, is broken, put right and gone; the machine is as before."""
    before = machine()
    first = make("up")
    print(first.stdout[-6000:])
    assert first.returncode == 0, found(first.stdout)
    assert "yours; it is left as it is" in first.stdout
    cells = re.search(r"(\d+) cells in .*: (\d+) as declared(?:, (\d+) not judged)?", first.stdout)
    assert cells
    assert cells[3] is None, first.stdout
    second = make("up")
    assert second.returncode == 0, second.stdout[-4000:]
    assert not re.search(r"\b(created|updated|replaced)\b", second.stdout), second.stdout[-4000:]
    site = Site(said=first.stdout, environment=environment())
    told, again = broken(site, ELEVEN)
    print(told[-3000:])
    unseen = [
        f"{sabotage}: {start}"
        for sabotage in ELEVEN
        for start, cause in sabotage.lines
        if not any(line.startswith(start) and cause in line for line in found(told))
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
    """Say what this run saw, in the columns of the table in `docs/engines.md`."""
    store = (
        "containerd"
        if ["driver-type", "io.containerd.snapshotter.v1"] in info["DriverStatus"]
        else "graph driver"
    )
    settings = users_docker.SETTINGS[ENGINE]
    backend = (info.get("FirewallBackend") or {"Driver": "iptables"})["Driver"]
    return {
        "Docker": info["ServerVersion"],
        "firewall backend": f"{backend}-legacy" if LEGACY else backend,
        "images": store,
        "userland-proxy": "off" if settings.get("userland-proxy") is False else "on",
        "default bridge": "none" if settings.get("bridge") == "none" else "docker0",
        "cells that disagree": str(int(cells[1]) - int(cells[2]) - int(cells[3] or 0)),
        "second up": "nothing to do",
        "sabotages found and undone": str(len(ELEVEN)),
        "left by make down": "nothing",
        "the user's page": "always there",
    }


def broken(site: Site, sabotages: tuple[Sabotage, ...]) -> tuple[str, int]:
    """Break the network in every way; returns what the probe said, and how `make up` ended afterwards."""
    for sabotage in sabotages:
        sabotage.do(site)
    told = command("make", "verify", seconds=300).stdout
    return told, make("up").returncode
