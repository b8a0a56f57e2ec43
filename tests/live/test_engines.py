"""The dev stack on users' engines, each in namespaces of its own: see `engines_inside`.

These runs make the table in `docs/engines.md`.
"""

import json
import os
from pathlib import Path

import pytest

from lab.engine.programs import Programs
from tests.apart import pytest_apart
from tests.live.site import PROJECT

ENGINES = ("debian", "29", "29-nftables")
SEEN: dict[str, dict[str, str]] = {}
"""Engine -> its run's results: column of the table -> value."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_users_engine(engine: str, tmp_path: Path) -> None:
    """`make up`, every cell, a second `up`, ten sabotages and `make down` work beside a user's objects."""
    Programs.chosen(engine).install(print)
    theirs = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**theirs, "USERS_ENGINE": engine, "HOMELAB_STATE": str(tmp_path / "state")}
    file = Path(__file__).with_name("engines_inside.py")
    assert pytest_apart(file, tmp_path, environment, "-x", "--timeout=900", seconds=1700) == 0
    SEEN[engine] = json.loads((tmp_path / "state/seen.json").read_text())


def test_the_table_in_the_docs() -> None:
    """`docs/engines.md` states for each engine what these runs have seen, and lists no other engine."""
    if set(SEEN) != set(ENGINES):
        pytest.skip("the runs above did not all pass")
    columns = list(SEEN["debian"])
    rows = [columns, ["---"] * len(columns), *(list(SEEN[engine].values()) for engine in ENGINES)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    assert table in (PROJECT / "docs/engines.md").read_text(), table
