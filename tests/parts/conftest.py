"""What the tests on single parts use and a fresh machine may lack."""

import pytest

from lab import apt


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Install Debian's packages of the programs that tests here call themselves."""
    apt.install("tests on parts", {"nft": "nftables", "ip": "iproute2"}, print)
