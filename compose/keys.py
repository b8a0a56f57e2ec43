"""Puts configuration keys in place of secrets, and leaves out other values that repeat a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from compose.mounts import key_of
from compose.outcome import Draft, Noted, Outcome
from compose.secrecy import is_secret, parts
from compose.service import Secret

_LONG: Final = 8
"""Minimum length at which a text that occurs again counts as the same secret."""
_USERS: Final = re.compile(r"(USER|USERNAME|DB|DATABASE|NAME)$", re.IGNORECASE)


def keep(drafts: list[Draft], known: list[str], outcome: Outcome) -> list[str]:
    """Put a configuration key in place of each secret, the same for the same text; returns what to hide.

    `known` are the secrets of the environment file.
    """
    keys: dict[str, str] = {}
    texts = [part for text in known for part in parts(text)]
    for draft, variable, value in _secrets(drafts):
        texts += parts(value.text)
        key = keys.get(value.text) or key_of(draft.name, variable)
        if value.text:
            keys[value.text] = key
        _put(draft, variable, key, outcome)
    for draft in drafts:  # what files with variables hold, too
        texts += [
            part for _, name, text in draft.texts if name and is_secret(name, text) for part in parts(text)
        ]
    common = _common(drafts)
    hidden = [text for text in dict.fromkeys(texts) if len(text) >= _LONG and not _is_in(text, common)]
    hidden.sort(key=len, reverse=True)
    for draft in drafts:
        _hide(draft, hidden, keys, outcome)
    return hidden


def _secrets(drafts: list[Draft]) -> Iterator[tuple[Draft, str, Secret]]:
    for draft in drafts:
        for variable, value in [*draft.keys.get("environment", {}).items()]:
            if isinstance(value, Secret):
                yield draft, variable, value


def _put(draft: Draft, variable: str, key: str, outcome: Outcome) -> None:
    outcome.secrets[key] = f"pulumi config set --secret {key}"
    draft.keys["environment"][variable] = {"secret": key}
    draft.held[key] = f"environment.{variable}"


def _common(drafts: list[Draft]) -> list[str]:
    """Return names of services, images, users and databases, which are no secrets, though some are both."""
    found = [text for draft in drafts for text in (draft.name, draft.image)]
    for draft in drafts:
        environment = draft.keys.get("environment", {})
        found += [text for name, text in environment.items() if isinstance(text, str) and _USERS.search(name)]
    return found


def _is_in(text: str, common: list[str]) -> bool:
    return any(text == each or text in re.split(r"[/:@-]", each) for each in common)


def _hide(draft: Draft, hidden: list[str], keys: dict[str, str], outcome: Outcome) -> None:
    for variable, value in [*draft.keys.get("environment", {}).items()]:
        if isinstance(value, str) and any(text in value for text in hidden):
            _put(draft, variable, keys.get(value) or key_of(draft.name, variable), outcome)
    for key in [key for key in draft.keys if key not in {"environment", "image"}]:
        text = json.dumps(plain(draft.keys[key]), ensure_ascii=False)
        if any(each in text for each in hidden):
            del draft.keys[key]
            remedy = "give the program the secret in a file or variable"
            outcome.refuse(f"services.{draft.name}.{key}", "repeats a secret", remedy)


def plain(value: Any) -> Any:
    """Return a value without its comments."""
    if isinstance(value, Noted):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
