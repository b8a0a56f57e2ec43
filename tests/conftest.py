"""A repository with the project as its one commit, and a clone of it for each test to change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clone import git
from tests.counted import sums
from topology.project import PROJECT

# A `make` that a test starts is one of its own, as a user starts it, although `make unit` started the test:
# as a part of that one it would say which folder it enters, and take its flags.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with one commit: this tree with its uncommitted changes."""
    folder = tmp_path_factory.mktemp("origin")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=base")
    return folder


@pytest.fixture
def tree(origin: Path, tmp_path: Path) -> Path:
    """Return a clone to change."""
    git(tmp_path, "clone", "--quiet", "--local", str(origin), "tree")
    return tmp_path / "tree"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests that passed counted."""
    if lines := [*sums(terminalreporter.getreports("passed"))]:
        terminalreporter.section("counted", "-")
        for line in lines:
            terminalreporter.line(line)
