"""The README's picture of a terminal."""

from xml.etree import ElementTree as ET

import pytest

from lab import ending
from tests import terminal
from topology.project import PROJECT


def test_the_picture_is_current() -> None:
    """docs/terminal.svg is what `python -m tests.terminal` writes, and the README shows it."""
    assert terminal.PICTURE.read_text(encoding="utf-8") == terminal.svg(), "run python -m tests.terminal"
    assert "(docs/terminal.svg)" in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_another_text_is_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the code words in another way is noticed."""
    before = terminal.svg()
    monkeypatch.setattr(ending, "_PASSWORD", "another")
    assert terminal.svg() != before


def test_every_line_is_inside_the_picture() -> None:
    """The picture parses, loads nothing, and no line is longer than its width or below its height."""
    picture = ET.fromstring(terminal.svg())  # noqa: S314  # its own
    height = float(picture.attrib["viewBox"].split()[3])
    rows = [each for each in picture if each.tag.endswith("text")]
    assert [
        each.text for each in rows if len(each.text or "") > 112 or float(each.attrib["y"]) > height
    ] == []
    assert "href" not in terminal.svg()


def test_the_refusal_is_the_readmes() -> None:
    """The refused line and its answer are those of the README."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (said,) = [line for kind, line in terminal.lines() if kind == "refused"]
    assert said.partition(": ")[2] in readme
    assert terminal.BAD.strip() in readme
