"""Reads a stack file as YAML, and finds the line of each path in it.

Note: a key that is written twice, or that YAML reads as a number, a date or a truth value, is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from topology.fast_yaml import Loader
from topology.fault import ConfigError, Fault, at, nearest
from topology.project import PROJECT

NAMESPACE: Final = "homelab-network"
EXAMPLES: Final = PROJECT / "examples" / "stacks"
_INDENTED: Final = ("is indented unlike the lines before it", "indent it like the entries beside it")
_TAB: Final = ("begins with a tab, or with a character that YAML keeps", "use spaces, or quote it")
_MENDED: Final = {
    "mapping values are not allowed": (
        "a colon stands where no key can be",
        "indent it or the line before it like its neighbours, or quote the text",
    ),
    "find expected ':'": ("is neither a key with a colon nor a list entry", "write it like key: value"),
    "expected key": _INDENTED,
    "expected <block end>": _INDENTED,
    "block collections": _INDENTED,
    "block sequence entries": ("a list entry stands where none can be", "put it on a line of its own"),
    "'\\t'": _TAB,
    "tab character": _TAB,
    "cannot start any token": _TAB,
    "expected ',' or ']'": ("a list is not closed", "write ] behind its last entry, and commas between"),
    "expected ',' or '}'": ("a mapping is not closed", "write } behind its last entry, and commas between"),
    "expected node content": ("ends before its value", "write it, and close its list or mapping"),
    "unexpected end of stream": ("a quote is not closed", "write the closing quote"),
    "alphabetic or numeric": ("a value begins with * or &, which YAML keeps", "quote it"),
    "undefined alias": ("an alias has no anchor above it", "write its anchor there, or quote the *"),
    "unknown escape character": ("has an unknown escape", "use single quotes"),
    "found another document": ("another document begins above", "keep one, and no --- before it"),
    "written twice": ("", "remove one of the two"),
    "is not text": ("", "write it in quotes"),
    "reads as a number": ("", "write it in quotes"),
}
"""Part of a parser's message -> what is wrong, empty where the message says it, and the remedy."""
_OPENED: Final = ("expected ',' or", "unexpected end of stream", "find expected ':'")
"""Parts of messages whose fault lies where the list, mapping or quote begins."""


def keys_of(path: Path) -> dict[str, Any]:
    """Return the keys of every namespace in `Pulumi.<stack>.yaml`; raises ConfigError."""
    document = read(path)
    if document is None:
        raise _refused(path, 0, "is empty", f"write config: and the {NAMESPACE}: keys below it")
    keys = [str(key) for key in document] if isinstance(document, dict) else []
    faults = [
        Fault(key, "stands beside config", "indent it below config") for key in keys if _is_ours(key)
    ] or [
        Fault(key, "is no part of a stack file", "write config")
        for key in keys
        if "config" not in keys and nearest(key, ["config"])
    ]
    if faults:
        raise located(ConfigError(faults), path, beside=True)
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise _refused(path, 0, "has no mapping config", f"put the {NAMESPACE}: keys below one")
    return config


def _is_ours(key: str) -> bool:
    return key.partition(":")[0] == NAMESPACE


def read(path: Path) -> Any:
    """Return a stack file's content; raises ConfigError with the line of the fault."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506  # a safe loader
    except OSError as error:
        raise _refused(path, 0, f"cannot be read ({error.strerror})", meant(path)) from None
    except yaml.MarkedYAMLError as error:
        raise _told(path, error) from None
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(10) + 1  # newlines before it
        raise _refused(path, number, "is not UTF-8 text", "correct it there") from None
    except yaml.reader.ReaderError as error:
        before = path.read_text(encoding="utf-8").partition(chr(error.character))[0]
        raise _refused(path, before.count("\n") + 1, "has a control character", "remove it") from None
    except RecursionError:
        raise _refused(path, 0, "is nested too deeply", "write it as plain YAML") from None
    except (yaml.YAMLError, ValueError):
        raise _refused(path, 0, "is not YAML", "correct it") from None


def meant(path: Path) -> str:
    """Return the remedy for a stack file that is not there: the nearest one, an example, or all."""
    known = sorted(file.name.split(".")[1] for file in path.parent.glob("Pulumi.*.yaml"))
    name = re.sub(r"^(Pulumi\.)+|(\.yaml)+$", "", path.name)
    example = EXAMPLES / f"Pulumi.{name}.yaml"
    if close := nearest(name.lower(), known):
        there = f"STACK={close}" if path.suffix == ".yaml" else path.with_name(f"Pulumi.{close}.yaml")
        return f"{there} is meant, or write the file"
    if example.is_file():
        return f"copy {example.relative_to(PROJECT)} to it first"
    return f"name one of {', '.join(known)}" if known else "name a stack file"


def located(error: ConfigError, path: Path, *, beside: bool = False) -> ConfigError:
    """Return the error with each fault's place in the file; `beside`: its paths begin beside config."""
    lines = _lines(path, beside=beside)
    return ConfigError(fault.located(f"{path.name}:{_line(lines, fault.path)}") for fault in error.faults)


def _refused(path: Path, line: int, fault: str, remedy: str) -> ConfigError:
    name = path.name or str(path)
    return ConfigError([Fault(f"{name}:{line}" if line else name, fault, remedy)])


def _told(path: Path, error: yaml.MarkedYAMLError) -> ConfigError:
    problem = str(error.problem)
    opened = any(part in problem for part in _OPENED)
    mark = (opened and error.context_mark) or error.problem_mark or error.context_mark
    known = (mended for part, mended in _MENDED.items() if part in problem)
    fault, remedy = next(known, ("", "correct the YAML there"))
    lines = path.read_text(encoding="utf-8").splitlines()[mark.line : mark.line + 1] if mark else []
    if "".join(lines).startswith(("<<<<<<<", "=======", ">>>>>>>")):
        fault, remedy = "is a mark of a merge", "keep one of the two sides, without the marks"
    return _refused(path, mark.line + 1 if mark else 0, fault or problem, remedy)


def _lines(path: Path, *, beside: bool) -> dict[str, int]:
    """Return path -> line of everything below the namespace's keys, or of the file's own keys."""
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=Loader)
    found: dict[str, int] = {"": 1}
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if beside:
            found[str(key.value)] = key.start_mark.line + 1
        elif key.value == "config" and isinstance(value, yaml.MappingNode):
            found[""] = key.start_mark.line + 1
            for name, node in value.value:
                namespace, _, own = str(name.value).partition(":")
                found[str(name.value)] = name.start_mark.line + 1
                if namespace == NAMESPACE or not own:
                    inner = at("", own or namespace)
                    found[inner] = name.start_mark.line + 1
                    _walk(node, inner, found, set())
    return found


def _walk(node: yaml.Node, path: str, found: dict[str, int], seen: set[int]) -> None:
    """Note the line of each part of a node; a part that aliases share is walked once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = at(path, str(key.value))
            found[inner] = key.start_mark.line + 1
            _walk(value, inner, found, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[f"{path}[{index}]"] = value.start_mark.line + 1
            _walk(value, f"{path}[{index}]", found, seen)


def _line(lines: dict[str, int], path: str) -> int:
    """Return the line of a path, or of the nearest part around it that is written."""
    while path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines[path]


class _UniqueKeys(Loader):
    """YAML loader that rejects duplicate keys, of which YAML would silently keep the last, and keys that are
    no text, which the engine reads in another way. An unusable value is told with its line.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag not in _KEYS:
                what = f"the key {key.value}" if isinstance(key.value, str) else "a key"
                raise _error(f"{what} is not text", key)
            if key.value in seen:
                raise _error(f"the key {key.value} is written twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in _NUMBER_TAGS and ":" in node.value:  # text to the engine, as in `22:22`
            raise _error("a value with a colon reads as a number", node)
        bare = isinstance(node, yaml.ScalarNode) and node.tag == _TEXT and not node.style
        if bare and _ENGINES_NUMBER.fullmatch(node.value):
            raise _error("a text reads as a number to the engine", node)
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError, AttributeError):
            raise _error("a value is not what it looks like", node) from None


_NUMBER_TAGS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TEXT: Final = "tag:yaml.org,2002:str"
_KEYS: Final = (_TEXT, "tag:yaml.org,2002:merge")
_ENGINES_NUMBER: Final = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?0o[0-7_]+")
"""Numbers of YAML 1.2, which the engine writes into the stack file; source: resolve.go of go-yaml 3."""


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
