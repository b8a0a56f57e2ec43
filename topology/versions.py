"""Versions in the tags of image references."""

from __future__ import annotations

import re
from typing import Final

Version = tuple[int, int, int]

_TAG: Final = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(-?(?:rc|alpha[.]?\d|beta|ea)[\d.-]*)?", re.ASCII)


def software(image: str) -> str:
    """Return the last part of an image's name, without tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def version(image: str) -> Version | None:
    """Return the version that an image's tag names; None where it names none.

    A part that is left out, as in `v3.7`, may be any, so it counts as 0. A pre-release is no version.
    """
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if (match := _TAG.match(tag)) is None or match[4]:
        return None
    major, minor, patch = (int(part or 0) for part in match.groups()[:3])
    return major, minor, patch


def written(given: Version) -> str:
    """Return a version as its publisher writes it."""
    return ".".join(map(str, given))
