"""Run the dev stack on an engine that is the user's, on a machine of its own: see `users_engine_inside`."""

import json
import os
from pathlib import Path

from lab.engine import clear_groups
from rendered.container import cgroups
from tests.apart import install, pytest_apart
from tests.live.site import PROJECT
from topology.config import from_file

COLUMNS = (
    "Docker",
    "firewall backend",
    "images",
    "userland-proxy",
    "default bridge",
    "cells that disagree",
    "second up",
    "sabotages found and undone",
    "left by make down",
    "the user's page",
)
"""Columns of the table in `docs/engines.md`, which a run fills."""


def run(engine: str, file: str, folder: Path, *words: str, **more: str) -> Path:
    """Run a file of tests beside the engine called `engine`; returns the folder of the stack's state.

    `words` are further options of pytest's, `more` further environment variables.
    """
    install(engine)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**theirs, "USERS_ENGINE": engine, "HOMELAB_STATE": str(folder / "state")} | more
    inside = Path(__file__).with_name(file)
    try:
        assert pytest_apart(inside, folder, environment, "-x", "--timeout=900", *words, seconds=1700) == 0
    finally:
        clear_groups(
            cgroups(from_file(PROJECT / "Pulumi.dev.yaml"))
        )  # the machine's own, which a failed test leaves
    return folder / "state"


def whole_life(engine: str, folder: Path, **more: str) -> None:
    """Run the stack's life on an engine, and compare what was seen with the engine's row in the documents."""
    seen = json.loads((run(engine, "users_engine_inside.py", folder, **more) / "seen.json").read_text())
    assert tuple(seen) == COLUMNS
    row = f"| {' | '.join(seen.values())} |"
    assert row in (PROJECT / "docs/engines.md").read_text().splitlines(), row
