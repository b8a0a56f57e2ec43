"""Checks of image references."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from topology.fault import Fault, shown
from topology.versions import software, version, written

_PATH = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"

IMAGE: Final = re.compile(
    rf"(?:[a-z0-9.-]+(?::\d+)?/)?{_PATH}(?:/{_PATH})*(?::(?P<tag>\w[\w.-]{{0,127}}))?(?P<digest>@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
"""An image reference, after the grammar of the distribution project's `reference` package."""


OLDEST_TRAEFIK: Final = (3, 7, 12)
"""The first version that knows `aliasHeadersStrategy`; an older one refuses the ingress's configuration."""


def traefik(path: str, image: str) -> Iterator[Fault]:
    """Check that Traefik knows the settings that the project writes for it."""
    given = version(image)
    if "traefik" in software(image) and given and given < OLDEST_TRAEFIK:
        yield Fault(
            path,
            f"Traefik {written(given)} does not know aliasHeadersStrategy, so it would not start",
            f"use {written(OLDEST_TRAEFIK)} or newer",
        )


def image(path: str, image: str) -> Iterator[Fault]:
    """Check that an image reference is valid and pinned to a version or a digest."""
    if (match := IMAGE.fullmatch(image)) is None:
        yield Fault(path, f"{shown(image)} is not an image reference", "write it like grafana/grafana:12.1.0")
    elif match["digest"] is None and match["tag"] in (None, "latest"):
        yield Fault(path, f"{shown(image)} names no version", "pin one, or a digest")
