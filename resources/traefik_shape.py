"""Traefik's settings whose effect on traffic is known, each with the type of value that Traefik takes.

Source: the Go structs of Traefik 3.7 (`pkg/config`) and its decoder (`paerser`), which compares keys without
case, leaves out null, splits text at commas where a list is due, and drops a whole file for one wrong value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

UNKNOWN: Final = "is not a setting whose traffic is known"
EMPTY: Final = "is empty, so Traefik drops the whole file"
_NO_MAPPING: Final = "is not a mapping"
_INT64: Final = 2**63
_TIME: Final = re.compile(r"\d{1,15}|(\d{1,15}(\.\d{1,9})?(ns|us|ms|s|m|h))+")
_SWITCHES: Final[Mapping[bool | str, bool]] = {True: True, False: False, "true": True, "false": False}
_NAME: Final = re.compile(r"[^\s@║](?:[^\r\n\x00@║]*[^\s@║])?")
_SLICE: Final = "║"
"""What Traefik's decoder writes between the items of a list; in a text it makes a list."""


class Kind(StrEnum):
    """A simple value, and what is wrong with any other."""

    FLAG = "is neither true nor false"
    NUMBER = "is not a whole number"
    TEXT = "is not text"
    TEXTS = "is not a list of texts"
    TIME = "is not a duration such as 10s"
    ANY = ""


@dataclass(frozen=True, kw_only=True)
class Struct:
    """A mapping with known keys. With `optional`, true means all defaults, and false that it is not set."""

    fields: Mapping[str, Shape]
    optional: bool = False
    unknown: str = UNKNOWN

    def spelled(self, key: Any) -> str | None:
        """Return a key as this table spells it, None if it is unknown."""
        return self._spellings.get(key.lower()) if isinstance(key, str) else None

    @property
    def _spellings(self) -> Mapping[str, str]:
        return {name.lower(): name for name in self.fields}


@dataclass(frozen=True)
class Names:
    """A mapping whose keys are names that the user chooses."""

    of: Shape


@dataclass(frozen=True)
class Several:
    """A list of mappings."""

    of: Struct


Shape = Kind | Struct | Names | Several


def _struct(
    *,
    flag: str = "",
    number: str = "",
    text: str = "",
    texts: str = "",
    time: str = "",
    optional: bool = False,
    unknown: str = UNKNOWN,
    **nested: Shape,
) -> Struct:
    """Return a struct of fields by their kinds, names separated by spaces."""
    kinds = {Kind.FLAG: flag, Kind.NUMBER: number, Kind.TEXT: text, Kind.TEXTS: texts, Kind.TIME: time}
    simple: dict[str, Shape] = {name: kind for kind, names in kinds.items() for name in names.split()}
    return Struct(fields={**simple, **nested}, optional=optional, unknown=unknown)


_TEXT_MAP: Final = Names(Kind.TEXT)
_NOTHING: Final = _struct(optional=True)
_TLS: Final = _struct(
    optional=True, text="options certResolver", domains=Several(_struct(text="main", texts="sans"))
)
_CERTIFICATE: Final[Mapping[str, Any]] = {"text": "certFile keyFile"}
_ROUTER: Final[Mapping[str, Any]] = {
    "text": "rule ruleSyntax service",
    "number": "priority",
    "texts": "entryPoints middlewares",
}
_WEIGHTED: Final = Several(_struct(text="name", number="weight"))
_STICKY: Final = _struct(
    optional=True,
    cookie=_struct(optional=True, text="name sameSite path domain", flag="secure httpOnly", number="maxAge"),
)
_STRATEGY: Final = _struct(optional=True, number="depth ipv6Subnet", texts="excludedIPs")
_CLIENT: Final = _struct(text="requestHeaderName", flag="requestHost", ipStrategy=_STRATEGY)
_LOGIN: Final = _struct(text="usersFile realm headerField", flag="removeHeader")
_NAMED_BY: Final = (
    "country province locality organization organizationalUnit commonName serialNumber domainComponent"
)
_ENCODED: Final = " ".join(
    f"allowEncoded{each}"
    for each in ("BackSlash", "Hash", "NullCharacter", "Percent", "QuestionMark", "Semicolon", "Slash")
)
_MIDDLEWARE: Final = _struct(
    unknown="sends requests to destinations that can't be known",
    addPrefix=_struct(text="prefix"),
    basicAuth=_LOGIN,
    buffering=_struct(
        number="maxRequestBodyBytes maxResponseBodyBytes memRequestBodyBytes memResponseBodyBytes"
    ),
    chain=_struct(texts="middlewares"),
    circuitBreaker=_struct(
        text="expression", time="checkPeriod fallbackDuration recoveryDuration", number="responseCode"
    ),
    compress=_struct(
        optional=True,
        texts="excludedContentTypes includedContentTypes encodings",
        number="minResponseBodyBytes",
        text="defaultEncoding",
    ),
    contentType=_struct(optional=True, flag="autoDetect"),
    digestAuth=_LOGIN,
    encodedCharacters=_struct(flag=_ENCODED),
    errors=_struct(
        texts="status errorRequestHeaders", text="service query", statusRewrites=Names(Kind.NUMBER)
    ),
    forwardAuth=_struct(text="address", texts="authResponseHeaders"),
    grpcWeb=_struct(texts="allowOrigins"),
    headers=_struct(
        flag="browserXssFilter contentTypeNosniff forceSTSHeader frameDeny stsIncludeSubdomains stsPreload",
        number="stsSeconds",
        text="contentSecurityPolicy contentSecurityPolicyReportOnly customFrameOptionsValue permissionsPolicy"
        " referrerPolicy",
        customRequestHeaders=_TEXT_MAP,
        customResponseHeaders=_TEXT_MAP,
    ),
    inFlightReq=_struct(number="amount", sourceCriterion=_CLIENT),
    ipAllowList=_struct(texts="sourceRange", number="rejectStatusCode", ipStrategy=_STRATEGY),
    passTLSClientCert=_struct(
        flag="pem",
        info=_struct(
            flag="notAfter notBefore sans serialNumber",
            subject=_struct(flag=_NAMED_BY),
            issuer=_struct(flag=_NAMED_BY.replace("organizationalUnit ", "")),
        ),
    ),
    rateLimit=_struct(number="average burst", time="period", sourceCriterion=_CLIENT),
    redirectRegex=_struct(text="regex replacement", flag="permanent"),
    redirectScheme=_struct(text="scheme port", flag="permanent"),
    replacePath=_struct(text="path"),
    replacePathRegex=_struct(text="regex replacement"),
    retry=_struct(number="attempts", time="initialInterval timeout"),
    stripPrefix=_struct(texts="prefixes", flag="forceSlash"),
    stripPrefixRegex=_struct(texts="regex"),
)
"""Middlewares that open no connection; `forwardAuth` and plugins do."""
_STREAM_MIDDLEWARE: Final = _struct(
    unknown="sends requests to destinations that can't be known",
    inFlightConn=_struct(number="amount"),
    ipAllowList=_struct(texts="sourceRange"),
)
_HTTP_SERVICE: Final = _struct(
    loadBalancer=_struct(
        text="serversTransport strategy",
        flag="passHostHeader",
        servers=Several(_struct(text="url", number="weight", flag="preservePath")),
        sticky=_STICKY,
        responseForwarding=_struct(time="flushInterval"),
        healthCheck=_struct(
            text="scheme mode path method hostname",
            number="status port",
            time="interval unhealthyInterval timeout",
            flag="followRedirects",
            headers=_TEXT_MAP,
        ),
    ),
    weighted=_struct(services=_WEIGHTED, sticky=_STICKY, healthCheck=_NOTHING),
    mirroring=_struct(
        text="service",
        flag="mirrorBody",
        number="maxBodySize",
        mirrors=Several(_struct(text="name", number="percent")),
        healthCheck=_NOTHING,
    ),
    failover=_struct(text="service fallback", healthCheck=_NOTHING),
)
_TCP_SERVICE: Final = _struct(
    loadBalancer=_struct(text="serversTransport", servers=Several(_struct(text="address", flag="tls"))),
    weighted=_struct(services=_WEIGHTED, healthCheck=_NOTHING),
)
_UDP_SERVICE: Final = _struct(
    loadBalancer=_struct(servers=Several(_struct(text="address"))), weighted=_struct(services=_WEIGHTED)
)
_PEER: Final[Mapping[str, Any]] = {
    "text": "serverName peerCertURI",
    "flag": "insecureSkipVerify",
    "texts": "rootCAs",
}
_HTTP_TRANSPORT: Final = _struct(
    text="serverName peerCertURI minVersion maxVersion",
    flag="insecureSkipVerify disableHTTP2",
    texts="rootCAs cipherSuites",
    number="maxIdleConnsPerHost",
    certificates=Several(_struct(**_CERTIFICATE)),
    forwardingTimeouts=_struct(
        time="dialTimeout responseHeaderTimeout idleConnTimeout readIdleTimeout pingTimeout"
    ),
)
_TCP_TRANSPORT: Final = _struct(
    time="dialKeepAlive dialTimeout terminationDelay",
    tls=_struct(optional=True, certificates=Several(_struct(**_CERTIFICATE)), **_PEER),
)
_SECTION: Final = "is not a section that is understood"
DYNAMIC: Final = _struct(
    unknown="is not a section that Traefik's file provider is known to have",
    http=_struct(
        unknown=_SECTION,
        routers=Names(
            _struct(
                **_ROUTER,
                tls=_TLS,
                observability=_struct(flag="accessLogs metrics tracing", text="traceVerbosity"),
            )
        ),
        services=Names(_HTTP_SERVICE),
        middlewares=Names(_MIDDLEWARE),
        serversTransports=Names(_HTTP_TRANSPORT),
    ),
    tcp=_struct(
        unknown=_SECTION,
        routers=Names(
            _struct(**_ROUTER, tls=Struct(fields={**_TLS.fields, "passthrough": Kind.FLAG}, optional=True))
        ),
        services=Names(_TCP_SERVICE),
        middlewares=Names(_STREAM_MIDDLEWARE),
        serversTransports=Names(_TCP_TRANSPORT),
    ),
    udp=_struct(
        unknown=_SECTION,
        routers=Names(_struct(text="service", texts="entryPoints")),
        services=Names(_UDP_SERVICE),
    ),
    tls=_struct(
        unknown=_SECTION,
        certificates=Several(_struct(**_CERTIFICATE, texts="stores")),
        options=Names(
            _struct(
                text="minVersion",
                texts="alpnProtocols cipherSuites curvePreferences",
                flag="sniStrict",
                clientAuth=_struct(text="clientAuthType", texts="caFiles"),
            )
        ),
        stores=Names(_struct(defaultCertificate=_struct(**_CERTIFICATE))),
    ),
)
"""The dynamic configuration, with keys as Traefik spells them."""
_ENTRYPOINT: Final = _struct(
    text="address",
    flag="asdefault reuseport",
    forwardedheaders=_struct(flag="insecure", texts="trustedips"),
    http=_struct(
        text="aliasheadersstrategy",
        number="maxheaderbytes",
        texts="middlewares",
        flag="sanitizepath",
        encodedcharacters=_struct(flag=_ENCODED.lower()),
        redirections=_struct(entrypoint=_struct(flag="permanent", number="priority", text="scheme to")),
        tls=_struct(
            optional=True,
            text="certresolver options",
            domains=Several(_struct(text="main", texts="sans")),
        ),
    ),
    http2=_struct(number="maxconcurrentstreams maxdecoderheadertablesize maxencoderheadertablesize"),
    transport=_struct(
        number="keepalivemaxrequests",
        time="keepalivemaxtime",
        lifecycle=_struct(time="requestacceptgracetimeout gracetimeout"),
        respondingtimeouts=_struct(time="idletimeout readtimeout writetimeout"),
    ),
)
STATIC: Final = Struct(
    fields={
        "accesslog": _struct(
            optional=True,
            text="format",
            number="bufferingsize",
            flag="addinternals",
            filters=_struct(texts="statuscodes", flag="retryattempts", time="minduration"),
            fields=_struct(
                text="defaultmode",
                names=_TEXT_MAP,
                headers=_struct(text="defaultmode", names=_TEXT_MAP),
                queryparameters=_struct(text="defaultmode", names=_TEXT_MAP),
            ),
        ),
        "api": _struct(optional=True, text="basepath", flag="insecure dashboard debug disabledashboardad"),
        "certificatesresolvers": Names(Kind.ANY),
        "core": _struct(text="defaultrulesyntax"),
        "entrypoints": Names(_ENTRYPOINT),
        "global": _struct(flag="checknewversion sendanonymoususage"),
        "log": _struct(
            optional=True,
            text="level format filepath",
            flag="nocolor compress",
            number="maxsize maxage maxbackups",
        ),
        "metrics": _struct(
            flag="addinternals",
            prometheus=_struct(
                optional=True,
                text="entrypoint",
                flag="addentrypointslabels addrouterslabels addserviceslabels manualrouting",
                headerlabels=_TEXT_MAP,
            ),
        ),
        "ping": _struct(
            optional=True, text="entrypoint", flag="manualrouting", number="terminatingstatuscode"
        ),
        "providers": _struct(
            time="providersthrottleduration", file=_struct(text="directory filename", flag="watch")
        ),
        "serverstransport": _struct(
            flag="insecureskipverify",
            texts="rootcas",
            number="maxidleconnsperhost",
            forwardingtimeouts=_struct(time="dialtimeout responseheadertimeout idleconntimeout"),
        ),
        "tcpserverstransport": _struct(
            time="dialkeepalive dialtimeout terminationdelay",
            tls=_struct(optional=True, flag="insecureskipverify", texts="rootcas"),
        ),
    }
)
"""The static configuration, with keys in lower case."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A value that Traefik takes in another way than its place suggests, or a setting that is not known."""

    path: str
    text: str
    known: bool = True


@dataclass
class Shaped:
    """Reads values by their shapes, and keeps what does not fit."""

    misfits: list[Misfit] = field(default_factory=list)

    def read(self, value: Any, shape: Shape, path: str) -> Any:
        """Return a value as Traefik takes it: known keys as the table spells them, none of them null."""
        match shape:
            case Kind():
                return self._simple(value, shape, path)
            case Several(of=of) if isinstance(value, list):
                return [self.read(each, of, f"{path}[{place}]") for place, each in enumerate(value)]
            case Several():
                return self._misfit(value, path, "is not a list of mappings")
            case Struct(optional=True) if isinstance(value, bool | str) and value in _SWITCHES:
                return {} if _SWITCHES[value] else None
        if not isinstance(value, Mapping):
            return self._misfit(value, path, _NO_MAPPING)
        given = {key: inner for key, inner in value.items() if inner is not None}
        if not given and not (isinstance(shape, Struct) and shape.optional):
            self._misfit(value, path, EMPTY)
        pairs = (
            self._names(given, shape, path) if isinstance(shape, Names) else self._keys(given, shape, path)
        )
        return {key: inner for key, inner in pairs if inner is not None}

    def _simple(self, value: Any, kind: Kind, path: str) -> Any:
        try:
            return _SIMPLE[kind](value)
        except ValueError:
            return self._misfit(value, path, str(kind))

    def _names(self, given: Mapping[Any, Any], shape: Names, path: str) -> Iterator[tuple[str, Any]]:
        for key, inner in given.items():
            at = f"{path}.{key}".lstrip(".")
            if (
                not isinstance(key, str)
                or not key.strip()
                or not key.isprintable()
                or set(key) & {"@", _SLICE}
            ):
                self._misfit(inner, at, "is not a name that every reader keeps")
            yield str(key), self.read(inner, shape.of, at)

    def _keys(self, given: Mapping[Any, Any], shape: Struct, path: str) -> Iterator[tuple[Any, Any]]:
        times = Counter(str(key).lower() for key in given)
        for key, inner in given.items():
            name = shape.spelled(key) if times[str(key).lower()] == 1 else None
            at = f"{path}.{name or key}".replace(": .", ": ").lstrip(".")
            if name is None:
                self.misfits.append(Misfit(path=at, text=shape.unknown, known=False))
            yield name or key, inner if name is None else self.read(inner, shape.fields[name], at)

    def _misfit(self, value: Any, path: str, text: str) -> Any:
        self.misfits.append(Misfit(path=path, text=text))
        return value


def lower(value: Any) -> Any:
    """Return settings with lower-case keys; Traefik ignores case in its static configuration."""
    if isinstance(value, Mapping):
        return {str(key).lower(): lower(inner) for key, inner in value.items()}
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool | str) or value not in _SWITCHES:
        raise ValueError
    return _SWITCHES[value]


def _number(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"0|-?[1-9]\d{0,18}", str(value)):
        raise ValueError
    if not -_INT64 <= int(value) < _INT64:
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or _SLICE in value:
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_text(each).strip() for each in value]
    given = _text(value)
    return [each.strip() for each in given.split(",")] if given else []


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not _TIME.fullmatch(str(value)):
        raise ValueError
    return value


_SIMPLE: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.FLAG: _flag,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
    Kind.TIME: _time,
    Kind.ANY: lower,
}
