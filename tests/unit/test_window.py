"""The monitor of open ports: its counts for ports that are closed, open, or open for a moment."""

import socket

from tests.live.window import watched

HERE = ["env"]


def port() -> int:
    """Return a port of this machine without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_shut_port_is_never_open() -> None:
    """A refused attempt is counted as an attempt, not as an opening."""
    with watched(HERE, "127.0.0.1", port()) as asked:
        socket.create_server(("127.0.0.1", 0)).close()
    assert (asked.asked > 0, asked.opened) == (True, 0)


def test_a_port_that_opens_for_a_moment_is_seen() -> None:
    """One opening among many refusals is counted."""
    number = port()
    with watched(HERE, "127.0.0.1", number) as asked, socket.create_server(("127.0.0.1", number)) as server:
        server.accept()[0].close()
    assert asked.opened > 0
