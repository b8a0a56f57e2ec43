"""One mistake in the configuration, and the error that carries all of them.

Owns the form of a complaint; which mistakes there are is `topology.config`'s and `topology.checks`'s. What a
reader would get wrong: a message may repeat a value only where nobody keeps a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

_SHOWN: Final = 60
"""Longest text that a message repeats; what is longer, or has lines, may be a pasted secret."""


@dataclass(frozen=True)
class Fault:
    """Where, what, and what to do about it. `path` is what `pulumi config set --path` takes."""

    path: str
    fault: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}."


class ConfigError(Exception):
    """The configuration is refused; its text is every fault, a line each."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def shown(raw: object) -> str:
    """A value as a message may repeat it: short and on one line, or only what kind of thing it is."""
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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody who wrote `name` most likely meant."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)
