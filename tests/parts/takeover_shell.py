"""The shell of a user who takes a running site over: a clone of the project, and commands typed in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.clone import environment, git

STACK = "taken"


@dataclass(frozen=True)
class Home:
    """A shell in a clone of the project."""

    tree: Path
    environment: Mapping[str, str]

    @classmethod
    def of(cls, origin: Path, folder: Path, **variables: str) -> Self:
        """Clone a repository into a folder; the shell has these variables besides, and a passphrase."""
        git(folder, "clone", "--quiet", "--local", str(origin), "tree")
        tree = folder / "tree"
        (tree / ".venv").symlink_to(sys.prefix)
        os.utime(tree / "requirements.txt", (0, 0))  # the environment is newer
        theirs = {key: value for key, value in environment(tree).items() if not key.startswith("PULUMI_")}
        return cls(tree=tree, environment=theirs | {"PULUMI_CONFIG_PASSPHRASE": "x"} | variables)

    def types(self, *lines: str, status: int = 0) -> str:
        """Type lines into a shell with the stack's environment, one after the other; each must succeed."""
        opened = (
            f'eval "$(make -s env STACK={STACK})"' if (self.tree / f"Pulumi.{STACK}.yaml").exists() else ""
        )
        done = subprocess.run(
            ["bash", "-c", "\n".join(("set -eo pipefail", opened, *lines))],
            cwd=self.tree, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        print(*lines, done.stdout[-3000:], sep="\n")
        assert done.returncode == status, f"{lines}\n{done.stdout[-8000:]}"
        return done.stdout

    def plan(self, title: str) -> list[str]:
        """Return the commands below a heading of the plan."""
        text = (self.tree / f"adopt-{STACK}.md").read_text(encoding="utf-8")
        return text.partition(f"\n## {title}\n")[2].split("```")[1].splitlines()[1:]
