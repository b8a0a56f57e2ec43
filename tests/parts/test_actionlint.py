"""The workflows checked by actionlint, built here from its Go module."""

import subprocess
import sys
from pathlib import Path

import pytest

from topology.project import PROJECT


def actionlint(*files: str) -> subprocess.CompletedProcess[str]:
    """Return the command's result for the named workflows, by default all of the project's."""
    command = [sys.executable, "-m", "tests.actionlint", *files]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)


def test_the_workflows_are_sound() -> None:
    """No workflow has a finding."""
    done = actionlint()
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("needs: judge", "needs: nobody", "needs job"),
        ("github.event.repository.private", "github.evnt.repository.private", '"evnt"'),
        ("permissions: {contents: read}", "permissions: {contents: reed}", "reed"),
    ],
)
def test_a_wrong_workflow_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A job that does not exist, a misspelt expression and an unknown permission are findings."""
    text = (PROJECT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "wrong.yml").write_text(text.replace(old, new), encoding="utf-8")
    done = actionlint(str(tmp_path / "wrong.yml"))
    assert (said in done.stdout, done.returncode) == (True, 1), done.stdout + done.stderr
