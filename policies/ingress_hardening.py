"""Hardening that Traefik needs on the internet: TLS, headers, limits, request normalisation and logging.

Note: each setting must be written even if Traefik's default is good, because the next version may have
another default. Messages name paths, never values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from resources.traefik import Configuration, listed, place, split
from topology.model import ADMIN_PAGE_LEFT_OUT, IDENTITY_HEADERS

_VERSIONS: Final = frozenset({"VersionTLS12", "VersionTLS13"})
_CIPHERS: Final = frozenset(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
)
_CURVES: Final = frozenset({"CurveP256", "CurveP384", "X25519", "X25519MLKEM768"})
_A_YEAR: Final = 365 * 24 * 3600
_FRAMES: Final = frozenset({"DENY", "SAMEORIGIN"})
_REFERRERS: Final = frozenset(
    {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
)
_MOST_HEADERS: Final = 65536
_MOST_SECONDS: Final = 300
_MOST_REQUESTS: Final = 1000
_MOST_BODY: Final = 16 * 1024 * 1024
_ENCODED: Final = ("backslash", "nullcharacter", "percent", "semicolon", "slash")
_UNIT: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PATHS: Final = frozenset(
    {"addPrefix", "errors", "replacePath", "replacePathRegex", "stripPrefix", "stripPrefixRegex"}
)
"""Middlewares that change a request's path."""
_IDENTITY: Final = frozenset(name.lower() for name in IDENTITY_HEADERS)
_HASH: Final = re.compile(r"[^:\s]+:\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")

Proxies = Sequence[str]
"""Prefixes of the declared trusted proxies."""


def tls(configuration: Configuration, files: Mapping[str, str | None]) -> Iterator[str]:
    """Yield outdated TLS versions, ciphers and curves, and handshakes for names without a certificate."""
    options = {name: (path, option) for path, name, option in configuration.items("tls", "options")}
    if "default" not in options:
        yield "tls.options.default: is missing, so anything that Traefik can speak is spoken"
    for path, option in options.values():
        given = option if isinstance(option, Mapping) else {}
        if str(given.get("minVersion")) not in _VERSIONS:
            yield f"{path}.minVersion: is neither VersionTLS12 nor VersionTLS13"
        if given.get("minVersion") != "VersionTLS13":
            yield from _among(f"{path}.cipherSuites", given.get("cipherSuites"), _CIPHERS)
        yield from _among(f"{path}.curvePreferences", given.get("curvePreferences"), _CURVES)
        if given.get("sniStrict") is not True:
            yield f"{path}.sniStrict: is not true, so any host name gets a handshake"
    if not configuration.certificates and not configuration.resolvers:
        yield "tls.certificates: is missing, so no host name has a certificate"
    for path, certificate in configuration.certificates:
        for key in ("certFile", "keyFile"):
            if str(certificate.get(key)) not in files:
                yield f"{path}.{key}: names no uploaded file"


def answers(configuration: Configuration) -> Iterator[str]:
    """Yield entry points that serve plain HTTP or lack security headers."""
    for name, entrypoint in configuration.listening:
        path, http = f"entrypoints.{name}", _section(entrypoint, "http")
        if "tls" not in http:
            to = _section(_section(http, "redirections"), "entrypoint")
            if to.get("scheme") != "https" or "tls" not in _section(
                dict(configuration.listening).get(str(to.get("to")), {}), "http"
            ):
                yield f"{path}: neither has TLS nor redirects to an entrypoint that does"
            continue
        headers = _merged(configuration, http, "headers")
        if not _within(headers.get("stsSeconds"), _A_YEAR, None):
            yield f"{path}: no middleware of it sets stsSeconds to a year or more"
        if headers.get("contentTypeNosniff") is not True:
            yield f"{path}: no middleware of it sets contentTypeNosniff"
        if (
            headers.get("frameDeny") is not True
            and str(headers.get("customFrameOptionsValue")) not in _FRAMES
        ):
            yield f"{path}: no middleware of it sets customFrameOptionsValue or frameDeny"
        if str(headers.get("referrerPolicy")) not in _REFERRERS:
            yield f"{path}: no middleware of it sets a referrerPolicy that keeps paths from other sites"
        removed = _section(headers, "customResponseHeaders")
        for header in ("Server", "X-Powered-By"):
            if removed.get(header) != "":
                yield f"{path}: no middleware of it empties customResponseHeaders.{header}"


def limits(configuration: Configuration) -> Iterator[str]:
    """Yield missing bounds on the size, number and duration of requests."""
    for name, entrypoint in configuration.listening:
        path, http = f"entrypoints.{name}", _section(entrypoint, "http")
        timeouts = _section(_section(entrypoint, "transport"), "respondingtimeouts")
        for key in ("readtimeout", "idletimeout"):
            if not _within(timeouts.get(key), 1, _MOST_SECONDS):
                yield f"{path}.transport.respondingtimeouts.{key}: is not within 1-{_MOST_SECONDS} s"
        if not _within(http.get("maxheaderbytes"), 1, _MOST_HEADERS):
            yield f"{path}.http.maxheaderbytes: is not within 1-{_MOST_HEADERS}"
        if "tls" not in http:
            continue
        rate, running = (_merged(configuration, http, kind) for kind in ("rateLimit", "inFlightReq"))
        for key in ("average", "burst"):
            if not _within(rate.get(key), 1, _MOST_REQUESTS):
                yield f"{path}: no rateLimit of it keeps {key} within 1-{_MOST_REQUESTS}"
        if not _within(rate.get("period", 1), 1, None):
            yield f"{path}: its rateLimit has a period of less than a second"
        if not _within(running.get("amount"), 1, _MOST_REQUESTS):
            yield f"{path}: no inFlightReq of it keeps amount within 1-{_MOST_REQUESTS}"


def requests(configuration: Configuration) -> Iterator[str]:
    """Yield missing normalisation of paths and headers that two programs may read differently."""
    for name, entrypoint in configuration.listening:
        path, http = f"entrypoints.{name}.http", _section(entrypoint, "http")
        if not _is(http.get("sanitizepath"), "true"):
            yield f"{path}.sanitizepath: is not true, so services see paths with .. and //"
        encoded = _section(http, "encodedcharacters")
        for character in _ENCODED:
            if not _is(encoded.get(f"allowencoded{character}"), "false"):
                yield f"{path}.encodedcharacters.allowencoded{character}: is not false"
        if str(http.get("aliasheadersstrategy")) not in {"delete", "reject"}:
            yield f"{path}.aliasheadersstrategy: is neither delete nor reject; X_Real_Ip passes as X-Real-Ip"
        removed = _section(_merged(configuration, http, "headers"), "customRequestHeaders")
        if "tls" in http and removed.get("Proxy") != "":
            yield f"{path}: no middleware of it empties customRequestHeaders.Proxy"


def proxies(configuration: Configuration, declared: Proxies) -> Iterator[str]:
    """Yield trusted addresses that are not declared, and limits that do not count per client."""
    for name, entrypoint in configuration.listening:
        path, http = f"entrypoints.{name}", _section(entrypoint, "http")
        trusted = {str(each) for each in listed(_section(entrypoint, "forwardedheaders").get("trustedips"))}
        if trusted - set(declared):
            yield f"{path}.forwardedheaders.trustedips: names an undeclared proxy"
        if "tls" not in http:
            continue
        if set(declared) - trusted:
            yield f"{path}.forwardedheaders.trustedips: lacks a declared trusted proxy"
    for at, kind, settings in configuration.middlewares(
        name for _, name, _ in configuration.items("http", "middlewares")
    ):
        if kind in {"rateLimit", "inFlightReq"}:
            by = _section(_section(settings, "sourceCriterion"), "ipStrategy")
            counted = {"excludedIPs": list(declared)} if declared else {"depth": 0}
            if dict(by) != counted or set(_section(settings, "sourceCriterion")) != {"ipStrategy"}:
                yield f"{at}.{kind}.sourceCriterion: does not count by the client's address"


def log(configuration: Configuration) -> Iterator[str]:
    """Yield a missing access log, another format than JSON, and logged secrets."""
    given = configuration.static.get("accesslog")
    if not isinstance(given, Mapping) or given.get("format") != "json":
        yield "accesslog.format: is not json"
    fields = _section(given if isinstance(given, Mapping) else {}, "fields")
    for section, what in (("headers", "cookies and credentials"), ("queryparameters", "tokens in addresses")):
        modes = _section(fields, section)
        kept = [name for name, mode in _section(modes, "names").items() if mode == "keep"]
        if modes.get("defaultmode") != "drop" or kept or set(modes) - {"defaultmode", "names"}:
            yield f"accesslog.fields.{section}: does not drop {what}"
    if _section(fields, "names").get("ClientUsername") != "drop":
        yield "accesslog.fields.names.ClientUsername: is not drop; people type passwords there"
    if fields.get("defaultmode", "keep") != "keep":
        yield "accesslog.fields.defaultmode: drops what an access log is for"


def logins(
    configuration: Configuration, guarded: Iterable[str], files: Mapping[str, str | None]
) -> Iterator[str]:
    """Yield routers to these `host:port` without a login or passing passwords on, and weak password files."""
    wanted = frozenset(guarded)
    for path, names, netloc in configuration.routed:
        if netloc not in wanted:
            continue
        kinds = [(at, body) for at, kind, body in configuration.middlewares(names) if kind == "basicAuth"]
        if not kinds:
            yield f"{path}: leads to a service without users, and asks for no login"
        for at, body in kinds:
            text = files.get(str(body.get("usersFile", "")))
            if text is None:
                yield f"{at}.basicAuth.usersFile: names no uploaded file"
            elif text != "[secret]" and not all(map(_HASH.fullmatch, text.splitlines() or [""])):
                yield f"{at}.basicAuth.usersFile: has a line that is not name:bcrypt"
            if body.get("removeHeader") is not True:
                yield f"{at}.basicAuth.removeHeader: is not true, so the service gets the password"


def forward_logins(configuration: Configuration, asked: Mapping[str, str]) -> Iterator[str]:
    """Yield routers to `host:port` in `asked` that do not ask its URL, and user names from elsewhere."""
    for path, names, netloc in configuration.routed:
        before = list(configuration.middlewares(names if netloc in asked else ()))
        if netloc in asked and not any(
            kind == "forwardAuth" and body.get("address") == asked[netloc] for _, kind, body in before
        ):
            yield f"{path}: leads to a service behind another's login, and does not ask at {asked[netloc]}"
        for at, kind, body in before:
            if kind == "headers" and _IDENTITY & {*map(str.lower, _section(body, "customRequestHeaders"))}:
                yield f"{at}.headers.customRequestHeaders: writes a user's name after the login"
    for at, _, middleware in configuration.items("http", "middlewares"):
        body = _section(middleware, "forwardAuth") if isinstance(middleware, Mapping) else {}
        if body and body.get("address") not in asked.values():
            yield f"{at}.forwardAuth.address: is no declared login"
        if body and _IDENTITY - {str(name).lower() for name in listed(body.get("authResponseHeaders"))}:
            yield f"{at}.forwardAuth.authResponseHeaders: leaves user names in that the client wrote"


def password_files(configuration: Configuration) -> frozenset[str]:
    """Return the paths of the files with user names and password hashes."""
    return frozenset(
        str(settings["usersFile"])
        for _, _, middleware in configuration.items("http", "middlewares")
        for settings in (middleware.values() if isinstance(middleware, Mapping) else ())
        if isinstance(settings, Mapping) and "usersFile" in settings
    )


def bodies(configuration: Configuration, bounded: Iterable[str]) -> Iterator[str]:
    """Yield routers to these `host:port` that do not limit the size of bodies."""
    wanted = frozenset(bounded)
    for path, names, netloc in configuration.routed:
        most = [
            body.get("maxRequestBodyBytes")
            for _, kind, body in configuration.middlewares(names)
            if kind == "buffering"
        ]
        if netloc in wanted and not any(_within(each, 1, _MOST_BODY) for each in most):
            yield f"{path}: no buffering of it keeps maxRequestBodyBytes within 1-{_MOST_BODY}"


def admin_pages(configuration: Configuration, closed: Collection[str]) -> Iterator[str]:
    """Yield routers to these `host:port` that pass the admin page, or can rewrite another path to it."""
    for path, rule, url in configuration.targets():
        parts, to = split(url), place(url)
        if to in closed and ("||" in rule or not rule.endswith(ADMIN_PAGE_LEFT_OUT)):
            yield f"{path}: passes an admin page"
        if to in closed and parts.path.strip("/"):
            yield f"{path}: puts a path before the one that is asked for"
    entered = [
        name for _, e in configuration.listening for name in listed(_section(e, "http").get("middlewares"))
    ]
    for path, names, netloc in configuration.routed:
        for at, kind, _ in configuration.middlewares([*entered, *names] if netloc in closed else ()):
            if kind in _PATHS:
                yield f"{path}: {at}.{kind} asks for another path"


def _among(path: str, given: object, known: frozenset[str]) -> Iterator[str]:
    names = set(map(str, listed(given)))
    if not names:
        yield f"{path}: is not set, so old ones are accepted"
    for name in sorted(names - known):
        yield f"{path}: {name} is not among the current ones"


def _merged(configuration: Configuration, http: Mapping[str, object], kind: str) -> Mapping[str, object]:
    """Return the merged settings of one kind of middleware of an entry point; the first value wins."""
    found: dict[str, object] = {}
    for _, name, settings in configuration.middlewares(listed(http.get("middlewares"))):
        if name == kind:
            found = dict(settings) | found
    return found


def _within(value: object, least: float, most: float | None) -> bool:
    """Whether a number, or a duration such as `60s`, lies between two bounds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", str(value))
    if not match:
        return False
    number = float(match[1]) * _UNIT[match[2] or ""]
    return least <= number and (most is None or number <= most)


def _is(value: object, word: str) -> bool:
    return str(value).lower() == word


def _section(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}
