"""Traefik's configuration, put together from wherever a container gets it, and what is wrong with it.

Owns the static settings (a file, arguments or environment), the dynamic files of the folder that Traefik
watches, and their words. It deliberately reads no resource (`resources` hands over plain values) and
decides no reachability. What a reader would get wrong: Traefik skips what it can't read with one log line,
so a setting that this module does not know is a fault as well. Messages name paths, never values that a
person may have meant to keep.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from reachability.facts import Entrypoint
from topology.model import Port, Protocol

_STATIC_FILES: Final = tuple(f"/etc/traefik/traefik.{kind}" for kind in ("toml", "yaml", "yml"))
_SUFFIXES: Final = (".yml", ".yaml", ".toml")
_SETTINGS: Final = frozenset(
    [
        "accesslog",
        "api",
        "certificatesresolvers",
        "core",
        "entrypoints",
        "global",
        "log",
        "metrics",
        "ping",
        "providers",
        "serverstransport",
        "tcpserverstransport",
    ]
)
_ENTRYPOINT: Final = frozenset(
    ["address", "asdefault", "forwardedheaders", "http", "http2", "reuseport", "transport"]
)
_FORWARDED: Final = frozenset(["insecure", "trustedips"])
_TRANSPORT: Final = frozenset(["keepalivemaxrequests", "keepalivemaxtime", "lifecycle", "respondingtimeouts"])
_TIMEOUTS: Final = frozenset(["idletimeout", "readtimeout", "writetimeout"])
_ENCODED: Final = frozenset(
    f"allowencoded{character}"
    for character in (
        "backslash",
        "hash",
        "nullcharacter",
        "percent",
        "questionmark",
        "semicolon",
        "slash",
    )
)
_ENTRYPOINT_HTTP: Final = frozenset(
    [
        "aliasheadersstrategy",
        "encodedcharacters",
        "maxheaderbytes",
        "middlewares",
        "redirections",
        "sanitizepath",
        "tls",
    ]
)
_TLS: Final = frozenset(["certresolver", "domains", "options"])
_ACCESS_LOG: Final = frozenset(["addinternals", "bufferingsize", "fields", "filters", "format"])
_LOG_FIELDS: Final = frozenset(["defaultmode", "headers", "names", "queryparameters"])
_REDIRECTION: Final = frozenset(["permanent", "priority", "scheme", "to"])
_CERTIFICATE: Final = frozenset({"certFile", "keyFile", "stores"})
_TLS_OPTION: Final = frozenset(
    ["alpnProtocols", "cipherSuites", "clientAuth", "curvePreferences", "minVersion", "sniStrict"]
)
_SERVERS_TRANSPORT: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset(
        [
            "certificates",
            "cipherSuites",
            "disableHTTP2",
            "forwardingTimeouts",
            "insecureSkipVerify",
            "maxIdleConnsPerHost",
            "maxVersion",
            "minVersion",
            "peerCertURI",
            "rootCAs",
            "serverName",
        ]
    ),
    "tcp": frozenset(["dialKeepAlive", "dialTimeout", "terminationDelay", "tls"]),
}
_FILE_PROVIDER: Final = frozenset(["directory", "filename", "watch"])
_SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset({"routers", "services", "middlewares", "serversTransports"}),
    "tcp": frozenset({"routers", "services", "middlewares", "serversTransports"}),
    "udp": frozenset({"routers", "services"}),
    "tls": frozenset({"certificates", "options", "stores"}),
}
_ROUTER: Final = frozenset(
    ["entryPoints", "middlewares", "observability", "priority", "rule", "ruleSyntax", "service", "tls"]
)
_SERVICE: Final[Mapping[str, frozenset[str]]] = {
    "loadBalancer": frozenset(
        [
            "healthCheck",
            "passHostHeader",
            "responseForwarding",
            "servers",
            "serversTransport",
            "sticky",
            "strategy",
        ]
    ),
    "weighted": frozenset({"healthCheck", "services", "sticky"}),
    "mirroring": frozenset({"healthCheck", "maxBodySize", "mirrorBody", "mirrors", "service"}),
    "failover": frozenset({"fallback", "healthCheck", "service"}),
}
_SERVER: Final = frozenset({"address", "preservePath", "tls", "url", "weight"})
_MIDDLEWARES: Final = frozenset(
    [
        "addPrefix",
        "basicAuth",
        "buffering",
        "chain",
        "circuitBreaker",
        "compress",
        "contentType",
        "digestAuth",
        "encodedCharacters",
        "errors",
        "grpcWeb",
        "headers",
        "inFlightConn",
        "inFlightReq",
        "ipAllowList",
        "passTLSClientCert",
        "rateLimit",
        "redirectRegex",
        "redirectScheme",
        "replacePath",
        "replacePathRegex",
        "retry",
        "stripPrefix",
        "stripPrefixRegex",
    ]
)
"""Middlewares that send nothing anywhere; `forwardAuth` and plugins do."""
_CLIENT: Final = frozenset({"sourceCriterion"})
_SETTINGS_OF: Final[Mapping[str, frozenset[str]]] = {
    "basicAuth": frozenset({"headerField", "realm", "removeHeader", "usersFile"}),
    "digestAuth": frozenset({"headerField", "realm", "removeHeader", "usersFile"}),
    "buffering": frozenset(
        [
            "maxRequestBodyBytes",
            "maxResponseBodyBytes",
            "memRequestBodyBytes",
            "memResponseBodyBytes",
        ]
    ),
    "headers": frozenset(
        [
            "contentSecurityPolicy",
            "contentTypeNosniff",
            "customFrameOptionsValue",
            "customRequestHeaders",
            "customResponseHeaders",
            "frameDeny",
            "permissionsPolicy",
            "referrerPolicy",
            "stsIncludeSubdomains",
            "stsPreload",
            "stsSeconds",
        ]
    ),
    "inFlightReq": frozenset({"amount"}) | _CLIENT,
    "rateLimit": frozenset({"average", "burst", "period"}) | _CLIENT,
}
"""Settings of the middlewares that harden; one that Traefik does not know makes it drop the whole file."""
_AUTHENTICATION: Final = frozenset({"basicAuth", "digestAuth"})


class Kind(StrEnum):
    """What a fault means for the proof."""

    OPAQUE = "opaque"
    BROKEN = "broken"
    EXPOSED = "exposed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong at a place of the configuration."""

    kind: Kind
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Static settings with lower-case keys, dynamic files as (path, content), and what was unreadable."""

    static: Mapping[str, Any]
    dynamic: tuple[tuple[str, Mapping[str, Any]], ...]
    unread: tuple[Fault, ...]

    @property
    def _entrypoints(self) -> Mapping[str, Any]:
        return _section(self.static, "entrypoints") or {"http": {"address": ":80"}}

    @property
    def entrypoints(self) -> tuple[Entrypoint, ...]:
        """Ports it listens on for others; one on loopback is for the container alone."""
        return tuple(
            Entrypoint(name=name, port=port, default=bool(settings.get("asdefault", not self._chosen)))
            for name, settings in self._entrypoints.items()
            if isinstance(settings, Mapping) and (port := _listens(str(settings.get("address", ""))))
        )

    @property
    def _chosen(self) -> bool:
        return any(isinstance(e, Mapping) and e.get("asdefault") for e in self._entrypoints.values())

    @property
    def reads_labels(self) -> bool:
        """Whether containers' labels make routers."""
        return bool({"docker", "swarm"} & set(_section(self.static, "providers")))

    @property
    def exposed_by_default(self) -> bool:
        """Whether every container gets a router unless its labels say no."""
        docker = _section(_section(self.static, "providers"), "docker")
        return str(docker.get("exposedbydefault", True)).lower() != "false"

    def items(self, protocol: str, section: str) -> Iterator[tuple[str, str, Any]]:
        """Every entry of a section: its path, name and content."""
        for file, content in self.dynamic:
            for name, value in _section(_section(content, protocol), section).items():
                yield f"{file}: {protocol}.{section}.{name}", name, value

    def faults(self) -> Iterator[Fault]:
        """Everything wrong with it."""
        yield from self.unread
        yield from self._static_faults()
        for file, content in self.dynamic:
            yield from _shape(file, content)
        for protocol in ("http", "tcp", "udp"):
            yield from self._routing_faults(protocol)
        yield from self._transports()
        for path, _, option in self.items("tls", "options"):
            yield from _unknown(path, option, _TLS_OPTION)
        for path, certificate in self.certificates:
            yield from _unknown(path, certificate, _CERTIFICATE)

    def middlewares(self, names: Iterable[Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Every HTTP middleware behind these names, chains followed: its path, kind and settings."""
        defined = {name: (path, value) for path, name, value in self.items("http", "middlewares")}
        waiting, seen = [_bare(str(name)) for name in names], set()
        while waiting:
            name = waiting.pop(0)
            path, value = defined.get(name, ("", {}))
            if name in seen or not isinstance(value, Mapping):
                continue
            seen.add(name)
            for kind in value:
                yield path, kind, _section(value, kind)
            waiting += [_bare(str(m)) for m in _list(_section(value, "chain").get("middlewares"))]

    def _static_faults(self) -> Iterator[Fault]:
        providers, metrics = (_section(self.static, name) for name in ("providers", "metrics"))
        fields = _section(_section(self.static, "accesslog"), "fields")
        for prefix, settings, known in (
            ("", self.static, _SETTINGS),
            ("providers.", providers, frozenset({"file", "providersthrottleduration"})),
            ("providers.file.", _section(providers, "file"), _FILE_PROVIDER),
            ("metrics.", metrics, frozenset({"prometheus"})),
            ("ping.", _section(self.static, "ping"), frozenset({"entrypoint"})),
            ("accesslog.", _section(self.static, "accesslog"), _ACCESS_LOG),
            ("accesslog.fields.", fields, _LOG_FIELDS),
        ):
            for name in sorted(set(settings) - known):
                yield _opaque(f"{prefix}{name}", "is not a setting whose traffic is known")
        yield from _texts("accesslog.fields.names", _section(fields, "names"))
        yield from self._entrypoint_faults()
        if _true(_section(self.static, "api").get("insecure")):
            yield Fault(
                kind=Kind.EXPOSED, path="api.insecure", text="serves the dashboard without authentication"
            )
        for name in ("serverstransport", "tcpserverstransport"):
            transport = _section(self.static, name)
            if _true(
                transport.get("insecureskipverify", _section(transport, "tls").get("insecureskipverify"))
            ):
                yield Fault(kind=Kind.UNVERIFIED, path=name, text="switches certificate checks off")

    def _entrypoint_faults(self) -> Iterator[Fault]:
        for name, settings in self._entrypoints.items():
            path = f"entrypoints.{name}"
            yield from _unknown(path, settings, _ENTRYPOINT)
            if not isinstance(settings, Mapping):
                continue
            if not re.fullmatch(r"[^/]*:\d+(/(tcp|udp))?", str(settings.get("address", ""))):
                yield _broken(path, "has no address with a port")
            http = _section(settings, "http")
            yield from _unknown(f"{path}.http", http, _ENTRYPOINT_HTTP)
            yield from _unknown(f"{path}.http.tls", _section(http, "tls"), _TLS)
            redirections = _section(http, "redirections")
            yield from _unknown(f"{path}.http.redirections", redirections, frozenset({"entrypoint"}))
            to = _section(redirections, "entrypoint")
            yield from _unknown(f"{path}.http.redirections.entrypoint", to, _REDIRECTION)
            yield from _unknown(
                f"{path}.http.encodedcharacters", _section(http, "encodedcharacters"), _ENCODED
            )
            transport = _section(settings, "transport")
            yield from _unknown(f"{path}.transport", transport, _TRANSPORT)
            timeouts = _section(transport, "respondingtimeouts")
            yield from _unknown(f"{path}.transport.respondingtimeouts", timeouts, _TIMEOUTS)
            headers = _section(settings, "forwardedheaders")
            yield from _unknown(f"{path}.forwardedheaders", headers, _FORWARDED)
            defined = {middleware for _, middleware, _ in self.items("http", "middlewares")}
            for middleware in _list(http.get("middlewares")):
                if _bare(str(middleware)) not in defined:
                    yield _broken(path, f"names middleware {middleware}, which is not defined")
            if _true(headers.get("insecure")):
                yield Fault(kind=Kind.EXPOSED, path=path, text="trusts everybody's X-Forwarded headers")
        ping = self.static.get("ping")
        name = str(_section(self.static, "ping").get("entrypoint", "traefik")).lower()
        if ping is not None and name not in self._entrypoints:
            yield _broken(
                "ping", f"names entrypoint {name}, which is not defined, so Traefik opens port 8080"
            )

    def _routing_faults(self, protocol: str) -> Iterator[Fault]:
        names = {section: {n for _, n, _ in self.items(protocol, section)} for section in _SECTIONS[protocol]}
        for section, counts in (
            (s, Counter(n for _, n, _ in self.items(protocol, s))) for s in _SECTIONS[protocol]
        ):
            for name in (name for name, count in counts.items() if count > 1):
                yield _broken(f"{protocol}.{section}.{name}", "is defined in two files, so neither counts")
        references = _References(
            protocol=protocol,
            services=names["services"],
            middlewares=names.get("middlewares", set()),
            transports=names.get("serversTransports", set()),
            entrypoints=set(self._entrypoints),
            secured={
                name
                for name, settings in self._entrypoints.items()
                if isinstance(settings, Mapping) and {"tls", "redirections"} & set(_section(settings, "http"))
            },
            resolvers=set(self.resolvers),
            options={name for _, name, _ in self.items("tls", "options")} | {"default"},
            authentication={
                name
                for _, name, value in self.items(protocol, "middlewares")
                if isinstance(value, Mapping) and _AUTHENTICATION & set(value)
            }
            if protocol == "http"
            else set(),
        )
        rules: Counter[tuple[str, tuple[str, ...]]] = Counter()
        for path, _, router in self.items(protocol, "routers"):
            if not isinstance(router, Mapping):
                yield _broken(path, "is not a mapping")
                continue
            yield from references.router(path, router)
            rule = (str(router.get("rule", "")), tuple(sorted(map(str, _list(router.get("entryPoints"))))))
            rules[rule] += 1
            if rules[rule] == 2 and not router.get("priority"):  # noqa: PLR2004  # the first repetition speaks
                yield _broken(path, "has the rule of another router; which of them answers is chance")
        for path, _, service in self.items(protocol, "services"):
            yield from references.service(path, service)
        for path, _, middleware in self.items(protocol, "middlewares"):
            yield from references.middleware(path, middleware)

    def _transports(self) -> Iterator[Fault]:
        for protocol in ("http", "tcp"):
            for path, _, transport in self.items(protocol, "serversTransports"):
                yield from _unknown(path, transport, _SERVERS_TRANSPORT[protocol])
                settings = transport if isinstance(transport, Mapping) else {}
                if _true(
                    settings.get("insecureSkipVerify", _section(settings, "tls").get("insecureSkipVerify"))
                ):
                    yield Fault(kind=Kind.UNVERIFIED, path=path, text="switches certificate checks off")

    @property
    def resolvers(self) -> Mapping[str, Any]:
        """Where certificates come from besides files, by the name that routers use."""
        return _section(self.static, "certificatesresolvers")

    @property
    def listening(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Entry points that others reach, with their settings."""
        names = {each.name for each in self.entrypoints}
        return tuple((name, settings) for name, settings in self._entrypoints.items() if name in names)

    @property
    def certificates(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Certificates by path; Traefik picks among them by host name."""
        return tuple(
            (f"{file}: tls.certificates[{index}]", entry)
            for file, content in self.dynamic
            for index, entry in enumerate(_list(_section(content, "tls").get("certificates")))
            if isinstance(entry, Mapping)
        )

    @property
    def routed(self) -> Iterator[tuple[str, list[Any], str]]:
        """Every HTTP router with the middlewares that it names, and each `host:port` that it leads to."""
        services = {name: value for _, name, value in self.items("http", "services")}
        for path, _, router in self.items("http", "routers"):
            if isinstance(router, Mapping):
                for url in _servers(services, _bare(str(router.get("service", ""))), frozenset()):
                    yield path, _list(router.get("middlewares")), urlsplit(url).netloc

    @property
    def asked(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Every server: the path of what names it, its URL or address, and the transport to it."""
        for protocol in ("http", "tcp", "udp"):
            transports = {name: value for _, name, value in self.items(protocol, "serversTransports")}
            for path, _, service in self.items(protocol, "services"):
                balancer = _section(service, "loadBalancer") if isinstance(service, Mapping) else {}
                transport = _section(transports, _bare(str(balancer.get("serversTransport", ""))))
                for server in _list(balancer.get("servers")):
                    if isinstance(server, Mapping):
                        yield path, str(server.get("url") or server.get("address") or ""), transport

    def targets(self) -> Iterator[tuple[str, str, str]]:
        """Every server that a router leads to: the router's path, its rule, and the URL or address."""
        for protocol in ("http", "tcp", "udp"):
            services = {name: value for _, name, value in self.items(protocol, "services")}
            for path, _, router in self.items(protocol, "routers"):
                if isinstance(router, Mapping):
                    for url in _servers(services, _bare(str(router.get("service", ""))), frozenset()):
                        yield path, str(router.get("rule", "")), url


@dataclass(frozen=True, kw_only=True)
class _References:
    """Names that the configuration of one protocol defines, and who names what is not there."""

    protocol: str
    services: set[str]
    middlewares: set[str]
    transports: set[str]
    entrypoints: set[str]
    secured: set[str]
    resolvers: set[str]
    options: set[str]
    authentication: set[str]

    def router(self, path: str, router: Mapping[str, Any]) -> Iterator[Fault]:
        yield from _unknown(path, router, _ROUTER)
        service = str(router.get("service", ""))
        if service.endswith("@internal"):
            if not self.authentication & {_bare(str(m)) for m in _list(router.get("middlewares"))}:
                yield Fault(kind=Kind.EXPOSED, path=path, text=f"serves {service} without authentication")
        else:
            yield from self._missing(path, "service", self.services, [service])
        yield from self._missing(path, "middleware", self.middlewares, _list(router.get("middlewares")))
        known = {name.lower() for name in self.entrypoints}
        for name in _list(router.get("entryPoints")):
            if str(name).lower() not in known:
                yield _broken(path, f"names entrypoint {name}, which is not defined")
        tls = router.get("tls")
        if not _list(router.get("entryPoints")):
            yield Fault(
                kind=Kind.EXPOSED, path=path, text="names no entrypoint, so it answers on all of them"
            )
        for name in _list(router.get("entryPoints")):
            if self.protocol == "http" and tls is None and str(name).lower() in known - self.secured:
                yield Fault(kind=Kind.EXPOSED, path=path, text=f"serves in clear on entrypoint {name}")
        if isinstance(tls, Mapping):
            if (resolver := tls.get("certResolver")) and str(resolver).lower() not in self.resolvers:
                yield _broken(path, f"names certificate resolver {resolver}, which is not defined")
            yield from self._missing(path, "TLS option", self.options, _list(tls.get("options")))

    def service(self, path: str, service: Any) -> Iterator[Fault]:
        if not isinstance(service, Mapping):
            yield _broken(path, "is not a mapping")
            return
        yield from _unknown(path, service, frozenset(_SERVICE))
        for kind, known in _SERVICE.items():
            if kind not in service:
                continue
            body = _section(service, kind)
            yield from _unknown(f"{path}.{kind}", body, known)
            yield from self._missing(path, "transport", self.transports, _list(body.get("serversTransport")))
            yield from self._missing(path, "service", self.services, _children(service))
            for server in _list(body.get("servers")):
                yield from _unknown(f"{path}.{kind}.servers", server, _SERVER)
            if kind == "loadBalancer" and not _list(body.get("servers")):
                yield _broken(path, "has no server")

    def middleware(self, path: str, middleware: Any) -> Iterator[Fault]:
        if not isinstance(middleware, Mapping):
            yield _broken(path, "is not a mapping")
            return
        for kind in sorted(set(middleware) - _MIDDLEWARES):
            yield _opaque(f"{path}.{kind}", "sends requests where nobody can follow")
        for kind in sorted(set(middleware) & set(_SETTINGS_OF)):
            yield from _unknown(f"{path}.{kind}", middleware[kind], _SETTINGS_OF[kind])
            for key in ("customRequestHeaders", "customResponseHeaders"):
                yield from _texts(f"{path}.{kind}.{key}", _section(_section(middleware, kind), key))
        chain = _section(middleware, "chain")
        yield from self._missing(path, "middleware", self.middlewares, _list(chain.get("middlewares")))
        errors = _section(middleware, "errors")
        yield from self._missing(path, "service", self.services, _list(errors.get("service")))

    @staticmethod
    def _missing(path: str, what: str, known: set[str], names: Iterable[Any]) -> Iterator[Fault]:
        for name in names:
            if _bare(str(name)) not in known:
                yield _broken(path, f"names {what} {name or '(none)'}, which is not defined")


def read(
    *,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    files: Mapping[str, str | None],
    mounts: Sequence[str],
) -> Configuration:
    """Put the configuration together; `files` maps paths to text, None where it is unknown."""
    reader = _Reader(files=files, mounts=mounts)
    flags = dict(_flags(arguments))
    place = flags.pop("configfile", None) or next((path for path in _STATIC_FILES if path in files), None)
    variables = {
        key.removeprefix("TRAEFIK_").lower().replace("_", "."): value
        for key, value in environment.items()
        if key.startswith("TRAEFIK_")
    }
    sources = [lower(reader.load(place)) if place else {}, _nested(flags), _nested(variables)]
    used = [source for source in sources if source]
    if len(used) > 1:
        reader.faults.append(
            _opaque("static configuration", "comes from two sources, of which Traefik reads one")
        )
    static = used[0] if used else {}
    for extra in used[1:]:
        static = _merged(static, extra)
    provider = _section(_section(static, "providers"), "file")
    return Configuration(
        static=static,
        dynamic=tuple(
            (path, content)
            for path in reader.watched(str(provider.get("directory", "")), str(provider.get("filename", "")))
            if (content := reader.load(path, template=True))
        ),
        unread=tuple(reader.faults),
    )


class _Reader:
    """Loads configuration files, and remembers what it could not read."""

    def __init__(self, *, files: Mapping[str, str | None], mounts: Sequence[str]) -> None:
        self.faults: list[Fault] = []
        self._files = files
        self._mounts = [posixpath.normpath(mount) for mount in mounts if mount]

    def watched(self, directory: str, filename: str) -> list[str]:
        """Paths that the file provider reads."""
        if directory:
            folder = posixpath.normpath(directory)
            self._covered(folder)
            return [
                path
                for path in sorted(self._files)
                if posixpath.normpath(path).startswith(f"{folder}/") and path.endswith(_SUFFIXES)
            ]
        if filename:
            self._covered(posixpath.normpath(filename))
            if filename not in self._files:
                self.faults.append(_opaque(filename, "is not among the container's uploads"))
                return []
            return [filename]
        return []

    def _covered(self, path: str) -> None:
        if any(path == m or path.startswith(f"{m}/") or m.startswith(f"{path}/") for m in self._mounts):
            self.faults.append(_opaque(path, "is mounted from outside, so its content can't be known"))

    def load(self, path: str, *, template: bool = False) -> dict[str, Any]:
        """Read a file; a fault and an empty mapping when that fails."""
        if not template:
            self._covered(posixpath.normpath(path))
        text = self._files.get(path)
        if text is None:
            self.faults.append(_opaque(path, "can't be read from the resource"))
            return {}
        if template and "{{" in text:
            self.faults.append(_opaque(path, "is a template, whose result can't be known"))
            return {}
        try:
            content = tomllib.loads(text) if path.endswith(".toml") else yaml.load(text, Loader=_Unique)  # noqa: S506  # a SafeLoader
        except (yaml.YAMLError, tomllib.TOMLDecodeError):
            self.faults.append(_broken(path, "does not parse, so Traefik drops all of it"))
            return {}
        if content is not None and not isinstance(content, dict):
            self.faults.append(_broken(path, "is not a mapping, so Traefik drops all of it"))
        return content if isinstance(content, dict) else {}


LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The quick loader where PyYAML has it; both make plain values only."""


class _Unique(LOADER):  # type: ignore[misc,valid-type]
    """YAML as Go reads it: a key twice is an error, not a choice."""


def _mapping(loader: _Unique, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = Counter(key.value for key, _ in node.value)
    if keys and max(keys.values()) > 1:
        raise yaml.constructor.ConstructorError(None, None, "key twice", node.start_mark)
    made: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return made


_Unique.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _shape(file: str, content: Mapping[str, Any]) -> Iterator[Fault]:
    for top, body in content.items():
        if top not in _SECTIONS:
            yield _opaque(f"{file}: {top}", "is not a section that Traefik's file provider is known to have")
        elif not body or not isinstance(body, Mapping):
            yield _broken(f"{file}: {top}", "is empty, so Traefik drops the whole file")
        else:
            for section, entries in body.items():
                if section not in _SECTIONS[top]:
                    yield _opaque(f"{file}: {top}.{section}", "is not a section that is understood")
                elif not entries:
                    yield _broken(f"{file}: {top}.{section}", "is empty, so Traefik drops the whole file")


def _unknown(path: str, value: Any, known: frozenset[str]) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield _broken(path, "is not a mapping")
        return
    for key in sorted(set(value) - known):
        yield _opaque(f"{path}.{key}", "is not a setting whose traffic is known")


def _texts(path: str, value: Mapping[str, Any]) -> Iterator[Fault]:
    for key in sorted(key for key, inner in value.items() if not isinstance(inner, str)):
        yield _broken(f"{path}.{key}", "is not text")


def _children(service: Mapping[str, Any]) -> list[Any]:
    """Services that a service hands requests on to."""
    weighted, mirroring, failover = (
        _section(service, kind) for kind in ("weighted", "mirroring", "failover")
    )
    return [
        *(child.get("name") for child in _list(weighted.get("services")) if isinstance(child, Mapping)),
        *(child.get("name") for child in _list(mirroring.get("mirrors")) if isinstance(child, Mapping)),
        *_list(mirroring.get("service")),
        *_list(failover.get("service")),
        *_list(failover.get("fallback")),
    ]


def _servers(services: Mapping[str, Any], name: str, seen: frozenset[str]) -> Iterator[str]:
    service = services.get(name)
    if name in seen or not isinstance(service, Mapping):
        return
    for server in _list(_section(service, "loadBalancer").get("servers")):
        if isinstance(server, Mapping):
            yield str(server.get("url") or server.get("address") or "")
    for child in _children(service):
        yield from _servers(services, _bare(str(child)), seen | {name})


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, argument in enumerate(arguments):
        if argument.startswith("-"):
            name, given, value = argument.lstrip("-").partition("=")
            following = arguments[index + 1] if index + 1 < len(arguments) else "-"
            yield name.lower(), value if given else "true" if following.startswith("-") else following


def _nested(flat: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            inner = place.get(parent)
            place[parent] = place = inner if isinstance(inner, dict) else {}
        if not isinstance(place.get(last), dict):
            place[last] = value
    return tree


def lower(value: Any) -> Any:
    """Settings with their keys as Traefik compares those of its static configuration."""
    if isinstance(value, Mapping):
        return {str(key).lower(): lower(inner) for key, inner in value.items()}
    return value


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return dict(one) | {
        key: _merged(one[key], value)
        if isinstance(value, Mapping) and isinstance(one.get(key), Mapping)
        else value
        for key, value in other.items()
    }


def _section(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _bare(name: str) -> str:
    return name.removesuffix("@file")


def _true(value: Any) -> bool:
    return str(value).lower() == "true"


def _listens(address: str) -> Port | None:
    """Port of an entrypoint address such as `:80` or `0.0.0.0:53/udp`; None on loopback or without a port."""
    where, _, protocol = address.partition("/")
    host, _, number = where.rpartition(":")
    if host.startswith(("127.", "localhost", "[::1]")) or not number.isdigit():
        return None
    return Port(number=int(number), protocol=Protocol.UDP if protocol == "udp" else Protocol.TCP)


def _opaque(path: str, text: str) -> Fault:
    return Fault(kind=Kind.OPAQUE, path=path, text=text)


def _broken(path: str, text: str) -> Fault:
    return Fault(kind=Kind.BROKEN, path=path, text=text)
