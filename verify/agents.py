"""The agents of a run: one process per endpoint, the facts about its machine, and its answers.

This module knows neither the site nor the meaning of an answer.
Note: a failed agent is never left out. Its endpoint gets a fault, and cells that need it are inconclusive.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any, TypeVar

from verify import transports
from verify.driver import Answers

_LONGEST = 45.0
"""Seconds for each of the two exchanges with all agents, after which the agents are killed."""
_AT_ONCE = 3
"""Agents started at a time: sshd allows ten unauthenticated connections, and docker opens three each."""
_END_SECONDS = 3
_LINE = 2**24

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """An agent's facts about its machine: its addresses, its listening TCP ports, whether it may ping."""

    addresses: frozenset[IPv4Address] = frozenset()
    listeners: frozenset[int] = frozenset()
    pings: bool = True


class _Agent:
    """The process that a transport starts; when it is killed, its output ends."""

    def __init__(self, transport: transports.Transport) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # closed by close
        self.process = subprocess.Popen(
            transport.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            errors="replace",
        )

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line; a process that has ended is detected by `hear`."""
        assert self.process.stdin  # noqa: S101  # it was started with a pipe
        with suppress(BrokenPipeError):
            print(json.dumps(message), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Return the agent's next line, skipping a login shell's output; empty if the process has ended."""
        assert self.process.stdout  # noqa: S101  # it was started with a pipe
        while line := self.process.stdout.readline(_LINE):
            with suppress(ValueError, TypeError):
                return dict(json.loads(line))
        return {}

    def last_words(self) -> str:
        """Return standard error; the process has closed its output, so it is about to exit."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS)
        self._errors.seek(0)
        return self._errors.read()

    def hang_up(self) -> None:
        """Close the agent's input, on which the agent exits, on this machine or another."""
        assert self.process.stdin  # noqa: S101  # it was started with a pipe
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def close(self) -> None:
        """Wait for exit, killing the process after a timeout; close its output and standard error."""
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
    """One agent per endpoint; `faults` holds the reason for each missing one."""

    transports: Mapping[str, transports.Transport]
    jobs: int
    faults: dict[str, str] = field(default_factory=dict)
    _running: dict[str, _Agent] = field(default_factory=dict)
    _late: bool = False

    def start(self, listen: Callable[[str], Iterable[int]]) -> dict[str, MachineFacts]:
        """Start all agents, each listening on the ports given for its endpoint; returns their facts."""

        def one(name: str) -> MachineFacts | None:
            agent = self._running[name] = _Agent(self.transports[name])
            if self._late:
                agent.process.kill()
            agent.tell({"listen": [*listen(name)]})
            return self._heard(name, _facts)

        return self._each(one, self.transports, _AT_ONCE)

    def ask(self, asks: Mapping[str, Mapping[str, object]]) -> dict[str, Answers]:
        """Return each endpoint's answers, asking `jobs` at a time; an endpoint without any gets a fault."""

        def one(name: str) -> Answers | None:
            self._running[name].tell(asks[name])
            return self._heard(name, lambda said: _answers(said, lasting=self.transports[name].lasting))

        answers = self._each(one, [name for name in asks if name in self._running], self.jobs)

        def heard(name: str) -> frozenset[str] | None:
            self._running[name].tell({})
            return self._heard(name, _arrived)

        arrived = self._each(heard, answers, self.jobs)
        return {name: replace(given, arrived=arrived.get(name)) for name, given in answers.items()}

    def _heard(self, name: str, read: Callable[[Mapping[str, Any]], T]) -> T | None:
        agent = self._running[name]
        said = agent.hear()
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            return read(said)
        words = agent.last_words()
        if said or self._late:
            words = "what answers there is no agent" if said else f"no answer within {_LONGEST:.0f} s"
        self.faults.setdefault(name, transports.fault(self.transports[name], words))
        return None

    def _each(self, one: Callable[[str], T | None], names: Iterable[str], jobs: int) -> dict[str, T]:
        """Return `one`'s result for each name, from threads; a timeout or an interrupt kills all agents."""
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


def _facts(said: Mapping[str, Any]) -> MachineFacts:
    return MachineFacts(
        addresses=frozenset(map(IPv4Address, said["addresses"])),
        listeners=frozenset(map(int, said["listeners"])),
        pings=bool(said["pings"]),
    )


def _arrived(said: Mapping[str, Any]) -> frozenset[str] | None:
    ids = said["arrived"]
    return None if ids is None else frozenset(ids)


def _answers(said: Mapping[str, Any], *, lasting: bool) -> Answers:
    return Answers(by_id=dict(said["answers"]), arp_neighbours=() if lasting else [*said["heard"]])
