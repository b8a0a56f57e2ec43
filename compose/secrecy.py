"""Which variables may hold a secret. In doubt one does: the price is a command, not a leak."""

from __future__ import annotations

import re
from typing import Final

from compose.outcome import is_tainted

_NAMES: Final = re.compile(
    r"pass(?!ive|enger|through)|pwd|secret|token|credential|(?<![a-z])key(?![a-z])"
    r"|(api|app|auth|private|encryption|access|license|master)_?keys?|keys?$|salt|pepper|jwt|dsn|webhook|_auth$|^auth$",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"\w://[^/\s@]*@")
_PASSWORD: Final = re.compile(r"\w://[^/\s:@]*:([^/\s@]+)@")
_SHAPES: Final = re.compile(
    r"\$2[abxy]\$|\$argon2|-----BEGIN|\b[0-9a-fA-F]{32,}\b|[A-Za-z0-9+/]{40,}={0,2}$|\beyJ[\w-]{10,}"
)
_FILES: Final = re.compile(r"_(FILE|PATH|DIR)$", re.IGNORECASE)
_ARGUMENT: Final = re.compile(r"--?([\w.-]+)(?:[= ]|$)")


def names_secret(name: str) -> bool:
    """Whether a variable's name says that it holds a secret."""
    return bool(_NAMES.search(name))


def is_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret, by its name, its shape, or what it is made of."""
    if is_tainted(value) or _LOGIN.search(value) or _SHAPES.search(value):
        return True
    if not names_secret(name) or value.lower() in {"true", "false"}:
        return False
    return not (_FILES.search(name) and value.startswith("/"))


def in_words(words: list[str]) -> bool:
    """Whether the words of a command hold a secret: a tainted word, a login, or an argument so named.

    `$NAME`, which the container's own shell replaces, is none.
    """
    before = ""
    for word in words:
        if is_tainted(word) or _LOGIN.search(word) or _SHAPES.search(word):
            return True
        for part in word.split():
            name, given, value = part.partition("=")
            follows = before and not part.startswith("-") and not part.startswith("$")
            if follows or (given and value and not value.startswith(("$", "/")) and names_secret(name)):
                return True
            match = _ARGUMENT.fullmatch(part)
            before = part if match and names_secret(match[1]) else ""
    return False


def parts(value: str) -> tuple[str, ...]:
    """Return a secret's text, and the passwords of the URLs in it."""
    return (value, *_PASSWORD.findall(value))
