"""Assembles Traefik's configuration from the sources of a container.

Covers the static settings (a file, arguments or environment), the dynamic files in the folder that Traefik
watches, and what could not be read. `resources.docker` supplies plain values.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from resources.traefik import Configuration, TraefikFault, below, broken, opaque
from resources.traefik_shape import DYNAMIC, STATIC, Shaped, Struct
from topology.fast_yaml import Loader

_STATIC_FILES: Final = tuple(f"/etc/traefik/traefik.{kind}" for kind in ("toml", "yaml", "yml"))
_CONFIG_FLAGS: Final = frozenset({"configFile", "configfile"})
"""Spellings of the argument that names the static file; in another case it has no effect."""
_STATIC_NAME: Final = re.compile(r"(?:.*/)?traefik\.(?:toml|ya?ml)")
_ELSEWHERE: Final = "may be the static configuration, if the container's home or working folder is there"
_SUFFIXES: Final = (".yml", ".yaml", ".toml")


def read(
    *,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    files: Mapping[str, str | None],
    mounts: Sequence[str],
) -> Configuration:
    """Return the assembled configuration; `files` maps paths to text, None where the text is unknown."""
    reader = _Reader(files=files, mounts=mounts)
    flags = reader.flags(arguments)
    named = [flags.pop(name) for name in _CONFIG_FLAGS & flags.keys()]
    file = next(iter(named), "") or next((path for path in _STATIC_FILES if path in files), None)
    if file is None:
        reader.faults += [opaque(path, _ELSEWHERE) for path in files if _STATIC_NAME.fullmatch(path)]
    variables = {
        key.removeprefix("TRAEFIK_").lower().replace("_", "."): value
        for key, value in environment.items()
        if key.startswith("TRAEFIK_")
    }
    sources = [reader.load(file) if file else {}, _nested(flags), _nested(variables)]
    used = [reader.shaped(source, STATIC, "") for source in sources if source]
    if len(used) > 1:
        reader.faults.append(
            opaque("static configuration", "comes from two sources, of which Traefik reads one")
        )
    static = used[0] if used else {}
    for extra in used[1:]:
        static = _merged(static, extra)
    provider = below(below(static, "providers"), "file")
    dynamic = tuple(
        (path, content)
        for path in reader.watched(str(provider.get("directory", "")), str(provider.get("filename", "")))
        if (content := reader.shaped(reader.load(path, template=True), DYNAMIC, f"{path}: "))
    )
    return Configuration(
        static=static,
        dynamic=dynamic,
        unread=(*reader.faults, *_twice(dynamic)),
        misfits=tuple(reader.misfits),
    )


def _twice(dynamic: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[TraefikFault]:
    """Yield a fault for each name that two files define: Traefik takes one of them, or neither."""
    seen: dict[str, str] = {}
    for file, content in dynamic:
        for at in (
            f"{protocol}.{section}.{name}"
            for protocol in ("http", "tcp", "udp", "tls")
            for section, entries in below(content, protocol).items()
            for name in (entries if isinstance(entries, Mapping) else ())
        ):
            if seen.setdefault(at, file) != file:
                yield opaque(f"{file}: {at}", f"is in {seen[at]}, too, and Traefik takes one of the two")


class _Reader:
    """Loads configuration files and records what could not be read."""

    def __init__(self, *, files: Mapping[str, str | None], mounts: Sequence[str]) -> None:
        self.faults: list[TraefikFault] = []
        self.misfits: list[TraefikFault] = []
        self._files = files
        self._mounts = [posixpath.normpath(mount) for mount in mounts if mount]

    def watched(self, directory: str, filename: str) -> list[str]:
        """Return the paths that the file provider reads."""
        if directory:
            folder = posixpath.normpath(directory)
            self._covered(folder)
            return [
                path
                for path in sorted(self._files)
                if posixpath.normpath(path).startswith(f"{folder}/") and path.lower().endswith(_SUFFIXES)
            ]
        if filename:
            self._covered(posixpath.normpath(filename))
            if filename not in self._files:
                self.faults.append(opaque(filename, "is not among the container's uploads"))
                return []
            return [filename]
        return []

    def _covered(self, path: str) -> None:
        if any(path == m or path.startswith(f"{m}/") or m.startswith(f"{path}/") for m in self._mounts):
            self.faults.append(opaque(path, "is mounted from outside, so its content can't be known"))

    def flags(self, arguments: Sequence[str]) -> dict[str, str]:
        """Return the settings of arguments by name; Traefik reads no flag after a word that is none."""
        found: dict[str, str] = {}
        words = list(arguments)
        while words and not words[0].startswith("-"):
            del words[0]
        while words:
            name, given, value = words.pop(0).removeprefix("-").removeprefix("-").partition("=")
            if name in _CONFIG_FLAGS and not given and words:
                value = words.pop(0)
            odd = name.lower() == "configfile" and name not in _CONFIG_FLAGS
            if odd or not name or _spelling(found, name) in found:
                self.faults.append(opaque(f"argument {name}", "is there twice, or names nothing"))
            found[name] = value if given or value else "true"
            if words and not words[0].startswith("-"):
                self.faults.append(opaque(f"argument {name}", "is followed by a word; write --name=value"))
                break
        return found

    def shaped(self, content: Mapping[str, Any], shape: Struct, path: str) -> dict[str, Any]:
        """Return settings as Traefik takes them, and keep what does not fit; no content is no fault."""
        shaped = Shaped()
        made: dict[str, Any] = shaped.read(content, shape, path) if content else {}
        self.misfits += [
            broken(each.path, each.text) if each.known else opaque(each.path, each.text)
            for each in shaped.misfits
        ]
        return made

    def load(self, path: str, *, template: bool = False) -> dict[str, Any]:
        """Return a file's content; on failure record a fault and return an empty mapping."""
        if not template:
            self._covered(posixpath.normpath(path))
        text = self._files.get(path)
        if text is None:
            self.faults.append(opaque(path, "can't be read from the resource"))
            return {}
        if not path.lower().endswith(_SUFFIXES):
            self.faults.append(broken(path, "has no suffix of YAML or TOML, so Traefik does not start"))
        if template and "{{" in text:
            self.faults.append(opaque(path, "is a template, whose result can't be known"))
            return {}
        try:
            toml = path.lower().endswith(".toml")
            content = tomllib.loads(text) if toml else yaml.load(text, Loader=_Go)  # noqa: S506  # a safe loader
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            odd = getattr(error, "problem", None) == _ODD
            what = _ODD if odd else "does not parse, so Traefik drops all of it"
            self.faults.append(broken(_at_line(path, error), what))
            return {}
        if content is not None and not isinstance(content, dict):
            self.faults.append(broken(path, "is not a mapping, so Traefik drops all of it"))
        return content if isinstance(content, dict) else {}


def _at_line(path: str, error: Exception) -> str:
    """Return a path with the line that an error of YAML names."""
    mark = getattr(error, "problem_mark", None)
    return f"{path}, line {mark.line + 1}" if mark else path


_ODD: Final = "is not the same to every reader of YAML; write a plain number, or quote the text"


class _Go(Loader):
    """YAML loader that reads scalars as Go does, and refuses those on which readers of YAML differ.

    Go rejects duplicate keys, and takes `on` and `12:30` as text. A number that is not decimal, a date and a
    value with a tag are refused. Source: gopkg.in/yaml.v3, resolve.go.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "tag", None):
            raise yaml.constructor.ConstructorError(None, None, _ODD, getattr(event, "start_mark", None))
        return super().compose_node(parent, index)


def _mapping(loader: _Go, node: yaml.MappingNode) -> dict[Any, Any]:
    if any(key.tag not in {_STR, _MERGE} for key, _ in node.value):
        raise yaml.constructor.ConstructorError(None, None, "key is no text", node.start_mark)
    keys = Counter(key.value for key, _ in node.value)
    if keys and max(keys.values()) > 1:
        raise yaml.constructor.ConstructorError(None, None, "key twice", node.start_mark)
    made: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return made


def _differing(_: _Go, node: yaml.ScalarNode) -> None:
    raise yaml.constructor.ConstructorError(None, None, _ODD, node.start_mark)


_Go.yaml_implicit_resolvers = {}
_TAG: Final = "tag:yaml.org,2002:"
_STR, _MERGE, _DIFFERING = f"{_TAG}str", f"{_TAG}merge", "!differing"
for _kind, _form in {
    f"{_TAG}null": r"~|null|Null|NULL|",
    f"{_TAG}bool": r"true|True|TRUE|false|False|FALSE",
    f"{_TAG}int": r"0|-?[1-9][0-9]{0,17}",
    _MERGE: r"<<",
    _DIFFERING: r"[-+]?(0[xXbBoO][0-9a-fA-F_]+|(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9_]+)?)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\s].*)?",
}.items():
    _Go.add_implicit_resolver(_kind, re.compile(rf"(?:{_form})\Z"), None)
_Go.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Go.add_constructor(_DIFFERING, _differing)


def _nested(flat: Mapping[str, str]) -> dict[str, Any]:
    """Return settings as a tree; of the spellings of a name the first in order counts, as in Traefik."""
    tree: dict[str, Any] = {}
    for name, value in sorted(flat.items()):
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            key = _spelling(place, parent)
            inner = place.get(key)
            place[key] = place = inner if isinstance(inner, dict) else {}
        key = _spelling(place, last)
        if not isinstance(place.get(key), dict):
            place[key] = value
    return tree


def _spelling(place: Mapping[str, Any], name: str) -> str:
    return next((key for key in place if key.lower() == name.lower()), name)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return dict(one) | {
        key: _merged(one[key], value)
        if isinstance(value, Mapping) and isinstance(one.get(key), Mapping)
        else value
        for key, value in other.items()
    }
