"""Tries a denied port repeatedly while something is changed.

Note: an open port counts however soon it closes again; an attempt starts every 20 ms, so a shorter window can
be missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_ASK = """
import json, select, socket, sys, time
address, port, limit = sys.argv[1], int(sys.argv[2]), time.monotonic() + 120
asked = opened = 0
waiting, poll = {}, select.poll()
poll.register(0, select.POLLIN)

def listen(until):
    global limit, opened
    while (left := until - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            poll.unregister(number)
            if number == 0:
                limit = 0
                continue
            one, _ = waiting.pop(number)
            opened += one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            one.close()

print("ready", flush=True)
while time.monotonic() < limit:
    for number, (one, since) in list(waiting.items()):
        if time.monotonic() - since > 1.5:
            poll.unregister(number)
            del waiting[number]
            one.close()
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((address, port))
    waiting[one.fileno()] = one, time.monotonic()
    poll.register(one, select.POLLOUT)
    asked += 1
    listen(time.monotonic() + 0.02)
listen(time.monotonic() + 0.2)
print(json.dumps({"asked": asked, "opened": opened}))
"""


@dataclass
class Asked:
    """The number of attempts, and how many found the port open; filled when the watch ends."""

    asked: int = 0
    opened: int = 0


@contextmanager
def watched(namespace: Sequence[str], address: str, port: int) -> Iterator[Asked]:
    """Try the port from a namespace (words that enter it) during the block, at most two minutes."""
    result = Asked()
    with subprocess.Popen(
        [*namespace, sys.executable, "-I", "-c", _ASK, address, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as asking:
        assert asking.stdin
        assert asking.stdout
        assert asking.stdout.readline() == "ready\n"
        try:
            yield result
        finally:
            asking.stdin.close()
            said = json.loads(asking.stdout.read())
    result.asked, result.opened = said["asked"], said["opened"]
