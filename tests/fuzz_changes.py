"""Random changes of a tree or a text, by which `tests.fuzz` breaks sound inputs."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 65536, 99999, 10**30, 1e308, float("inf"), float("nan")),
    *("", " ", "yes", "~", "²", "٣", "0b_", "2024-02-30", "a\0b", "x" * 10_000, "{{ x }}", "$X", "\u202e"),
    *(":0", ":80443", ":²", "[::1]:80", "127.0.0.1:80", ":80/sctp", "0.0.0.0:53/udp"),
    *("http://[x", "http://x:99999", "http://x:0", "ssh://[", "//", "https://u:p@x", "unix://", "http://²:1"),
    *("0.0.0.0/0", "10.0.0.1-10.0.0.0", "::/0", "dc/", "+dc/x", "+", "guest/x", "1:99999", "99999:1", "a,²"),
    *("2-99999999", "2-1", "-", "1;2;²", "trunk.²", "trunk.", "container:", "container:x", "x" * 64),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": []}}, [1, "a", None], {"secure": "x"}, {"x": 5}),
)
"""Values of wrong kinds, out of bounds, and of forms that a parser may stumble over."""
SNIPPETS = (
    *("{{ x }}", "? [a]: b\n", "? {a: b}\n: c\n", "---\n", "!x y", "!!binary aGk=", "&a [*a]", "*a", "\t"),
    *(
        "- ",
        ": ",
        "{",
        "[",
        "}",
        "]",
        "'",
        '"',
        "|",
        ">",
        "#",
        "%",
        "@",
        "`",
        "\n",
        "\r",
        "\x85",
        "\u2028",
        "=",
    ),
    *("1: x\n", "~: x\n", "yes: x\n", "2024-02-30", "0b_", "0o9", "1_000", "190:20:30", "1e400", ".nan"),
    *("\0", "<<: x", "[" * 200, "- " * 200, "{a: " * 200),
)
"""Pieces that change what YAML or JSON mean at a place."""
KEYS = ("", "²", "name", 5, None, True)


def changed(draw: random.Random, tree: Any) -> Any:
    """Return a copy of a tree with one to three changes."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = [*_places(tree)]
        if places:
            _change(draw, *draw.choice(places))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in [*items]:
        yield tree, key
        yield from _places(inner)


def _change(draw: random.Random, at: Any, key: Any) -> None:
    match draw.randrange(6):
        case 0:
            del at[key]
        case 1 if isinstance(at, dict):
            at[draw.choice((str(key).upper(), f"{key}x", *KEYS))] = at.pop(key)
        case 2:
            at[key] = draw.choice(([at[key]], {"x": at[key]}, [at[key], at[key]]))
        case 3 if isinstance(at[key], str):
            at[key] = spoiled(draw, at[key])
        case _:
            at[key] = copy.deepcopy(draw.choice(VALUES))


def spoiled(draw: random.Random, text: str) -> str:
    """Return a text with a piece put in, cut out, or written twice."""
    start = draw.randint(0, len(text))
    end = min(len(text), start + draw.choice((0, 0, 1, 5, 50)))
    piece = draw.choice((*SNIPPETS, text[start:end] * 2, "", str(draw.choice(VALUES))))
    return text[:start] + piece + text[end:]
