"""What judging may cost, and what is said where it costs more."""

import resource
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from commands import flows as command
from policies import bounds
from policies.rule import RULES, of_stack
from tests.site import FILE


def test_a_judge_that_takes_too_long_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the time is spent, judging ends with status 1 and one violation that names the bound."""
    monkeypatch.setattr(bounds, "SECONDS", 0.01)
    assert command.main(["judge", str(FILE)]) == 1
    assert capsys.readouterr().out.startswith("evaluation-ends: stack: it took more than 0.01 s")


def test_a_rule_is_named_and_catches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error passes a rule's own handling of errors, and says which rule ran."""

    def endless(_: object) -> Iterator[None]:
        while True:
            yield from ()

    monkeypatch.setattr(bounds, "SECONDS", 0.05)
    slow = replace(RULES["undeclared-flows"], check=endless)
    with pytest.raises(bounds.GaveUpError, match="in the rule undeclared-flows"), bounds.bounded():
        [*of_stack(slow, None)]


def test_memory_is_bounded_and_all_is_as_before_afterwards() -> None:
    """More data than the bound ends in MemoryError; limits, timer and handler are restored."""
    before = resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF)
    with pytest.raises(MemoryError), bounds.bounded():
        bytearray((bounds.MEBIBYTES + 1) * 2**20)
    assert (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
