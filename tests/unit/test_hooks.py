"""The checks before a commit: the same tools as `make lint`."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clone import environment, git
from topology.project import PROJECT


def read(name: str) -> Any:
    """Return a YAML file of the project."""
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def test_hooks_run_what_make_lint_runs() -> None:
    """Each command of `make lint` and `make actionlint` is a hook, and each hook is such a command."""
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    recipe = (
        (PROJECT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\nunit:")[0]
    )
    commands = re.findall(r"^\t@\$\(VENV\)/bin/(.*?)(?: \.)?$", recipe, re.MULTILINE)
    assert (repository["repo"], {hook["language"] for hook in repository["hooks"]}) == ("local", {"system"})
    assert entries == [f".venv/bin/{command}" for command in commands]


FAULTS = {
    "topology/new.py": ('"""Nothing."""\n\nimport os\n', "ruff check"),
    "topology/wide.py": ('"""Nothing."""\n\nx = [1,2]\n', "ruff format"),
    "twice.yaml": ("a: 1\na: 2\n", "yamllint"),
}
"""File -> its text, and the hook that refuses it."""


@pytest.mark.parametrize("file", FAULTS)
def test_a_commit_with_a_fault_is_refused(tree: Path, file: str) -> None:
    """After `make hooks` git refuses a commit with a fault, by the right hook, and accepts one without."""
    text, hook = FAULTS[file]
    (tree / ".venv").symlink_to(sys.prefix)
    variables = {
        **environment(tree),
        "MAKEFLAGS": "READY=",
        "MAKELEVEL": "0",
        "PRE_COMMIT_HOME": str(tree.parent / "hooks"),
        "SKIP": "mypy,actionlint",  # both are tested elsewhere, and take a minute each
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
    }
    subprocess.run(["make", "hooks"], cwd=tree, env=variables, check=True, capture_output=True)
    answers = []
    for words in (text, text.partition("\n")[0] + "\n"):
        (tree / file).write_text(words, encoding="utf-8")
        git(tree, "add", file)
        commit = ["git", "-c", "user.name=x", "-c", "user.email=x@homelab.example", "commit", "--message=x"]
        answers.append(
            subprocess.run(commit, cwd=tree, env=variables, check=False, capture_output=True, text=True)
        )
    refused, made = answers
    assert (refused.returncode, made.returncode) == (1, 0), refused.stderr + made.stderr
    failed = re.findall(r"^(.*?)\.+Failed$", refused.stdout + refused.stderr, re.MULTILINE)
    assert [name.removesuffix(" --check") for name in failed] == [hook]


def test_dependabot_knows_every_go_module() -> None:
    """Dependabot's configuration names each folder with a go.mod once, and no other folder."""
    updates = read(".github/dependabot.yml")["updates"]
    named = [
        folder
        for update in updates
        if update["package-ecosystem"] == "gomod"
        for folder in update["directories"]
    ]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*go.mod"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    modules = {"/" + str(Path(file).parent) for file in listed}
    matched = {each: [name for name in named if fnmatchcase(each, name)] for each in modules}
    assert {each: len(names) for each, names in matched.items()} == dict.fromkeys(modules, 1)
    assert {name for names in matched.values() for name in names} == set(named)


def test_the_engine_that_is_required_is_the_one_that_is_tested() -> None:
    """The range in Pulumi.yaml begins with the library's version, and ends before the next major version."""
    tested = version("pulumi")
    major = int(tested.partition(".")[0])
    assert read("Pulumi.yaml")["requiredPulumiVersion"] == f">={tested} <{major + 1}.0.0"
