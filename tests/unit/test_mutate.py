"""The mutation command: which mutants it makes, whether tests notice them, and its list of explained ones."""

import subprocess
import sys
from pathlib import Path

import coverage
import pytest

from tests import mutants, mutate
from topology import versions
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


def test_a_fork_runs_the_mutants_code() -> None:
    """Functions that are imported already have the mutant's code, and then their own again."""
    file = "topology/versions.py"
    (mutant,) = (each for each in mutate.mutants(file) if "int(part or 1)" in each.text)
    sound = versions.version("traefik:v3.7")
    mutants.put(file, mutant.code)
    try:
        assert versions.version("traefik:v3.7") != sound
    finally:
        mutants.put(file, compile((PROJECT / file).read_text(encoding="utf-8"), file, "exec"))
    assert versions.version("traefik:v3.7") == sound


def test_what_runs_at_import_is_no_functions_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines in a function's body run when it is called; its head and the module's tables do not."""
    (tmp_path / "m.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(mutate, "PROJECT", tmp_path)
    data = coverage.CoverageData(str(tmp_path / "m.coverage"))
    data.set_context("test")
    data.add_lines({str(tmp_path / "m.py"): [5]})
    data.write()
    (tmp_path / "m.json").write_text('{"test": 0.5}', encoding="utf-8")
    reach = mutate.Reach("m.py", tmp_path / "m.coverage")
    assert [reach.in_function(line) for line in (2, 4, 5)] == [False, False, True]
    assert reach.of(5) == ["test"]


def test_every_explained_mutant_exists() -> None:
    """The list has no mutant of code that changed, and each has a reason."""
    for file, known in mutate.explained().items():
        assert {*known} - {each.name for each in mutate.mutants(file)} == set(), file
        assert all(known.values()), file
