"""The watch for windows: what it counts on ports that are shut, open, or open for a moment."""

import socket

from tests.live.window import watched

HERE = ["env"]


def port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_shut_port_is_never_open() -> None:
    """Refusals are questions, and no opening."""
    with watched(HERE, "127.0.0.1", port()) as asked:
        socket.create_server(("127.0.0.1", 0)).close()
    assert (asked.asked > 0, asked.opened) == (True, 0)


def test_a_port_that_opens_for_a_moment_is_seen() -> None:
    """One opening among many refusals counts."""
    number = port()
    with watched(HERE, "127.0.0.1", number) as asked, socket.create_server(("127.0.0.1", number)) as server:
        server.accept()[0].close()
    assert asked.opened > 0
