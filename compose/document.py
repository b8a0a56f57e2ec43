"""Reads a Compose file as Compose does: YAML with anchors and merges, and variables from `.env` beside it.

Variables of the shell are not read, so the result follows from the files alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from compose.outcome import ComposeError, Text
from compose.secrecy import names_secret
from topology.fast_yaml import Loader

_MOST: Final = 100_000
"""Values in one file; anchors that multiply are ended here."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$", re.ASCII)
_DEEPEST: Final = 20


class _Loader(Loader):
    """YAML as Compose reads it: `yes` and `22:22` are texts, and a key stands once."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  # PyYAML's own form

    def construct_mapping(self, node: Any, deep: bool = True) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not text", problem_mark=key.start_mark)
            if key.value in seen and key.tag != _MERGE:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is written twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_MERGE: Final = "tag:yaml.org,2002:merge"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?[0-9]*\.[0-9]+", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _integer(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return a Compose file's keys with variables replaced, notes, and secrets; raises ComposeError."""
    text = _text(path)
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ComposeError(f"{path}:{line}: {error.problem}; correct the YAML there.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ComposeError(f"{path}:1: is not YAML, or nested too deeply; correct it.") from None
    if not isinstance(document, dict) or not isinstance(document.get("services"), dict):
        raise ComposeError(f"{path}:1: has no mapping services; name a Compose file.")
    beside = path.parent / ".env"
    variables = env_file(beside) if beside.is_file() else {}
    replace = _Replacement(path, variables)
    try:
        whole = replace.all_of({k: v for k, v in document.items() if not str(k).startswith("x-")}, "")
    except RecursionError:
        raise ComposeError(f"{path}:1: is nested too deeply; write it as plain YAML.") from None
    for name, service in whole["services"].items():
        if not isinstance(service, dict):
            raise ComposeError(f"{path}:{_line(text, name)}: services.{name} is no mapping; correct it.")
    return whole, replace.notes, [text for text in variables.values() if text.secret]


def env_file(path: Path) -> dict[str, Text]:
    """Return the variables of an environment file; raises ComposeError. A text may be a secret."""
    found: dict[str, Text] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ComposeError(f"{path}:{number}: is not a variable; write it like NAME=value.")
        name, value = match.groups()
        if value[:1] in {"'", '"'}:
            end = value.find(value[0], 1)
            if end < 0:
                raise ComposeError(f"{path}:{number}: has a quote that does not end; end it on its line.")
            plain = value[1:end]
        else:
            plain = re.split(r"(?:^|\s)#", value)[0].rstrip()
        if value[:1] != "'":
            replaced = _Replacement(path, found).text(plain, f"line {number}")
            found[name] = Text(replaced, secret=replaced.secret or names_secret(name))
        else:
            found[name] = Text(plain, secret=names_secret(name))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ComposeError(f"{path}: cannot be read ({error.strerror}); name a Compose file.") from None
    except ValueError:
        raise ComposeError(f"{path}:1: is not UTF-8 text; save it as such.") from None


def where(path: Path, name: str) -> str:
    """Return a file with the line of one of its keys."""
    return f"{path}:{_line(_text(path), name)}"


def _line(text: str, name: str) -> int:
    """Return the line of a key, as near as a search finds it."""
    found = re.search(rf"^\s+[\"']?{re.escape(name)}[\"']?\s*:", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


class _Replacement:
    """Replaces variables in every value as Compose does."""

    def __init__(self, path: Path, variables: Mapping[str, Text]) -> None:
        self._path, self._variables = path, variables
        self._count = 0
        self.notes: list[str] = []

    def all_of(self, value: Any, place: str) -> Any:
        """Return a value with each text replaced; raises ComposeError."""
        self._count += 1
        if self._count > _MOST:
            raise ComposeError(f"{self._path}:1: has too many values; write the anchors out.")
        if isinstance(value, dict):
            return {str(k): self.all_of(each, f"{place}.{k}".lstrip(".")) for k, each in value.items()}
        if isinstance(value, list):
            return [self.all_of(each, f"{place}[{index}]") for index, each in enumerate(value)]
        return self.text(value, place) if isinstance(value, str) else value

    def text(self, text: str, place: str, depth: int = 0) -> Text:
        """Return a text with its variables replaced; raises ComposeError."""
        if depth > _DEEPEST:
            raise ComposeError(f"{self._path}: {place} is nested too deeply; write it out.")
        made, secret, at = "", False, 0
        while at < len(text):
            dollar = text.find("$", at)
            if dollar < 0:
                made += text[at:]
                break
            made += text[at:dollar]
            at = dollar + 1
            if text.startswith("$", at):
                made, at = made + "$", at + 1
            elif text.startswith("{", at):
                end = self._end(text, at, place)
                inner = self._braced(text[at + 1 : end], place, depth)
                made, secret, at = made + inner, secret or inner.secret, end + 1
            elif name := _NAME.match(text, at):
                inner = self._value(name[0], place)
                made, secret, at = made + inner, secret or inner.secret, name.end()
            else:
                raise ComposeError(f"{self._path}: {place} has a dollar sign alone; write $$ for it.")
        return Text(made, secret=secret)

    def _end(self, text: str, at: int, place: str) -> int:
        level = 0
        for index in range(at, len(text)):
            level += (text[index] == "{") - (text[index] == "}")
            if not level:
                return index
        raise ComposeError(f"{self._path}: {place} has a variable that does not end; write a brace.")

    def _braced(self, inside: str, place: str, depth: int) -> Text:
        name = _NAME.match(inside)
        if not name:
            raise ComposeError(f"{self._path}: {place} has no name in braces; write it like ${{NAME}}.")
        rest = inside[name.end() :]
        if not rest:
            return self._value(name[0], place)
        sign = re.match(r":?[-+?]", rest)
        if not sign:
            raise ComposeError(
                f"{self._path}: {place} has a variable that Compose does not know; correct it."
            )
        given = self._variables.get(name[0])
        is_there = given is not None and (given != "" or ":" not in sign[0])
        other, secret = rest[sign.end() :], names_secret(name[0])
        if sign[0][-1] == "+":
            made = self.text(other, place, depth + 1) if is_there else Text("")
            return Text(made, secret=secret or made.secret)
        if is_there:
            return self._value(name[0], place)
        if sign[0][-1] == "?":
            if not secret:
                raise ComposeError(
                    f"{self._path}: {place} needs {name[0]}; write it into .env beside the file."
                )
            return Text("", secret=True)
        made = self.text(other, place, depth + 1)
        return Text(made, secret=secret or made.secret)

    def _value(self, name: str, place: str) -> Text:
        given = self._variables.get(name)
        if given is None and not names_secret(name):
            self.notes.append(f"{place}: {name} is not in .env, so it is empty, as in Compose")
        return Text(given or "", secret=names_secret(name) or bool(given and given.secret))
