"""`make lint unit` passes after the worked examples of CONTRIBUTING.md and after edits of the dev stack.

The suite takes minutes, so it runs once, on one clone: every example is applied, and in the clone's dev stack
a service, a zone and a flow are added, renamed and removed. `tests/unit/test_contributing.py` applies the
examples to a tree without them. It is therefore excluded there and runs on a second clone, of which only the
dev stack is edited.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clone import environment
from tests.documents import blocks
from tests.site import put
from tests.unit.test_contributing import CONTRIBUTING, apply, python, write_table
from topology.project import PROJECT

STACK = "Pulumi.dev.yaml"
EXAMPLES = re.findall(r"^## Add .*$", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE)
WRITES: dict[str, Callable[[Path], None]] = {
    ".venv/bin/python -m commands rules": write_table,
    ".venv/bin/python -m commands schema": lambda tree: make(tree, "schema"),
    ".venv/bin/python -m tests.findings": lambda tree: python(tree, "tests.findings").check_returncode(),
}
"""Command below an example -> its change to the tree."""
SHOWS = {"make diff BASE=HEAD", "make up"}
"""Commands below an example that change nothing in the tree."""
RENAMED = {r"\bjellyfin\b": "films", r"\bapps(?=: \{|,)": "media"}
REMOVED = ("stirling-pdf", "vault")
pytestmark = pytest.mark.timeout(3600)  # the whole suite, on a busy machine


def make(tree: Path, *words: str) -> None:
    """Run make in the clone, with this environment; it must succeed."""
    done = subprocess.run(
        ["make", *words, "READY="],
        cwd=tree,
        env=environment(tree) | {"MAKEFLAGS": "", "MAKELEVEL": "0"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def follow(tree: Path, heading: str) -> None:
    """Apply an example's diffs and run its commands."""
    for diff in blocks(CONTRIBUTING, "diff", heading):
        apply(tree, diff)
    said = [line for block in blocks(CONTRIBUTING, "sh", heading) for line in block.splitlines()]
    for command in (re.sub(r"\s+#.*", "", line) for line in said):
        if command.startswith("make ") and command not in SHOWS:
            make(tree, *command.split()[1:])
        elif command not in SHOWS:
            WRITES[command](tree)


def edit(tree: Path) -> None:
    """Rename a service and a zone of the dev stack, and remove others with their flows."""
    text = (tree / STACK).read_text(encoding="utf-8")
    for old, new in RENAMED.items():
        text, times = re.subn(old, new, text)
        assert times > 1, old
    for name in REMOVED:
        assert name in text
        text = "".join(line for line in text.splitlines(keepends=True) if name not in line)
    (tree / STACK).write_text(text, encoding="utf-8")


@pytest.fixture
def tree(tree: Path) -> Path:
    """Return a clone whose dev stack is the sound site, with this environment and type checker cache."""
    put(tree)
    # The folder itself is the clone's, so that clean-up removes links and no environment.
    (tree / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (tree / ".venv" / entry.name).symlink_to(entry)
    if (PROJECT / ".mypy_cache").is_dir():
        shutil.copytree(PROJECT / ".mypy_cache", tree / ".mypy_cache")
    return tree


def test_the_suite_is_green_after_every_example(
    tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With all examples applied and the dev stack edited, no other line has to change."""
    assert EXAMPLES
    for heading in EXAMPLES:
        follow(tree, heading)
    edit(tree)
    short = tmp_path_factory.getbasetemp() / "s"  # a socket's path has at most 107 bytes (unix(7))
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--ignore=tests/unit/test_contributing.py --basetemp={short}")
    make(tree, "lint", "unit")


def test_the_examples_hold_on_an_edited_dev_stack(tree: Path) -> None:
    """A user's edits of the dev stack do not break the examples."""
    edit(tree)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--numprocesses=auto", "tests/unit/test_contributing.py"],
        cwd=tree,
        env=environment(tree),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
