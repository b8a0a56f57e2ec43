"""Returns what the project's documents contain for people to copy: diffs, snippets and commands."""

import re
from pathlib import Path

from topology.project import PROJECT

DOCUMENTS = (PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("**/*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:\.venv/bin/)?(?:eval|htpasswd|make|pulumi|python) [^`]+)`")


def blocks(document: Path, language: str, heading: str = "") -> list[str]:
    """Return the fenced blocks of a language below a heading, up to the next heading of its rank."""
    text = document.read_text(encoding="utf-8")
    if heading:
        rank = heading.partition(" ")[0]
        _, found, below = text.partition(f"\n{heading}\n")
        assert found, f"{document.name} has no heading {heading}"
        text = below.partition(f"\n{rank} ")[0]
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def commands(document: Path) -> set[str]:
    """Return every command that the document tells a reader to run, without comments."""
    text = document.read_text(encoding="utf-8")
    fenced = [line for block in blocks(document, "sh") for line in block.splitlines()]
    inline = _INLINE.findall(_FENCE.sub("", text))
    words = [part for line in (*fenced, *inline) for part in re.sub(r"\s+#.*", "", line).split(" && ")]
    return {word.removeprefix(".venv/bin/") for word in words if word and not word.startswith("cd ")}
