"""Checks of image references."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from topology.fault import Fault, shown

_PATH = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"

IMAGE: Final = re.compile(
    rf"(?:[a-z0-9.-]+(?::\d+)?/)?{_PATH}(?:/{_PATH})*(?::(?P<tag>\w[\w.-]{{0,127}}))?(?P<digest>@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
"""An image reference, after the grammar of the distribution project's `reference` package."""


def image(path: str, image: str) -> Iterator[Fault]:
    """Check that an image reference is valid and pinned to a version or a digest."""
    if (match := IMAGE.fullmatch(image)) is None:
        yield Fault(path, f"{shown(image)} is not an image reference", "write it like grafana/grafana:12.1.0")
    elif match["digest"] is None and match["tag"] in (None, "latest"):
        yield Fault(path, f"{shown(image)} names no version", "pin one, or a digest")
