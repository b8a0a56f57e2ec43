"""The words of code, messages and documents: those of an engineer's plain English."""

import re
import subprocess

from topology.project import PROJECT

AVOIDED = re.compile(
    r"\b(who|whom|where|what)(so)?ever\b|\bsomebody\b|\bnobody (?=else|[a-z]+s\b|[a-z]+ed\b|can\b|could\b)",
    re.IGNORECASE,
)
"""Words in whose place the thing's name stands."""


def test_the_text_names_things() -> None:
    """No code, message or document has one of the words in whose place a noun says more."""
    kinds = ("*.py", "*.md", "*.yaml", "Makefile", ":!CHANGELOG.md", f":!{__file__}")
    listed = subprocess.run(
        ["git", "ls-files", *kinds], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout
    assert [
        f"{name}:{number}: {found[0]}"
        for name in listed.splitlines()
        for number, line in enumerate((PROJECT / name).read_text(encoding="utf-8").splitlines(), start=1)
        if (found := AVOIDED.search(line))
    ] == []
