"""Values of a stack file as the lines of its YAML, each with its comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from compose import links
from compose.keys import plain
from compose.outcome import Draft, Noted
from compose.words import escaped

_ORDER: Final = (
    *(
        "zones",
        "image",
        "ports",
        "host",
        "aliases",
        "pages",
        "paths",
        "strip-paths",
        "login",
        "forward-auth",
        "streams",
        "user",
        "memory",
        "cpus",
        "environment",
        "env_file",
    ),
    *("secrets", "files", "volumes", "tmpfs", "command", "entrypoint", "healthcheck", "depends_on"),
)
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?:[:@][A-Za-z0-9_./-]+)*", re.ASCII)
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_WIDE: Final = 100


def keys_of(draft: Draft, drafts: list[Draft]) -> dict[str, Any]:
    """Return a service's keys in the order in which they are printed."""
    keys: dict[str, Any] = {"zones": draft.zones, **draft.keys}
    if draft.ports:
        keys["ports"] = [
            int(port.removesuffix("/tcp")) if port.endswith("/tcp") else port for port in draft.ports
        ]
    if draft.pages:
        keys["pages"] = draft.pages
    if draft.streams:
        keys["streams"] = [
            Noted(f"{entry.partition('/')[0]}:{own.removesuffix('/tcp')}", told(certain, why))
            for entry, own, certain, why in draft.streams
        ]
    if "environment" in keys:
        keys["environment"] = {
            name: links.renamed(value, drafts, name) if isinstance(value, str) else value
            for name, value in keys["environment"].items()
        }
    for key in ("environment", "command", "entrypoint", "healthcheck", "labels"):
        if key in keys:
            keys[key] = escaped(keys[key])
    if "files" in keys:
        keys["files"] = dict(keys["files"])
    return {
        key: keys[key] for key in sorted(keys, key=lambda key: _ORDER.index(key) if key in _ORDER else 99)
    }


def told(is_certain: bool, why: str) -> str:  # as it stands in a draft
    """Return the comment behind a line."""
    return f"{'certain' if is_certain else 'guessed'}: {why}"


def entry(key: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of one key; a short value is on its line, a mapping below it."""
    comment = f" # {value.comment}" if isinstance(value, Noted) else ""
    inner = value.value if isinstance(value, Noted) else value
    before = f"{' ' * indent}{text(key)}:"
    has_notes = isinstance(inner, list | dict) and any(
        isinstance(each, Noted) for each in (inner.values() if isinstance(inner, dict) else inner)
    )
    short = "" if has_notes else flow(inner)
    is_long = len(before) + len(short) > _WIDE
    if isinstance(inner, dict) and (key in {"environment", "secrets"} or has_notes or is_long):
        yield before + comment
        for name, each in inner.items():
            yield from entry(name, each, indent + 2)
    elif isinstance(inner, list) and (has_notes or is_long):
        yield before + comment
        for each in inner:
            note = f" # {each.comment}" if isinstance(each, Noted) else ""
            yield f"{' ' * (indent + 2)}- {flow(plain(each))}{note}"
    else:
        yield f"{before} {short}{comment}"


def flow(value: Any) -> str:
    """Return a value in YAML's flow style, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(str(key))}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else text(str(value))


def text(given: str) -> str:
    """Return a text as YAML that every parser reads as a text."""
    if _PLAIN.fullmatch(given) and given.lower() not in _WORDS:
        return given
    return json.dumps(given, ensure_ascii=False)
