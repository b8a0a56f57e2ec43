"""The dev stack on the user's engine: Debian's 20.10, also with iptables-legacy, and Docker 26 and 28."""

from pathlib import Path

import pytest

from tests.parts.users_engine import whole_life


@pytest.mark.matrix
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("engine", "variables"),
    [
        pytest.param("debian", {}, id="20.10"),
        pytest.param("debian", {"LEGACY_IPTABLES": "yes"}, id="20.10-iptables-legacy"),
        pytest.param("26", {}, id="26"),
        pytest.param("28", {}, id="28"),
    ],
)
def test_whole_life(tmp_path: Path, engine: str, variables: dict[str, str]) -> None:
    """`make up`, every cell, a second `up`, eleven sabotages and `make down`, beside things of the user's."""
    whole_life(engine, tmp_path, **variables)
