"""What the tests on single parts use and a fresh machine may lack."""

from pathlib import Path

import pytest

from lab import apt
from tests.parts.copied import Engine, copied


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Install Debian's packages of the programs that tests here call themselves."""
    apt.install("tests on parts", {"nft": "nftables", "ip": "iproute2"}, print)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return a new copy of the project, with a state of its own."""
    return copied(tmp_path)
