"""Translates Alloy's configuration to Promtail's: which files it reads, and where it sends them.

Only blocks and literal values of components that ship log files are supported. Everything else raises an
error, because most Alloy components send or fetch data, and any value may be computed from others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_WORD: Final = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | (?P<word> "(?:[^"\\\n]|\\.)*" | -?\d+(?:\.\d+)? | [\w.]+ | [][{}=,] )""",
    re.VERBOSE | re.DOTALL,
)
_END: Final = ""
_LABEL: Final = re.compile(r'"[A-Za-z_][A-Za-z0-9_]*"')
_KNOWN: Final = {
    "logging": frozenset({"format", "level"}),
    "local.file_match": frozenset({"path_targets", "sync_period"}),
    "loki.source.file": frozenset(
        {"file_match", "forward_to", "legacy_positions_file", "tail_from_end", "targets"}
    ),
    "loki.process": frozenset(
        {"forward_to", "stage.docker", "stage.json", "stage.label_drop", "stage.labels"}
    ),
    "loki.write": frozenset({"endpoint"}),
}
_ENDPOINT: Final = frozenset({"tls_config", "url"})
_TLS: Final = frozenset(
    {"ca_file", "cert_file", "insecure_skip_verify", "key_file", "min_version", "server_name"}
)
_CURRENT: Final = frozenset({"TLS12", "TLS13"})

Body = tuple[tuple[str, Any], ...]
"""Keys and values of a block in order; nested blocks are the only tuples among the values."""


def documents(text: str) -> dict[str, Any]:
    """Return `clients` and `scrape_configs` in Promtail's form; raises ValueError for unsupported syntax."""
    clients, groups = [], []
    try:
        blocks = _Reader(text).body(_END)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    for component, body in blocks:
        for key, value in _block(component, body, _KNOWN.get(component, frozenset())):
            if key == "endpoint":
                clients.append(_client(value))
            elif key in {"targets", "path_targets"} and isinstance(value, list):
                groups += [{"targets": [], "labels": each} for each in value]
    return {"clients": clients, "scrape_configs": [{"static_configs": groups}]}


def _client(endpoint: Any) -> dict[str, Any]:
    told = dict(_block("endpoint", endpoint, _ENDPOINT))
    tls = dict(_block("tls_config", told.get("tls_config", ()), _TLS))
    if str(tls.get("min_version")) in _CURRENT:
        del tls["min_version"]
    return {"url": told.get("url"), "tls_config": tls}


def _block(name: str, body: Any, known: frozenset[str]) -> Body:
    """Return the statements of a block; raises ValueError if the block or a statement is not in `known`."""
    if not known or not isinstance(body, tuple):
        raise ValueError(f"{name} is not understood")
    for key in (key for key, _ in body if key not in known):
        raise ValueError(f"{name}: {key} is not understood")
    return body


def _not_understood(word: str) -> ValueError:
    """Return an error that names a word, but not a string: a string may be a secret."""
    shown = "a text" if word.startswith('"') else word or "its end"
    return ValueError(f"{shown} is not understood")


class _Reader:
    """Parser for Alloy's syntax; a reference to another component becomes the component's name."""

    def __init__(self, text: str) -> None:
        self._words = [*_words(text), _END]

    def _next(self, *expected: str) -> str:
        word = self._words.pop(0)
        if expected and word not in expected:
            raise _not_understood(word)
        return word

    def body(self, end: str) -> Body:
        """Return the statements up to a closing brace, or to the end of the text."""
        said: list[tuple[str, Any]] = []
        while (name := self._next()) != end:
            if not re.match(r"[a-z]", name):
                raise _not_understood(name)
            if self._words[0].startswith('"') and not _LABEL.fullmatch(label := self._next()):
                raise _not_understood(label)
            said.append((name, self._value() if self._next("=", "{") == "=" else self.body("}")))
        return tuple(said)

    def _value(self) -> Any:
        word = self._next()
        if word == "[":
            return [self._value() for _ in self._items("]")]
        if word == "{":
            return {self._key(): self._value() for _ in self._items("}")}
        if word in {"true", "false"} or word.startswith('"') or re.match(r"-?\d", word):
            return json.loads(word)
        if re.fullmatch(r"[a-z][\w.]*", word):
            return word
        raise _not_understood(word)

    def _key(self) -> str:
        key = self._next()
        self._next("=")
        return str(json.loads(key)) if key.startswith('"') else key

    def _items(self, end: str) -> Iterator[None]:
        while self._words[0] != end:
            yield
            if self._words[0] != end:
                self._next(",")
        self._next(end)


def _words(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        if (match := _WORD.match(text, at)) is None:
            raise _not_understood(text[at])
        at = match.end()
        if match["word"]:
            yield match["word"]
