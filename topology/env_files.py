"""Reads files with variables (`env_file`) as Compose does; what Compose would replace is refused.

Note: every value is treated as a secret. A message names file and line, and never repeats what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from topology.model.services import Container
from topology.project import PROJECT

_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*", re.ASCII)
_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_PLAIN: Final = re.compile(r"[^\n]*")
_SINGLE: Final = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}
_VALUE: Final = "put the value in single quotes, in which nothing is replaced"


class EnvFileError(Exception):
    """A file with variables that cannot be read, as `path: fault; remedy`."""


def variables(service: Container) -> dict[str, str]:
    """Return the variables of a container's files, a later file's first; raises EnvFileError.

    Those of `environment` are left out, as Compose does. A relative path starts at the project's folder.
    """
    found: dict[str, str] = {}
    for place, file in enumerate(service.env_file):
        found |= dict(_read(f"services.{service.name}.env_file[{place}]", file))
    return {name: text for name, text in found.items() if name not in service.environment}


def _read(path: str, file: str) -> Iterator[tuple[str, str]]:
    called = file if file.isprintable() else ascii(file)
    try:
        text = (PROJECT / file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EnvFileError(
            f"{path}: {called} cannot be read ({error.strerror}); write it beside the stack file"
        ) from None
    except ValueError:
        raise EnvFileError(f"{path}: {called} is not UTF-8 text; save it as such") from None
    yield from _parsed(f"{path}: {called} line", text.replace("\r\n", "\n"))


def _parsed(before: str, text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        line = f"{before} {text.count(chr(10), 0, at) + 1}"
        name = _NAME.match(text, at)
        if not name:
            raise EnvFileError(f"{line} is not a variable; write it like NAME=value")
        value, at = _value(line, text, name.end())
        if "\0" in value:
            raise EnvFileError(f"{line} holds a NUL character; leave it out")
        yield name[1], value


def _value(before: str, text: str, at: int) -> tuple[str, int]:
    """Return a value and the place after its line."""
    for quote, pattern in (("'", _SINGLE), ('"', _DOUBLE)):
        if text.startswith(quote, at):
            found = pattern.match(text, at)
            end = _BLANK.match(text, found.end()) if found else None
            if not found or not end:
                raise EnvFileError(f"{before} has a quote that does not end; end it on its own")
            inner = found[1].replace("\\'", "'") if quote == "'" else _unescaped(before, found[1])
            return inner, end.end()
    plain = _PLAIN.match(text, at)
    assert plain  # noqa: S101  # it matches an empty text, too
    value = re.split(r"(?:^|[ \t])#", plain[0])[0].strip()
    if plain[0].startswith("#") or "$" in value or value[:1] in {"'", '"', "`"}:
        raise EnvFileError(f"{before} has a value that Compose would change; {_VALUE}")
    return value, plain.end() + 1


def _unescaped(before: str, text: str) -> str:
    if re.search(r"(?<!\\)(\\\\)*\$", text) or re.search(rf"\\[^{re.escape(''.join(_ESCAPES))}]", text):
        raise EnvFileError(f"{before} has a value that Compose would change; {_VALUE}")
    return re.sub(r"\\(.)", lambda found: _ESCAPES[found[1]], text, flags=re.DOTALL)


def faults(services: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each container whose files cannot be read."""
    for service in services.values():
        if isinstance(service, Container):
            try:
                variables(service)
            except EnvFileError as error:
                yield f"{error}."
