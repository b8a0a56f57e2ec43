"""The agents of a run: one process for each way, what it says of its machine, and its answers.

Owns the processes, their time and their end. It knows neither the site nor what an answer means. What a
reader would get wrong: an agent that fails is never left out. Its place gets a fault, and the judge leaves
what hangs on it undecided.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, TypeVar

from verify import ways
from verify.driver import Answers

_LONGEST = 45.0
"""Seconds for one of the two exchanges with all agents; what has not answered by then is ended."""
_AT_ONCE = 3
"""Agents that are started at a time: sshd takes ten callers who have not logged in, docker makes three."""
_END_SECONDS = 3
_LINE = 2**24

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an agent says of its machine: its addresses, the TCP ports that listen, whether it may ping."""

    addresses: frozenset[IPv4Address] = frozenset()
    listeners: frozenset[int] = frozenset()
    pings: bool = True


class _Agent:
    """A process that the way leads to; killed, its last answer is the end of its output."""

    def __init__(self, way: ways.Way) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # closed by close
        self.process = subprocess.Popen(
            way.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            errors="replace",
        )

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line; a process that has ended says so by its silence."""
        assert self.process.stdin  # noqa: S101  # it was started with a pipe
        with suppress(BrokenPipeError):
            print(json.dumps(message), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Read the agent's next line, past what a login shell says; empty where the process has ended."""
        assert self.process.stdout  # noqa: S101  # it was started with a pipe
        while line := self.process.stdout.readline(_LINE):
            with suppress(ValueError, TypeError):
                return dict(json.loads(line))
        return {}

    def last_words(self) -> str:
        """What was said on standard error; the process has closed its output, so it ends."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS)
        self._errors.seek(0)
        return self._errors.read()

    def hang_up(self) -> None:
        """Close its input, by which it ends, wherever it is."""
        assert self.process.stdin  # noqa: S101  # it was started with a pipe
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def close(self) -> None:
        """See it end, or end it by its id."""
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout  # noqa: S101  # it was started with a pipe
        self.process.stdout.close()
        self._errors.close()


@dataclass(kw_only=True)
class Agents:
    """One agent for each place's way; `faults` tells why one is missing."""

    ways: Mapping[str, ways.Way]
    jobs: int
    faults: dict[str, str] = field(default_factory=dict)
    _running: dict[str, _Agent] = field(default_factory=dict)
    _late: bool = False

    def start(self, listen: Callable[[str], Iterable[int]]) -> dict[str, Facts]:
        """Start them all, each listening on the ports that its place is given; returns what they say."""

        def one(name: str) -> Facts | None:
            agent = self._running[name] = _Agent(self.ways[name])
            if self._late:
                agent.process.kill()
            agent.tell({"listen": [*listen(name)]})
            return self._heard(name, _facts)

        return self._each(one, self.ways, _AT_ONCE)

    def ask(self, asks: Mapping[str, Mapping[str, object]]) -> dict[str, Answers]:
        """Tell each place its questions, `jobs` places at a time; one without an answer gets a fault."""

        def one(name: str) -> Answers | None:
            self._running[name].tell(asks[name])
            return self._heard(name, lambda said: _answers(said, lasting=self.ways[name].lasting))

        return self._each(one, [name for name in asks if name in self._running], self.jobs)

    def _heard(self, name: str, read: Callable[[Mapping[str, Any]], T]) -> T | None:
        agent = self._running[name]
        said = agent.hear()
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            return read(said)
        words = agent.last_words()
        if said or self._late:
            words = "what answers there is no agent" if said else f"no answer within {_LONGEST:.0f} s"
        self.faults.setdefault(name, ways.fault(self.ways[name], words))
        return None

    def _each(self, one: Callable[[str], T | None], names: Iterable[str], jobs: int) -> dict[str, T]:
        """Do it for every name in threads; what is late is ended, and all of it where this is interrupted."""
        wanted = [name for name in names if name not in self.faults]
        with self._deadline(), ThreadPoolExecutor(jobs) as pool:
            try:
                found = dict(zip(wanted, pool.map(one, wanted), strict=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._kill()
                raise
        return {name: value for name, value in found.items() if value is not None}

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        self._late = False
        timer = threading.Timer(_LONGEST, self._kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        self._late = True
        for agent in [*self._running.values()]:
            agent.process.kill()

    def close(self) -> None:
        """End every agent."""
        for agent in self._running.values():
            agent.hang_up()
        for agent in self._running.values():
            agent.close()


def _facts(said: Mapping[str, Any]) -> Facts:
    return Facts(
        addresses=frozenset(map(IPv4Address, said["addresses"])),
        listeners=frozenset(map(int, said["listeners"])),
        pings=bool(said["pings"]),
    )


def _answers(said: Mapping[str, Any], *, lasting: bool) -> Answers:
    return Answers(by_id=dict(said["answers"]), heard=() if lasting else [*said["heard"]])
