"""A release: version, changelog and tag agree."""

import re
import subprocess
import tomllib
from datetime import date
from itertools import pairwise

import pytest

from topology.project import PROJECT

GROUPS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Keep a Changelog's groups of changes."""


def faults(version: str, changelog: str, tags: list[str]) -> list[str]:
    """Return every disagreement; sections are newest first, and the newest is the version and its tag."""
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    first = headings[0]
    headings = [heading for heading in headings if heading != "Unreleased"]
    released = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", heading) for heading in headings]
    found = [] if first == "Unreleased" else [f"the first section is {first}"]
    found += [
        f"no version and date: {text}" for text, match in zip(headings, released, strict=True) if not match
    ]
    order = [(tuple(map(int, each.groups()[:3])), date.fromisoformat(each[4])) for each in released if each]
    for newer, older in pairwise(order):
        if newer[0] <= older[0] or newer[1] < older[1]:
            found.append(f"not newest first: {newer}, {older}")
    if not headings or headings[0].partition(" ")[0] != version:
        found.append(f"the version is {version}, and the newest section {headings[:1]}")
    groups = re.findall(r"^### (.*)$", changelog, re.MULTILINE)
    found += [f"no group of changes: {group}" for group in groups if group not in GROUPS]
    return found + [f"the commit has the tag {tag}" for tag in tags if tag != f"v{version}"]


def test_version_changelog_and_tag_agree() -> None:
    """The version is that of the newest dated section, and so is a release tag on this commit."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    words = ["git", "tag", "--points-at", "HEAD", "--list", "v*"]
    tags = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split()
    assert faults(project["version"], changelog, tags) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "said"),
    [
        ("0.2.0", "## Unreleased\n## 0.1.0 - 2026-11-25\n", [], "the version is 0.2.0"),
        ("0.1.0", "## 0.1.0 - 2026-11-25\n", [], "the first section is 0.1.0"),
        ("0.1.0", "## Unreleased\n## 0.1.0\n", [], "no version and date: 0.1.0"),
        ("0.1.0", "## Unreleased\n## 0.1.0 - 2026-11-25\n## 0.1.0 - 2026-11-24\n", [], "not newest first"),
        ("0.1.1", "## Unreleased\n## 0.1.1 - 2026-11-24\n## 0.1.0 - 2026-11-25\n", [], "not newest first"),
        ("0.1.0", "## Unreleased\n### News\n## 0.1.0 - 2026-11-25\n", [], "no group of changes: News"),
        ("0.1.0", "## Unreleased\n## 0.1.0 - 2026-11-25\n", ["v0.2.0"], "the commit has the tag v0.2.0"),
    ],
)
def test_what_does_not_agree_is_said(version: str, changelog: str, tags: list[str], said: str) -> None:
    """Each kind of disagreement is found, and no other."""
    (fault,) = faults(version, changelog, tags)
    assert said in fault
