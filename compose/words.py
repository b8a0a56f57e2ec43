"""Values in Compose's forms: pairs, and what a stack file takes as they are."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from compose.outcome import Draft, Outcome, Text, is_tainted
from topology.compose_words import WORDS
from topology.model import Container

_SHAPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        ("environment", "labels", "sysctls", "depends_on", "networks", "extra_hosts"), (dict, list)
    ),
    **dict.fromkeys(("healthcheck", "deploy", "ulimits"), (dict,)),
    **dict.fromkeys(
        ("ports", "volumes", "secrets", "configs", "expose", "cap_add", "devices", "links"), (list,)
    ),
    **dict.fromkeys(("profiles", "security_opt"), (list,)),
    **dict.fromkeys(("command", "entrypoint", "env_file", "tmpfs", "dns"), (str, list)),
    **dict.fromkeys(("image", "network_mode", "container_name", "hostname", "pid", "ipc"), (str,)),
}
"""Key -> forms that Compose takes; nothing is read from another, so it must not be skipped."""
_FIELDS: Final = Container.model_fields


def misshapen(service: dict[str, Any]) -> str | None:
    """Return the first key whose value has none of Compose's forms; None where all have one."""
    return next(
        (
            key
            for key, shapes in _SHAPES.items()
            if service.get(key) is not None and not isinstance(service[key], shapes)
        ),
        None,
    )


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
