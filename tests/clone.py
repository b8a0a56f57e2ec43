"""A clone of this tree as a repository of its own, for tests to change."""

import os
import subprocess
from pathlib import Path


def git(folder: Path, *words: str) -> None:
    """Run git with a fixed identity, independent of the machine's settings."""
    who = ("-c", "user.name=someone", "-c", "user.email=someone@homelab.example", "-c", "gc.auto=0")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def environment(tree: Path) -> dict[str, str]:
    """Return the environment of a command in the clone, with a temporary folder that tests can inspect."""
    (tree.parent / "temporary").mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(tree), "TMPDIR": str(tree.parent / "temporary")}
