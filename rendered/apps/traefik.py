"""Traefik's static and dynamic configuration, generated from the declared routes.

Traefik reads routes from a folder of files; no container gets the Docker socket. Middlewares for every
request are set at the entry point, so no route can omit them.

Note: an empty section in a dynamic file makes Traefik drop the whole file with one log line, so sections
without content are omitted. A middleware that limits bodies also buffers responses, which breaks streams.
"""

from collections import defaultdict
from ipaddress import IPv4Address

from rendered.apps.text import as_yaml
from rendered.runtime import PemFile, Runtime, StackSecret, Text
from topology.certificates import ACME_AUTHORITY, ACME_VOLUME, RESOLVER, IssuedCertificate, login, resolver
from topology.model import (
    ANY_NAME,
    BASIC,
    HTTP,
    HTTPS,
    IDENTITY_HEADERS,
    Acme,
    Certificate,
    Container,
    Port,
    Protocol,
    Route,
    Topology,
)

_FOLDER = "/etc/traefik"
_DYNAMIC = f"{_FOLDER}/dynamic"
_USERS = f"{_FOLDER}/users"
_WEB, _WEBSECURE, _PING = "web", "websecure", "ping"
_HEADERS, _RATE, _CONCURRENCY, _BODY, _LOGIN = "headers", "rate", "concurrency", "body", "login"
_EVERY_REQUEST = [f"{name}@file" for name in (_HEADERS, _RATE, _CONCURRENCY)]

_CIPHERS = [
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
    for key in ("ECDSA", "RSA")
]
"""Cipher suites for TLS 1.2: Mozilla's intermediate list without DHE, which Traefik does not support."""
_CURVES = ["X25519MLKEM768", "X25519", "CurveP256", "CurveP384"]

_CLEAN = {
    "sanitizePath": True,
    "encodedCharacters": {
        f"allowEncoded{character}": False
        for character in ("BackSlash", "NullCharacter", "Percent", "Semicolon", "Slash")
    },
    "aliasHeadersStrategy": "delete",
    "maxHeaderBytes": 32768,
}
"""Restrictions on requests. PHP does not distinguish the headers X_Real_Ip and X-Real-Ip."""

_GUARD = {
    "stsSeconds": 63072000,
    "contentTypeNosniff": True,
    "customFrameOptionsValue": "SAMEORIGIN",
    "referrerPolicy": "strict-origin-when-cross-origin",
    "customRequestHeaders": {"Proxy": ""},
    "customResponseHeaders": {"Server": "", "X-Powered-By": ""},
}
"""Security headers. WordPress frames its own pages; PHP treats the request header Proxy as a setting."""


def traefik(topology: Topology, service: Container) -> Runtime:
    """Return a runtime with one router a host name of each route, on the ports of its audience.

    It serves port 80 (redirects only), 443 and every other port of a declared flow (TLS), at its edge address
    and where services have a flow to it. Requests that match no route get a 404.
    """
    users: dict[str, Text] = {}
    if any(route.login == BASIC for route in topology.routes):
        users[_USERS] = StackSecret("traefik", "users")
    guests = {
        IssuedCertificate(service.name, route.service).authorities: PemFile(
            key=f"services.{route.service}.ca-file", path=route.ca_file
        )
        for route in topology.routes
        if route.ca_file
    }
    acme = topology.acme
    return Runtime(
        files={
            f"{_FOLDER}/traefik.yml": as_yaml(_static(topology)),
            f"{_DYNAMIC}/routes.yml": as_yaml(_routes(topology) | _streams(topology)),
            f"{_DYNAMIC}/middlewares.yml": as_yaml(_middlewares(topology)),
            f"{_DYNAMIC}/tls.yml": as_yaml(_tls(topology)),
            **_certificates(topology.tls),
            **users,
            **guests,
        },
        environment=login(acme) if acme else {},
        data={ACME_VOLUME: "acme"} if acme else {},
        health=("traefik", "healthcheck"),
    )


def _certificates(tls: Certificate | Acme | None) -> dict[str, Text]:
    """Return the certificate and key, or the files that the ACME client needs to request certificates."""
    if isinstance(tls, Certificate):
        return {
            f"{_FOLDER}/tls/certificate.pem": PemFile(key="tls.certificate", path=tls.certificate),
            f"{_FOLDER}/tls/key.pem": PemFile(key="tls.key", path=tls.key, secret=True),
        }
    if tls is None:
        return {}
    authority = {ACME_AUTHORITY: PemFile(key="tls.acme.ca-file", path=tls.ca_file)} if tls.ca_file else {}
    secrets = zip(login(tls).values(), tls.credentials, strict=True)
    return {**authority, **{file: StackSecret("acme", name) for file, name in secrets}}


def _static(topology: Topology) -> dict[str, object]:
    proxies = [str(prefix) for prefix in topology.docker.trusted_proxies]
    acme, edge = topology.acme, topology.edge_address
    secure = {
        "http": {
            "tls": {"certResolver": RESOLVER} if acme else {},
            "middlewares": _EVERY_REQUEST,
            **_CLEAN,
        },
        "transport": _patience(read=60, idle=60),
        **({"forwardedHeaders": {"trustedIPs": proxies}} if proxies else {}),
    }
    redirect = {
        "http": {
            "redirections": {"entryPoint": {"to": _WEBSECURE, "scheme": "https", "permanent": True}},
            **_CLEAN,
        },
        "transport": _patience(read=10, idle=10),
    }
    streams = {each.entry for each in topology.streams}
    published = {port.number for port in {*topology.published} - streams if port.protocol is Protocol.TCP}
    ports = [(edge, number) for number in sorted({HTTP.number, HTTPS.number, *published})]
    ports += [
        (at, number)
        for at, numbers in topology.ears.items()
        for number in numbers
        if Port(number=number) not in streams
    ]
    return {
        "entryPoints": {
            **{
                _entry_point(topology, at, port.number, str(port.protocol)): {"address": f"{at}:{port}"}
                for port in sorted(streams, key=str)
                for at in _heard(topology, port)
            },
            **{
                _entry_point(topology, at, number): {
                    "address": f"{at}:{number}",
                    **(redirect if number == HTTP.number else secure),
                }
                for at, number in ports
            },
            _PING: {"address": "127.0.0.1:8082"},
        },
        **({"certificatesResolvers": {RESOLVER: {"acme": resolver(acme)}}} if acme else {}),
        "ping": {"entryPoint": _PING},
        "providers": {"file": {"directory": _DYNAMIC, "watch": False}},
        "log": {"level": "INFO"},
        "accessLog": {
            "format": "json",
            "fields": {
                "names": {"ClientUsername": "drop"},
                "headers": {"defaultMode": "drop"},
                "queryParameters": {"defaultMode": "drop"},
            },
        },
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }


def _entry_point(topology: Topology, at: IPv4Address, number: int, kind: str = _WEBSECURE) -> str:
    """Return an entry point's name, with a port that is not standard and an address that is not edge's."""
    standard = {HTTP.number: _WEB, HTTPS.number: _WEBSECURE} if kind == _WEBSECURE else {}
    name = standard.get(number, f"{kind}-{number}")
    return name if at == topology.edge_address else f"{name}-at-{str(at).replace('.', '-')}"


def _entry_points(topology: Topology, route: Route) -> list[str]:
    """Return the names of a route's entry points: on its ports, at each address where the ingress listens."""
    ears = {topology.edge_address: route.ports, **topology.ears}
    return [
        _entry_point(topology, at, number)
        for at, numbers in ears.items()
        for number in numbers
        if number in route.ports
    ]


def _heard(topology: Topology, port: Port) -> list[IPv4Address]:
    """Return the ingress's addresses where a stream's port listens."""
    inside = [at for at, numbers in topology.ears.items() if port.number in numbers]
    return [topology.edge_address, *(inside if port.protocol is Protocol.TCP else ())]


def _streams(topology: Topology) -> dict[str, object]:
    """Return a router and a service for each stream, by protocol; UDP has no rules."""
    found: defaultdict[str, dict[str, dict[str, object]]] = defaultdict(lambda: defaultdict(dict))
    for each in topology.streams:
        name, kind, number = f"{each.service}-{each.entry.number}", str(each.port.protocol), each.entry.number
        found[kind]["routers"][name] = {
            **({"rule": ANY_NAME} if each.port.protocol is Protocol.TCP else {}),
            "entryPoints": [_entry_point(topology, at, number, kind) for at in _heard(topology, each.entry)],
            "service": name,
        }
        found[kind]["services"][name] = {"loadBalancer": {"servers": [{"address": each.address}]}}
    return {kind: dict(sections) for kind, sections in found.items()}


def _patience(*, read: int, idle: int) -> dict[str, object]:
    """Return the timeouts for reading a whole request and between two requests; responses have no timeout."""
    return {"respondingTimeouts": {"readTimeout": f"{read}s", "idleTimeout": f"{idle}s"}}


def _routes(topology: Topology) -> dict[str, object]:
    if not topology.routes:
        return {}
    transports = {
        route.service: {
            "serverName": topology.physical(route.service),
            "rootCAs": [IssuedCertificate(topology.ingress.name, route.service).authorities],
        }
        for route in topology.routes
        if route.ca_file
    }
    return {
        "http": {
            "routers": {
                place if number else route.name: {
                    "rule": rule,
                    "entryPoints": _entry_points(topology, route),
                    "service": route.name,
                    **({"middlewares": names} if (names := _before(route, place)) else {}),
                }
                for route in topology.routes
                for number, (place, rule) in enumerate(route.rules.items())
            },
            "services": {
                route.name: {
                    "loadBalancer": {
                        "servers": [{"url": route.url}],
                        **({"serversTransport": route.service} if route.ca_file else {}),
                    }
                }
                for route in topology.routes
            },
            **({"serversTransports": transports} if transports else {}),
        }
    }


_REDIRECT = "redirect"
_OWN = {
    "rateLimit": _RATE,
    "inFlightReq": _CONCURRENCY,
    "stripPrefix": "paths",
    "headers": _HEADERS,
    "buffering": _BODY,
}
"""Kinds of middlewares of a single route -> what their names begin with."""


def _before(route: Route, place: str) -> list[str]:
    """Return the middlewares of a router: a redirect or limits first, then the login and what comes after it.

    Bodies are buffered for the site's own pages and where it is declared, because buffering breaks streams.
    """
    login = _LOGIN if route.login == BASIC else f"{_LOGIN}-{route.login}"
    own = {kind: f"{_OWN[kind]}-{route.name}" for kind in route.middlewares}
    limits = [own.pop(kind) for kind in ("rateLimit", "inFlightReq") if kind in own]
    body = [_BODY] if route.app and "buffering" not in own else []
    redirect = [f"{_REDIRECT}-{route.name}"] if place in route.redirects else []
    return [*redirect, *limits, *([login] if route.login else []), *own.values(), *body]


def _middlewares(topology: Topology) -> dict[str, object]:
    """Return the middlewares, which identify a client by its peer address.

    Behind trusted proxies the client is the last address in X-Forwarded-For that is not a proxy's.
    """
    proxies = [str(prefix) for prefix in topology.docker.trusted_proxies]
    client = {"sourceCriterion": {"ipStrategy": {"excludedIPs": proxies} if proxies else {"depth": 0}}}
    found: dict[str, object] = {
        _HEADERS: {"headers": _GUARD},
        _RATE: {"rateLimit": {"average": 100, "burst": 200, **client}},
        _CONCURRENCY: {"inFlightReq": {"amount": 100, **client}},
        _BODY: {"buffering": {"maxRequestBodyBytes": 4194304}},
    }
    if any(route.login == BASIC for route in topology.routes):
        found[_LOGIN] = {"basicAuth": {"usersFile": _USERS, "realm": topology.domain, "removeHeader": True}}
    for route in topology.routes:
        if route.login_url:
            answers = {"address": route.login_url, "authResponseHeaders": list(IDENTITY_HEADERS)}
            found[f"{_LOGIN}-{route.login}"] = {"forwardAuth": answers}
        if route.redirects:
            found[f"{_REDIRECT}-{route.name}"] = {"redirectRegex": route.redirect}
        for kind, settings in route.middlewares.items():
            by = client if kind in {"rateLimit", "inFlightReq"} else {}
            found[f"{_OWN[kind]}-{route.name}"] = {kind: {**settings, **by}}
    return {"http": {"middlewares": found}}


def _tls(topology: Topology) -> dict[str, object]:
    pair = {"certFile": f"{_FOLDER}/tls/certificate.pem", "keyFile": f"{_FOLDER}/tls/key.pem"}
    return {
        "tls": {
            **({} if topology.acme else {"certificates": [pair]}),
            "options": {
                "default": {
                    "minVersion": "VersionTLS12",
                    "cipherSuites": _CIPHERS,
                    "curvePreferences": _CURVES,
                    "sniStrict": True,
                }
            },
        }
    }
