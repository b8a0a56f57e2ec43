"""Values in Compose's forms: pairs, and what a stack file takes as they are."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from compose.outcome import Draft, Outcome, Text, is_tainted
from topology.compose_words import WORDS
from topology.model import Container

_FIELDS: Final = Container.model_fields


def pairs(value: Any) -> dict[str, Any]:
    """Return a mapping, or a list of `name=text`, as a mapping; a name without text is None."""
    if isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for item in value if isinstance(value, list) else ():
        name, equals, _ = str(item).partition("=")
        text = str(item)[len(name) + 1 :]
        found[name] = Text(text, secret=is_tainted(item))
        if not equals:
            found[name] = None
    return found


def if_valid(draft: Draft, key: str, value: Any, outcome: Outcome) -> None:
    """Take a value if the stack file takes it, dollar signs aside; refuse it otherwise."""
    try:
        TypeAdapter(_FIELDS[key].rebuild_annotation()).validate_python(escaped(value))
    except ValueError:
        told, remedy = WORDS.get(f".{key}", ("a value that is taken", "leave it out"))
        outcome.refuse(f"services.{draft.name}.{key}", f"is not {told}", remedy)
    else:
        draft.keys[key] = value


def escaped(value: Any) -> Any:
    """Return a value with `$` as `$$`, which is a dollar sign in a stack file."""
    if isinstance(value, dict):
        return {key: escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [escaped(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
