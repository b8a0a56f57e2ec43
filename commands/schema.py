"""Write the JSON Schemas in docs/ from the model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from topology.project import PROJECT
from topology.schema import FILES, text


def main(words: Sequence[str]) -> int:
    """Write both files; returns the exit status."""
    argparse.ArgumentParser(prog="python -m commands schema", description=__doc__).parse_args(words)
    for name, make in FILES.items():
        (PROJECT / "docs" / name).write_text(text(make()), encoding="utf-8")
    return 0
