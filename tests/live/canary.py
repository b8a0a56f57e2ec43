"""Searches output for secrets: in plain text, in base64, or as part of an address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote


def sightings(secrets: Mapping[str, str], shown: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return which secret is seen in which place; every place must contain something."""
    assert [where for where, text in shown.items() if not text] == []
    return [
        (where, what)
        for what, secret in secrets.items()
        for where, text in shown.items()
        if any(form in text for form in _forms(secret))
    ]


def files(folders: Iterable[Path]) -> dict[str, str]:
    """Return every non-empty file of the folders, by its path."""
    return {
        str(file): file.read_text(errors="replace")
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and file.stat().st_size
    }


def _forms(secret: str) -> set[str]:
    """Return the secret's forms; base64 has three, by the bytes before it, without the ends that vary."""
    encoded = {
        b64encode(b" " * before + secret.encode())[4 if before else 0 : -4].decode() for before in range(3)
    }
    return {secret, quote(secret, safe=""), *encoded}
