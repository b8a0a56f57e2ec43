"""One fault in the configuration, and the error that carries all faults.

Note: a message repeats a value only where the value can't be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

_SHOWN: Final = 60
"""Maximum length of a repeated value; a longer or multi-line one may be a pasted secret."""


@dataclass(frozen=True)
class Fault:
    """A fault and its remedy at a path, which has the form that `pulumi config set --path` takes.

    `place` is the file and line, empty for values that came from no file.
    """

    path: str
    fault: str
    remedy: str
    place: str = ""

    def located(self, place: str) -> Fault:
        """Return the fault with its file and line."""
        return replace(self, place=place)

    def __str__(self) -> str:
        return f"{f'{self.place}: ' if self.place else ''}{self.path}: {self.fault}; {self.remedy}."


class ConfigError(Exception):
    """A rejected configuration; the text lists every fault, one a line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def shown(raw: object) -> str:
    """Return a value in the form that a message may repeat: short and on one line, else its kind only."""
    if isinstance(raw, dict):
        return "a mapping"
    if isinstance(raw, list) and raw:
        return "a list"
    text = json.dumps(raw)
    return (
        "an empty value"
        if raw is None
        else text
        if len(text) <= _SHOWN and "\\n" not in text
        else "this text"
    )


def at(path: str, key: str) -> str:
    """Return the path of a key below a path."""
    if not re.fullmatch(r"[\w-]+", key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`; None where none is close."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)
