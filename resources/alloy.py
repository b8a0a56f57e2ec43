"""Alloy's configuration, said in Promtail's words: which files it reads, where it sends, what it shows there.

Owns as much of Alloy's language as a shipper of log files needs: blocks, and values that are written out. It
judges nothing. What a reader would get wrong: Alloy has a component for nearly every way to send and fetch,
and computes any value from others, so whatever is not known here is refused, not passed over.
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
"""What a block says, in order; a block in it is a body as well, and no other value is a tuple."""


def documents(text: str) -> dict[str, Any]:
    """Return `clients` and `scrape_configs` as Promtail has them; raises ValueError for what is not known."""
    clients, groups = [], []
    for component, body in _Reader(text).body(_END):
        for key, value in _block(component, body, _KNOWN.get(component, frozenset())):
            if key == "endpoint":
                clients.append(_client(value))
            elif key in {"targets", "path_targets"} and isinstance(value, list):
                groups += [{"targets": [], "labels": each} for each in value]
    return {"clients": clients, "scrape_configs": [{"static_configs": groups}]}


def _client(endpoint: Any) -> dict[str, Any]:
    told = dict(_block("endpoint", endpoint, _ENDPOINT))
    tls = dict(_block("tls_config", told.get("tls_config", ()), _TLS))
    if tls.get("min_version") in _CURRENT:
        del tls["min_version"]
    return {"url": told.get("url"), "tls_config": tls}


def _block(name: str, body: Any, known: frozenset[str]) -> Body:
    """Its statements, each of them known, as the block itself is."""
    if not known or not isinstance(body, tuple):
        raise ValueError(f"{name} is not understood")
    for key in (key for key, _ in body if key not in known):
        raise ValueError(f"{name}: {key} is not understood")
    return body


def _not_understood(word: str) -> ValueError:
    """Text may be a secret, so it is not repeated."""
    shown = "a text" if word.startswith('"') else word or "its end"
    return ValueError(f"{shown} is not understood")


class _Reader:
    """One word after another; a reference to another component is a value that is its name."""

    def __init__(self, text: str) -> None:
        self._words = [*_words(text), _END]

    def _next(self, *expected: str) -> str:
        word = self._words.pop(0)
        if expected and word not in expected:
            raise _not_understood(word)
        return word

    def body(self, end: str) -> Body:
        """Statements up to a closing brace, or to the end of the text."""
        said: list[tuple[str, Any]] = []
        while (name := self._next()) != end:
            if not re.match(r"[a-z]", name):
                raise _not_understood(name)
            if self._words[0].startswith('"'):
                self._next()
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
