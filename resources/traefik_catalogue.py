"""Settings of Traefik whose effect on traffic is known, by section.

Keys of the static configuration are lower-case, those of dynamic files as Traefik spells them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

SETTINGS: Final = frozenset(
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
ENTRYPOINT: Final = frozenset(
    ["address", "asdefault", "forwardedheaders", "http", "http2", "reuseport", "transport"]
)
FORWARDED: Final = frozenset(["insecure", "trustedips"])
TRANSPORT: Final = frozenset(["keepalivemaxrequests", "keepalivemaxtime", "lifecycle", "respondingtimeouts"])
TIMEOUTS: Final = frozenset(["idletimeout", "readtimeout", "writetimeout"])
ENCODED: Final = frozenset(
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
ENTRYPOINT_HTTP: Final = frozenset(
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
TLS: Final = frozenset(["certresolver", "domains", "options"])
ACCESS_LOG: Final = frozenset(["addinternals", "bufferingsize", "fields", "filters", "format"])
LOG_FIELDS: Final = frozenset(["defaultmode", "headers", "names", "queryparameters"])
REDIRECTION: Final = frozenset(["permanent", "priority", "scheme", "to"])
CERTIFICATE: Final = frozenset({"certFile", "keyFile", "stores"})
TLS_OPTION: Final = frozenset(
    ["alpnProtocols", "cipherSuites", "clientAuth", "curvePreferences", "minVersion", "sniStrict"]
)
SERVERS_TRANSPORT: Final[Mapping[str, frozenset[str]]] = {
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
FILE_PROVIDER: Final = frozenset(["directory", "filename", "watch"])
SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset({"routers", "services", "middlewares", "serversTransports"}),
    "tcp": frozenset({"routers", "services", "middlewares", "serversTransports"}),
    "udp": frozenset({"routers", "services"}),
    "tls": frozenset({"certificates", "options", "stores"}),
}
ROUTER: Final = frozenset(
    ["entryPoints", "middlewares", "observability", "priority", "rule", "ruleSyntax", "service", "tls"]
)
SERVICE: Final[Mapping[str, frozenset[str]]] = {
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
SERVER: Final = frozenset({"address", "preservePath", "tls", "url", "weight"})
MIDDLEWARES: Final = frozenset(
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
        "forwardAuth",
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
"""Known middlewares. Of these `forwardAuth` alone opens a connection, to its address; plugins may, too."""
CLIENT: Final = frozenset({"sourceCriterion"})
SETTINGS_OF: Final[Mapping[str, frozenset[str]]] = {
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
            "browserXssFilter",
            "contentSecurityPolicy",
            "contentSecurityPolicyReportOnly",
            "contentTypeNosniff",
            "customFrameOptionsValue",
            "customRequestHeaders",
            "customResponseHeaders",
            "forceSTSHeader",
            "frameDeny",
            "permissionsPolicy",
            "referrerPolicy",
            "stsIncludeSubdomains",
            "stsPreload",
            "stsSeconds",
        ]
    ),
    "forwardAuth": frozenset({"address", "authResponseHeaders"}),
    "inFlightReq": frozenset({"amount"}) | CLIENT,
    "rateLimit": frozenset({"average", "burst", "period"}) | CLIENT,
}
"""Settings of the hardening middlewares; an unknown setting makes Traefik drop the whole file."""
AUTHENTICATION: Final = frozenset({"basicAuth", "digestAuth"})


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from value
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, frozenset):
        yield from value


_TABLES: Final = (
    *(
        SECTIONS,
        SERVERS_TRANSPORT,
        ROUTER,
        SERVICE,
        SERVER,
        MIDDLEWARES,
        SETTINGS_OF,
        CERTIFICATE,
        TLS_OPTION,
    ),
    frozenset(
        {"certResolver", "domains", "excludedIPs", "ipStrategy", "depth", "peerCertURI", "sourceRange"}
    ),
)
DYNAMIC: Final[Mapping[str, str]] = {name.lower(): name for table in _TABLES for name in _names(table)}
"""Keys of dynamic files as Traefik spells them, by their lower-case form: it reads them in any case."""
FREE: Final = frozenset(
    [
        "customrequestheaders",
        "customresponseheaders",
        "middlewares",
        "options",
        "routers",
        "serverstransports",
        "services",
        "stores",
    ]
)
"""Keys below which the next keys are names that the user chooses."""
