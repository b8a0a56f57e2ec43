"""Assembles Traefik's configuration from the sources of a container.

Covers the static settings (a file, arguments or environment), the dynamic files in the folder that Traefik
watches, and what could not be read. `resources.docker` supplies plain values; `policies.traefik` checks them.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import yaml

from reachability.facts import Entrypoint
from resources.traefik_shape import DYNAMIC, STATIC, Shaped, Struct, lower
from topology.fast_yaml import Loader
from topology.model import Port, Protocol

_STATIC_FILES: Final = tuple(f"/etc/traefik/traefik.{kind}" for kind in ("toml", "yaml", "yml"))
_CONFIG_FLAGS: Final = frozenset({"configFile", "configfile"})
"""Spellings of the argument that names the static file; in another case it has no effect."""
_STATIC_NAME: Final = re.compile(r"(?:.*/)?traefik\.(?:toml|ya?ml)")
_ELSEWHERE: Final = "may be the static configuration, if the container's home or working folder is there"
_SUFFIXES: Final = (".yml", ".yaml", ".toml")
INTERNAL: Final = "traefik"
"""Name of the entry point that Traefik keeps for its own pages; a router must name it."""


class FaultKind(StrEnum):
    """The effect of a fault on the proof."""

    OPAQUE = "opaque"
    BROKEN = "broken"
    EXPOSED = "exposed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class TraefikFault:
    """A fault at a path of the configuration."""

    kind: FaultKind
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Static settings with lower-case keys, dynamic files as (path, content), and the faults of reading.

    Values are as Traefik takes them; `misfits` are those of another type, and settings that are not known.
    """

    static: Mapping[str, Any]
    dynamic: tuple[tuple[str, Mapping[str, Any]], ...]
    unread: tuple[TraefikFault, ...]
    misfits: tuple[TraefikFault, ...] = ()

    @property
    def declared(self) -> Mapping[str, Any]:
        """Settings of all entry points by name; Traefik has a default one if none is set."""
        return below(self.static, "entrypoints") or {"http": {"address": ":80"}}

    @property
    def entrypoints(self) -> tuple[Entrypoint, ...]:
        """Ports that Traefik listens on for others, so without those on loopback.

        A UDP router without entry points is on all of UDP, `asDefault` or not.
        """
        return tuple(
            Entrypoint(
                name=name,
                port=port,
                default=port.protocol is Protocol.UDP
                or (name != INTERNAL and bool(settings.get("asdefault") or not self._chosen)),
                address=_listens_at(str(settings["address"])),
            )
            for name, settings in self.declared.items()
            if isinstance(settings, Mapping) and (port := _listens(str(settings.get("address", ""))))
        )

    @property
    def _chosen(self) -> bool:
        return any(isinstance(e, Mapping) and e.get("asdefault") for e in self.declared.values())

    @property
    def reads_labels(self) -> bool:
        """Whether containers' labels create routers."""
        return bool({"docker", "swarm"} & lower(below(self.static, "providers")).keys())

    @property
    def exposed_by_default(self) -> bool:
        """Whether every container without a contrary label gets a router."""
        docker = below(lower(below(self.static, "providers")), "docker")
        return str(docker.get("exposedbydefault", True)).lower() != "false"

    def items(self, protocol: str, section: str) -> Iterator[tuple[str, str, Any]]:
        """Yield path, name and content of every entry in a section."""
        for file, content in self.dynamic:
            for name, value in below(below(content, protocol), section).items():
                yield f"{file}: {protocol}.{section}.{name}", name, value

    def middlewares(self, names: Iterable[Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield path, kind and settings of these HTTP middlewares, and of those in their chains."""
        defined = {name: (path, value) for path, name, value in self.items("http", "middlewares")}
        waiting, seen = [bare(str(name)) for name in names], set()
        while waiting:
            name = waiting.pop(0)
            path, value = defined.get(name, ("", {}))
            if name in seen or not isinstance(value, Mapping):
                continue
            seen.add(name)
            for kind in value:
                yield path, kind, below(value, kind)
            waiting += [bare(str(m)) for m in listed(below(value, "chain").get("middlewares"))]

    @property
    def resolvers(self) -> Mapping[str, Any]:
        """Certificate resolvers by the name that routers use."""
        return below(self.static, "certificatesresolvers")

    @property
    def listening(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Entry points that serve others over HTTP, with their settings: all but those of streams alone."""
        names = {each.name for each in self.entrypoints} - (self._named("tcp", "udp") - self._named("http"))
        return tuple((name, settings) for name, settings in self.declared.items() if name in names)

    def entered(self, router: Mapping[str, Any]) -> Iterator[Entrypoint]:
        """Yield the entry points that a router names."""
        named = {str(name) for name in listed(router.get("entryPoints"))}
        yield from (each for each in self.entrypoints if each.name in named)

    def _named(self, *protocols: str) -> set[str]:
        """Return the entry points that routers of these protocols name."""
        routers = (router for each in protocols for _, _, router in self.items(each, "routers"))
        named = (listed(router.get("entryPoints")) for router in routers if isinstance(router, Mapping))
        return {str(name) for names in named for name in names}

    @property
    def certificates(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Certificates by path; Traefik selects one by host name."""
        return tuple(
            (f"{file}: tls.certificates[{index}]", entry)
            for file, content in self.dynamic
            for index, entry in enumerate(listed(below(content, "tls").get("certificates")))
            if isinstance(entry, Mapping)
        )

    @property
    def routed(self) -> Iterator[tuple[str, list[Any], str]]:
        """Each HTTP router's path and middlewares, with each `host:port` that the router leads to."""
        services = {name: value for _, name, value in self.items("http", "services")}
        for path, _, router in self.items("http", "routers"):
            if isinstance(router, Mapping):
                for url in _servers(services, bare(str(router.get("service", ""))), set()):
                    yield path, listed(router.get("middlewares")), place(url)

    @property
    def asked(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Each server: its service's path, its URL or address, and the transport to it."""
        for protocol in ("http", "tcp", "udp"):
            transports = {name: value for _, name, value in self.items(protocol, "serversTransports")}
            for path, _, service in self.items(protocol, "services"):
                balancer = below(service, "loadBalancer") if isinstance(service, Mapping) else {}
                transport = below(transports, bare(str(balancer.get("serversTransport", ""))))
                for server in listed(balancer.get("servers")):
                    if isinstance(server, Mapping):
                        yield path, str(server.get("url") or server.get("address") or ""), transport

    def targets(self) -> Iterator[tuple[str, str, str]]:
        """Yield each server that an HTTP router leads to: the router's path, its rule, and the URL."""
        for path, router, url in self._led("http"):
            yield path, str(router.get("rule", "")), url

    def streams(self) -> Iterator[tuple[str, Mapping[str, Any], str, Protocol]]:
        """Yield each server that a router of TCP or UDP leads to: path, router, address and protocol."""
        for protocol in Protocol:
            for path, router, address in self._led(protocol):
                yield path, router, address, protocol

    def _led(self, protocol: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        services = {name: value for _, name, value in self.items(protocol, "services")}
        for path, _, router in self.items(protocol, "routers"):
            if isinstance(router, Mapping):
                for url in _servers(services, bare(str(router.get("service", ""))), set()):
                    yield path, router, url


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


def children(service: Mapping[str, Any]) -> list[Any]:
    """Return the services that a service forwards requests to."""
    weighted, mirroring, failover = (below(service, kind) for kind in ("weighted", "mirroring", "failover"))
    return [
        *(child.get("name") for child in listed(weighted.get("services")) if isinstance(child, Mapping)),
        *(child.get("name") for child in listed(mirroring.get("mirrors")) if isinstance(child, Mapping)),
        *listed(mirroring.get("service")),
        *listed(failover.get("service")),
        *listed(failover.get("fallback")),
    ]


def _servers(services: Mapping[str, Any], name: str, seen: set[str]) -> Iterator[str]:
    """Yield the servers that a service leads to, those of a service in `seen` once."""
    service = services.get(name)
    if name in seen or not isinstance(service, Mapping):
        return
    seen.add(name)
    for server in listed(below(service, "loadBalancer").get("servers")):
        if isinstance(server, Mapping):
            yield str(server.get("url") or server.get("address") or "")
    for child in children(service):
        yield from _servers(services, bare(str(child)), seen)


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


def below(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the mapping at a key; an empty one if there is none."""
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a value as a list: empty for no value, of one item for a single value."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def bare(name: str) -> str:
    """Return a name without its suffix `@file`."""
    return name.removesuffix("@file")


def _listens_at(address: str) -> IPv4Address | None:
    """Return the one IPv4 address that Traefik listens at; None: at every address, or a name's."""
    try:
        found = IPv4Address(address.partition("/")[0].rpartition(":")[0])
    except ValueError:
        return None
    return None if found.is_unspecified else found


def _listens(address: str) -> Port | None:
    """Return the port of an address such as `:80` or `0.0.0.0:53/udp`; None on loopback or without a port."""
    where, _, protocol = address.partition("/")
    host, _, number = where.rpartition(":")
    if _LOOPBACK.fullmatch(host) or not is_port(number):
        return None
    return Port(number=int(number), protocol=Protocol.UDP if protocol == "udp" else Protocol.TCP)


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) <= _LAST_PORT


_LAST_PORT: Final = 65535
_LOOPBACK: Final = re.compile(r"127(\.[0-9]{1,3}){3}|localhost|\[::1\]")


def split(target: str) -> SplitResult:
    """Return the parts of a URL, or of a target without a scheme; an unusable one has none."""
    try:
        return urlsplit(target if "://" in target else f"//{target}")
    except ValueError:
        return SplitResult("", "", "", "", "")


def place(url: str) -> str:
    """Return the `host:port` of a URL or address, without a login, and with its scheme's port."""
    parts = split(url)
    with suppress(ValueError):
        port = parts.port or {"http": 80, "h2c": 80, "https": 443}.get(parts.scheme)
        return f"{parts.hostname or ''}:{port or ''}".removesuffix(":")
    return parts.hostname or ""


def opaque(path: str, text: str) -> TraefikFault:
    """Return a fault for configuration whose effect cannot be determined."""
    return TraefikFault(kind=FaultKind.OPAQUE, path=path, text=text)


def broken(path: str, text: str) -> TraefikFault:
    """Return a fault for configuration that Traefik ignores."""
    return TraefikFault(kind=FaultKind.BROKEN, path=path, text=text)
