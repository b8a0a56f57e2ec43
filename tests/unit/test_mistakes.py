"""A hundred and sixty mistakes in a stack file: one line each, with file, line and a remedy that mends it."""

import re

import pytest

from tests.mistakes import LATER, LINES, MISTAKES, WIDE, changed_line, judged, told

WRITTEN = dict(re.findall(r"^# (.*)\n(.*\n)", LINES.read_text(encoding="utf-8"), re.MULTILINE))
ELSEWHERE = {
    "no bytes": "it has no line",
    "half written": "it has no key below config",
    "image at a service's depth": "the next line is where it can't be read on",
    "no image": "what lacks it is named",
    "a route in plain text": "the flow is named, not the declaration that it lacks",
    "a second document": "the second one is named",
    "an address twice": "the second one is named",
    "a page without a flow": "the page is named, not the flow that it lacks",
    "a stream past its audience": "the stream is named, not the flow that it lacks",
    "no name servers": "what lacks them is named",
    "pages left out": "the second route is named",
    "a VM id twice": "the second one is named",
}
"""Mistake whose line is another than the changed one -> why."""


def test_there_are_a_hundred_and_sixty() -> None:
    """The golden file has a line for each of ninety mistakes or more, and of sixty in the keys added last."""
    assert WRITTEN.keys() == MISTAKES.keys() | LATER.keys()
    assert (len(MISTAKES) >= 90, len(LATER) >= 60) == (True, True)


def test_the_wide_site_is_sound() -> None:
    """The file with the keys added last has no fault of its own, so each line is about its one mistake."""
    status, said = judged(WIDE.read_text(encoding="utf-8"))
    assert (status in {0, 1}, said) == (True, "")


@pytest.mark.parametrize("name", [*MISTAKES, *LATER])
def test_a_mistake_is_one_line(name: str) -> None:
    """A mistake ends with status 2 and its line of mistakes.txt, which `python -m tests.mistakes` writes.

    The line has the file, the line of the mistake, the fault and a remedy.
    """
    assert told(name) == (2, WRITTEN[name])
    place = re.match(r"Pulumi\.x\.yaml(?::(\d+))?: .+; .+\.\n", WRITTEN[name])
    assert place
    assert (place[1] == str(changed_line(name))) == (name not in ELSEWHERE)
