"""Just enough of JSON Schema for the project's own schemas; a keyword that it does not know is an error."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from ipaddress import IPv4Address, IPv4Network
from typing import Any

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "null": type(None),
}
FORMATS: Mapping[str, Callable[[str], object]] = {
    "ipv4": IPv4Address,
    "ipv4network": IPv4Network,
    "date": date.fromisoformat,
}
NOTES = {"$schema", "$defs", "title", "description", "default"}


def faults(schema: Any, value: Any, root: Mapping[str, Any] | None = None, at: str = "") -> Iterator[str]:
    """Every place where a value does not fit, with the keyword that it breaks."""
    root = schema if root is None else root
    if schema is False:
        yield f"{at}: false"
        return
    for keyword in schema:
        yield from _broken(keyword, schema, value, root, at)


def fits(schema: Any, value: Any, root: Mapping[str, Any]) -> bool:
    """Whether a value has no fault."""
    return not any(faults(schema, value, root))


def _broken(  # noqa: C901, PLR0912  # a table of keywords
    keyword: str, schema: Mapping[str, Any], value: Any, root: Mapping[str, Any], at: str
) -> Iterator[str]:
    wanted, sound = schema[keyword], True
    match keyword:
        case "$ref":
            yield from faults(root["$defs"][wanted.removeprefix("#/$defs/")], value, root, at)
        case "type":
            sound = isinstance(value, TYPES[wanted]) and not (wanted == "integer" and isinstance(value, bool))
        case "properties" if isinstance(value, dict):
            for key in wanted.keys() & value.keys():
                yield from faults(wanted[key], value[key], root, f"{at}.{key}")
        case "additionalProperties" if isinstance(value, dict):
            for key in value.keys() - schema.get("properties", {}).keys():
                yield from faults(wanted, value[key], root, f"{at}.{key}")
        case "propertyNames" if isinstance(value, dict):
            for key in value:
                yield from faults(wanted, key, root, f"{at}.{key}")
        case "items" if isinstance(value, list):
            for index, item in enumerate(value):
                yield from faults(wanted, item, root, f"{at}[{index}]")
        case "required":
            sound = not isinstance(value, dict) or value.keys() >= set(wanted)
        case "anyOf":
            sound = any(fits(each, value, root) for each in wanted)
        case "not":
            sound = not fits(wanted, value, root)
        case "if":
            chosen = schema["then"] if fits(wanted, value, root) else schema["else"]
            yield from faults(chosen, value, root, at)
        case "enum" | "const":
            sound = value in (wanted if keyword == "enum" else [wanted])
        case "pattern":
            sound = not isinstance(value, str) or re.search(wanted, value) is not None
        case "format":
            sound = not isinstance(value, str) or _reads(FORMATS[wanted], value)
        case "minimum" | "maximum":
            sound = not isinstance(value, int) or (
                value >= wanted if keyword == "minimum" else value <= wanted
            )
        case "minLength" | "maxLength" | "minItems":
            sound = not isinstance(value, str | list) or (
                len(value) <= wanted if keyword == "maxLength" else len(value) >= wanted
            )
        case "properties" | "additionalProperties" | "propertyNames" | "items" | "then" | "else":
            pass  # of another kind of value, or told by `if`
        case _ if keyword not in NOTES:
            raise NotImplementedError(keyword)
    if not sound:
        yield f"{at}: {keyword}"


def _reads(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True
