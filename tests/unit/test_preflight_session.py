"""The SSH session in which a run would close the host: how it is found, and when it could not come back."""

from pathlib import Path

import pytest

from preflight import machine
from tests.policies.test_closed import keys
from topology.config import load

pytestmark = pytest.mark.usefixtures("authority")
SSHD = "SSH_CONNECTION=10.10.1.7 40000 10.10.1.5 22"


def processes(folder: Path, *environments: str) -> Path:
    """Write processes 2, 3 and so on, each the child of the one before; returns the folder."""
    for number, environment in enumerate(environments, 2):
        (folder / str(number)).mkdir()
        (folder / str(number) / "environ").write_bytes(f"HOME=/root\0{environment}\0".encode())
        (folder / str(number) / "stat").write_text(f"{number} (a ) b) S {number - 1} 1 1")
    return folder


def test_the_session_is_found_above_sudo(tmp_path: Path) -> None:
    """The variable of a process above counts; without one, or without the right to read it, there is none."""
    proc = processes(tmp_path, SSHD, "SHELL=/bin/sh", "SUDO_USER=you")
    assert machine.session(proc, 4) == ("10.10.1.7", 22)
    assert machine.session(tmp_path / "none", 4) is None
    (console := tmp_path / "console").mkdir()
    assert machine.session(processes(console, "TERM=linux"), 2) is None


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (None, 0),
        (("10.10.1.7", 22), 0),
        (("10.10.1.7", 2222), 1),
        (("192.168.77.7", 22), 1),
        (("fe80::7%eth0", 22), 1),
    ],
)
def test_a_session_that_no_flow_lets_in_is_told(where: tuple[str, int] | None, count: int) -> None:
    """Only a flow from its zone to its port lets a session in again, by IPv4."""
    assert len([*machine.lock_out(load(keys()), where)]) == count
    assert [*machine.lock_out(load(keys({})), where)] == []
