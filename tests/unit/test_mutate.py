"""The mutation command: which mutants it makes, whether tests notice them, and its list of explained ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutate
from topology.project import PROJECT

MODULE = """
NAMES = {"a", "b"}

def guard(x: tuple[int, ...]) -> object:
    if x and x[0] > 8:
        yield "fault"
    return [y for y in x if y]
"""
TRY = """
from tests.mutate import mutants, survives
(mutant,) = (each for each in mutants("topology/versions.py") if "int(part or 1)" in each.text)
print(*(survives(mutant, ["tests/unit/test_versions.py" + test]) for test in ("", "{one}[{case}]")))
""".format(one="::test_a_tag_names_a_version", case="traefik:v3.7.18-traefik-given0")


def test_a_module_has_these_mutants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries, conditions, bounds, numbers and findings change, one at a time, and annotations do not."""
    (tmp_path / "m.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(mutate, "PROJECT", tmp_path)
    assert [(each.scope, each.text.partition(" -> ")[2]) for each in mutate.mutants("m.py")] == [
        ("module", "NAMES = {'b'}"),
        ("module", "NAMES = {'a'}"),
        ("guard", "if False:"),
        ("guard", "if True and x[0] > 8:"),
        ("guard", "if x and True:"),
        ("guard", "if x and x[0] >= 8:"),
        ("guard", "if x and x[1] > 8:"),
        ("guard", "if x and x[0] > 9:"),
        ("guard", "0 and (yield 'fault')"),
        ("guard", "return [y for y in x]"),
    ]


def test_a_mutant_survives_tests_that_miss_it() -> None:
    """A test of a version with two parts notices a third part of 1; one of a version with three does not."""
    done = subprocess.run(
        [sys.executable, "-c", TRY], cwd=PROJECT, check=False, capture_output=True, text=True
    )
    assert done.stdout == "False True\n", done.stderr


def test_every_explained_mutant_exists() -> None:
    """The list has no mutant of code that changed, and each has a reason."""
    for file, known in mutate.explained().items():
        assert {*known} - {each.name for each in mutate.mutants(file)} == set(), file
        assert all(known.values()), file
