"""Dynamic files for Traefik, generated with fixed seeds: plain ones, and ones with one odd thing each."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from resources.traefik_shape import DYNAMIC, Names, Several, Shape, Struct

Content = dict[str, Any]
NAMES: Final = ("shop", "wiki-1", "api_v2", "n.1", "x")
ENTRIES: Final = ("web", "websecure")
BASE: Final[Content] = {
    "http": {
        "routers": {
            "one": {
                "rule": "Host(`one.example`)",
                "entryPoints": ["websecure"],
                "service": "one",
                "middlewares": ["guard"],
                "tls": {"options": "strict"},
                "priority": 5,
            },
            "two": {"rule": "Host(`two.example`)", "entryPoints": ["web"], "service": "three"},
        },
        "services": {
            "one": {
                "loadBalancer": {
                    "servers": [{"url": "http://10.0.0.1:80", "weight": 1}],
                    "passHostHeader": True,
                    "serversTransport": "own",
                }
            },
            "two": {"loadBalancer": {"servers": [{"url": "http://10.0.0.2:8080"}]}},
            "three": {"weighted": {"services": [{"name": "one", "weight": 1}, {"name": "two"}]}},
            "four": {"mirroring": {"service": "one", "mirrors": [{"name": "two", "percent": 10}]}},
        },
        "middlewares": {
            "guard": {
                "headers": {
                    "frameDeny": True,
                    "stsSeconds": 31536000,
                    "customRequestHeaders": {"Proxy": ""},
                }
            },
            "gate": {"chain": {"middlewares": ["guard"]}},
            "rate": {"rateLimit": {"average": 10, "burst": 20}},
        },
        "serversTransports": {"own": {"serverName": "one", "insecureSkipVerify": False}},
    },
    "tcp": {
        "routers": {
            "t": {
                "rule": "HostSNI(`db.example`)",
                "entryPoints": ["websecure"],
                "service": "t",
                "tls": {"passthrough": True},
            }
        },
        "services": {"t": {"loadBalancer": {"servers": [{"address": "10.0.0.3:5432"}]}}},
    },
    "udp": {
        "routers": {"u": {"entryPoints": ["dns"], "service": "u"}},
        "services": {"u": {"loadBalancer": {"servers": [{"address": "10.0.0.4:53"}]}}},
    },
    "tls": {"options": {"strict": {"minVersion": "VersionTLS12", "sniStrict": True}}},
}
"""A configuration without a fault, in which oddities take the place of one value each."""

SCALARS: Final = (
    *("yes", "No", "on", "off", "y", "T", "t", "TRUE", "True", "true", "false", "F"),
    *("~", "null", "NULL", "", "0", "1", "-1", "+1", "08", "010", "0o10", "0x10", "0b1", "1_000", "1e3"),
    *("1.5", ".5", "2.0", "1:30", "22:22:22", "2024-01-01", "2024-01-01 10:00:00", ".inf", ".NaN", "="),
    *("99999999999999999999", "!!str 1", "!!str true", "!!bool yes", "!!int '1'", "!!float 1", "!x y"),
    *("! one", "!!binary b25l", "!!set {a, b}", "*nope", "&b one", "|-\n   one", ">\n   one", '"\\x6fne"'),
    *("'one'", "[]", "{}", "[one]", "[[one]]", "[one, two]", "[1, two]", "[~]", "[true]", "{one: two}"),
    *("{one: ~}", "║24║one", "║24║web║websecure", "one,two", "web,websecure", "' one '", "one #x", "one#x"),
    *("é", '"\\u2028one"', '"one\\0"', '"one\\n"', "@file", "one@file", "one@docker", "api@internal"),
    *("One", "web", "WEB", "'{}'", '"true"', "'1'", "a: b", "- one", "? one", "'on'", "one@FILE", "guard"),
)
"""Scalars of YAML, as they are written; one with a `!`, `*` or `:` may be another thing, or an error."""
KEY: Final = object()
"""The end of a path whose key is replaced, in place of its value."""
PLACES: Final[tuple[tuple[Any, ...], ...]] = (
    ("http", "routers", "one", "service"),
    ("http", "routers", "one", "rule"),
    ("http", "routers", "one", "entryPoints"),
    ("http", "routers", "one", "entryPoints", 0),
    ("http", "routers", "one", "tls"),
    ("http", "routers", "one", "tls", "options"),
    ("http", "routers", "one", "middlewares"),
    ("http", "routers", "one", "middlewares", 0),
    ("http", "routers", "one", "priority"),
    ("http", "routers", "one"),
    ("http", "routers", "two", KEY),
    ("http", "routers"),
    ("http", "services", "one", "loadBalancer"),
    ("http", "services", "one", "loadBalancer", "servers"),
    ("http", "services", "one", "loadBalancer", "servers", 0),
    ("http", "services", "one", "loadBalancer", "servers", 0, "url"),
    ("http", "services", "one", "loadBalancer", "servers", 0, "weight"),
    ("http", "services", "one", "loadBalancer", "passHostHeader"),
    ("http", "services", "one", "loadBalancer", "serversTransport"),
    ("http", "services", "four", KEY),
    ("http", "services", "three", "weighted", "services"),
    ("http", "services", "three", "weighted", "services", 1, "name"),
    ("http", "services", "four", "mirroring", "service"),
    ("http", "services", "four", "mirroring", "mirrors"),
    ("http", "services", "four"),
    ("http", "middlewares", "guard", "headers"),
    ("http", "middlewares", "guard", "headers", "frameDeny"),
    ("http", "middlewares", "guard", "headers", "stsSeconds"),
    ("http", "middlewares", "guard", "headers", "customRequestHeaders"),
    ("http", "middlewares", "guard", "headers", "customRequestHeaders", "Proxy"),
    ("http", "middlewares", "guard", "headers", "customRequestHeaders", "Proxy", KEY),
    ("http", "middlewares", "gate", "chain", "middlewares"),
    ("http", "middlewares", "gate", KEY),
    ("http", "middlewares", "rate", "rateLimit", "average"),
    ("http", "middlewares"),
    ("http", "serversTransports", "own", "insecureSkipVerify"),
    ("http", "serversTransports", "own", "serverName"),
    ("http",),
    ("tcp", "routers", "t", "tls"),
    ("tcp", "routers", "t", "tls", "passthrough"),
    ("tcp", "routers", "t", "service"),
    ("tcp", "services", "t", "loadBalancer", "servers", 0, "address"),
    ("udp", "routers", "u", "entryPoints"),
    ("udp", "services", "u", "loadBalancer", "servers"),
    ("tls", "options", "strict", "sniStrict"),
    ("tls", "options", "strict", "minVersion"),
    ("tls", "options", "strict", KEY),
    ("tls",),
)
_TOKEN: Final = "odd-one-out"


@dataclass(frozen=True, kw_only=True)
class Files:
    """Dynamic files by their path below the folder, and a name that tells what is odd about them."""

    name: str
    files: Mapping[str, str]


def written(content: Content, style: str) -> str:
    """Return a file's text; styles are yaml, json (as YAML), toml, and lower and upper for keys of YAML."""
    if style == "toml":
        return toml(content)
    if style == "json":
        return json.dumps(content, ensure_ascii=False)
    if style in {"lower", "upper"}:
        content = _spelled(content, str.lower if style == "lower" else str.upper)
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))


def toml(content: Content) -> str:
    """Return settings as TOML, with everything below the first keys inline."""
    return "".join(f"{json.dumps(key)} = {_inline(value)}\n" for key, value in content.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _spelled(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        known = set(_fields(DYNAMIC))
        return {change(k) if k in known else k: _spelled(each, change) for k, each in value.items()}
    return [_spelled(each, change) for each in value] if isinstance(value, list) else value


def _fields(shape: Shape) -> Iterator[str]:
    """Yield the keys of a shape at any depth."""
    if isinstance(shape, Names | Several):
        yield from _fields(shape.of)
    elif isinstance(shape, Struct):
        for name, inner in shape.fields.items():
            yield name
            yield from _fields(inner)


def plain(seed: int) -> Files:
    """Return files without a fault: routers, services and middlewares of all kinds, in one to four files."""
    made = random.Random(seed)  # noqa: S311  # seeds make it repeatable
    content: Content = {"http": _http(made)}
    if made.random() < 0.5:
        content["tcp"] = _streams(made, "tcp")
    if made.random() < 0.3:
        content["udp"] = _streams(made, "udp")
    parts: list[Content] = [{} for _ in range(made.randint(1, 4))]
    for protocol, sections in content.items():
        for section, entries in sections.items():
            for name, entry in entries.items():
                part = made.choice(parts)
                part.setdefault(protocol, {}).setdefault(section, {})[name] = entry
    files = {}
    for place, part in enumerate(part for part in parts if part):
        style = made.choice(("yaml", "yaml", "json", "toml", "lower", "upper"))
        folder = made.choice(("", "", "sub/"))
        suffix = "toml" if style == "toml" else made.choice(("yml", "yaml", "YML"))
        files[f"{folder}f{place}.{suffix}"] = written(part, style)
    return Files(name=f"plain {seed}", files=files)


def _http(made: random.Random) -> Content:
    middlewares = {f"m{place}": _middleware(made, place) for place in range(made.randint(1, 4))}
    services: Content = {name: _servers(made, "http") for name in made.sample(NAMES, made.randint(1, 4))}
    for place in range(made.randint(0, 2)):
        services[f"s{place}"] = _above(made, sorted(services))
    routers: Content = {}
    for name in made.sample(NAMES, made.randint(1, 4)):
        router: Content = {"rule": _rule(made, "Host", name), "service": made.choice(sorted(services))}
        if made.random() < 0.9:
            router["entryPoints"] = made.sample(ENTRIES, made.randint(1, 2))
        if made.random() < 0.6:
            router["middlewares"] = made.sample(sorted(middlewares), made.randint(1, len(middlewares)))
        if made.random() < 0.4:
            router["tls"] = made.choice(({}, {"options": "default"}))
        if made.random() < 0.3:
            router["service"] += "@file"
        if made.random() < 0.3:
            router["priority"] = made.randint(1, 99)
        routers[name] = router
    return {"routers": routers, "services": services, "middlewares": middlewares}


def _rule(made: random.Random, matcher: str, name: str) -> str:
    host = f"{matcher}(`{name.replace('_', '-')}.example`)"
    return made.choice(
        (host, host, f"{host} || {matcher}(`www.{name.replace('_', '-')}.example`)")
        + ((f"{host} && PathPrefix(`/a`)", f"{host} && !PathPrefix(`/admin`)") if matcher == "Host" else ())
    )


def _servers(made: random.Random, protocol: str) -> Content:
    servers: list[Content] = []
    for _ in range(made.randint(1, 3)):
        where = f"10.{made.randint(0, 9)}.0.{made.randint(1, 9)}:{made.randint(1, 65535)}"
        if protocol == "http":
            servers.append({"url": f"{made.choice(('http', 'https', 'h2c'))}://{where}"})
        else:
            servers.append({"address": where})
    return {"loadBalancer": {"servers": servers}}


def _above(made: random.Random, names: list[str]) -> Content:
    one, two = made.choice(names), made.choice(names)
    return made.choice(
        (
            {"weighted": {"services": [{"name": one, "weight": 3}, {"name": f"{two}@file"}]}},
            {"mirroring": {"service": one, "mirrors": [{"name": two, "percent": 5}]}},
            {"failover": {"service": one, "fallback": two}},
        )
    )


def _middleware(made: random.Random, place: int) -> Content:
    kinds: list[Content] = [
        {"headers": {"frameDeny": True, "customResponseHeaders": {"Server": ""}}},
        {"rateLimit": {"average": made.randint(1, 99), "burst": made.randint(1, 99)}},
        {"stripPrefix": {"prefixes": ["/a", "/b"]}},
        {"compress": {}},
        {"buffering": {"maxRequestBodyBytes": made.randint(1, 9999)}},
        {"redirectScheme": {"scheme": "https", "permanent": True}},
        {"ipAllowList": {"sourceRange": ["10.0.0.0/8"]}},
        {"inFlightReq": {"amount": 5}},
    ]
    return {"chain": {"middlewares": [f"m{place - 1}"]}} if place == 3 else made.choice(kinds)


def _streams(made: random.Random, protocol: str) -> Content:
    names = made.sample(NAMES, 1 if protocol == "udp" else made.randint(1, 2))
    services = {name: _servers(made, protocol) for name in names}
    routers: Content = {}
    for name in sorted(services):
        router: Content = {"entryPoints": ["dns"], "service": name}
        if protocol == "tcp":
            router |= {"rule": _rule(made, "HostSNI", name), "tls": {"passthrough": made.random() < 0.5}}
            router["entryPoints"] = [made.choice(ENTRIES)]
        routers[name] = router
    return {"routers": routers, "services": services}


def odd_scalars(each: int) -> Iterator[Files]:
    """Yield files in which one value or key is odd: `each` places of every scalar, chosen by its number."""
    for number, scalar in enumerate(SCALARS):
        for path in random.Random(number).sample(PLACES, each):  # noqa: S311  # repeatable
            yield Files(name=f"{scalar!r} at {_said(path)}", files={"f.yml": replaced(path, scalar)})


def _said(path: tuple[Any, ...]) -> str:
    return ".".join("(key)" if step is KEY else str(step) for step in path)


def replaced(path: tuple[Any, ...], text: str, base: Content = BASE) -> str:
    """Return a base as YAML with `text` as it is in place of the value at a path, or of its key."""
    content = copy.deepcopy(base)
    *steps, last = path
    place: Any = content
    for step in steps[:-1] if last is KEY else steps:
        place = place[step]
    if last is KEY:
        entries = [(_TOKEN if key == steps[-1] else key, value) for key, value in place.items()]
        place.clear()
        place.update(entries)
    else:
        place[last] = _TOKEN
    return written(content, "yaml").replace(_TOKEN, text)


def folders() -> Iterator[Files]:
    """Yield files that are odd as a whole: their names, their number, their syntax."""
    for name, files in FOLDERS.items():
        yield Files(name=name, files=files)


def _route(name: str, more: str = "", *, service: str = "", host: str = "10.0.0.1") -> str:
    return (
        f"http:\n  routers:\n    {name}: {{rule: 'Host(`{name}.example`)', entryPoints: [web], "
        f"service: {service or name}{more}}}\n"
        f"  services:\n    {name}: {{loadBalancer: {{servers: [{{url: 'http://{host}:80'}}]}}}}\n"
    )


_ONE: Final = _route("one")
FOLDERS: Final[Mapping[str, Mapping[str, str]]] = {
    "suffixes that are none": {"a.yml.bak": _ONE, "b.json": _ONE, "c.txt": _ONE, "d": _ONE, "e.yml~": _ONE},
    "suffixes in any case": {"a.YML": _ONE, "b.Yaml": _route("two"), "c.TOML": toml(BASE)},
    "hidden files": {".a.yml": _ONE, ".yml": _route("two")},
    "folders": {"x/a.yml": _ONE, "x/y/b.yaml": _route("two"), ".z/c.yml": _route("three")},
    "a folder with a suffix": {"x.yml/a.txt": _ONE, "x.yml/b.yml": _route("two")},
    "a router twice": {"a.yml": _ONE, "b.yml": _route("one", host="10.0.0.2")},
    "a router twice alike": {"a.yml": _ONE, "b.yml": _ONE},
    "a service twice": {
        "a.yml": _ONE,
        "b.yml": _route("two") + "    one: {loadBalancer: {servers: [{url: 'http://x'}]}}\n",
    },
    "names that differ in case": {"a.yml": _ONE, "b.yml": _route("One")},
    "a service of another file": {"a.yml": _route("one", service="two"), "b.yml": _route("two")},
    "empty": {"a.yml": "", "b.yml": _ONE},
    "a comment alone": {"a.yml": "# x\n", "b.toml": "# x\n", "c.yml": _ONE},
    "null": {"a.yml": "~\n", "b.yml": _ONE},
    "a list": {"a.yml": "[a]\n", "b.yml": _ONE},
    "a broken file beside a sound one": {"a.yml": "http: [\n", "b.yml": _ONE},
    "TOML in a file of YAML": {"a.yml": toml(BASE)},
    "YAML in a file of TOML": {"a.toml": _ONE},
    "a template": {"a.yml": _ONE.replace("10.0.0.1", '{{ print "10.9.9.9" }}')},
    "a template that defines a router": {"a.yml": f"{{{{ if true }}}}\n{_ONE}{{{{ end }}}}\n"},
    "a template in a comment": {"a.yml": _ONE + "# {{ env `HOME` }}\n"},
    "half a template": {"a.yml": _ONE + "# {{ x\n"},
    "braces of YAML": {
        "a.yml": "http: {routers: {one: {rule: 'Host(`a`)', service: one}}, services: {one: "
        "{loadBalancer: {servers: [{url: 'http://a'}]} }}}\n"
    },
    "a byte order mark": {"a.yml": "\ufeff" + _ONE},
    "lines of Windows": {"a.yml": _ONE.replace("\n", "\r\n")},
    "tabs": {"a.yml": _ONE.replace("  ", "\t")},
    "tabs between": {"a.yml": _ONE.replace(": {", ":\t{")},
    "a leading document": {"a.yml": "---\n" + _ONE},
    "two documents": {"a.yml": f"{_ONE}---\n{_route('two')}"},
    "a document's end": {"a.yml": _ONE + "...\n"},
    "a trailing document": {"a.yml": _ONE + "---\n"},
    "a directive": {"a.yml": f"%YAML 1.1\n---\n{_ONE}"},
    "a later version": {"a.yml": f"%YAML 1.2\n---\n{_ONE}"},
    "an anchor": {
        "a.yml": _ONE.replace("loadBalancer: {", "loadBalancer: &a {") + "    two: {loadBalancer: *a}\n"
    },
    "a merge": {
        "a.yml": _ONE.replace("one: {rule", "one: &a {rule").replace(
            "  services:", "    two: {<<: *a, rule: 'Host(`two`)'}\n  services:"
        )
    },
    "a merge of two": {
        "a.yml": _ONE.replace("one: {rule", "one: &a {rule").replace(
            "  services:",
            "    two: &b {<<: *a, rule: 'Host(`2`)'}\n    three: {<<: [*b, *a], priority: 3}\n  services:",
        )
    },
    "a merge in a list's order": {
        "a.yml": _ONE.replace("one: {rule", "one: &a {rule").replace(
            "  services:",
            "    two: &b {<<: *a, rule: 'Host(`2`)'}\n    three: {<<: [*a, *b], priority: 3}\n  services:",
        )
    },
    "a merge twice": {
        "a.yml": _ONE.replace("one: {rule", "one: &a {rule").replace(
            "  services:", "    two: {<<: *a, <<: *a}\n  services:"
        )
    },
    "an alias of itself": {"a.yml": _ONE + "  middlewares: &a {m: {chain: *a}}\n"},
    "aliases by the million": {
        "a.yml": _ONE
        + "x: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"x{i}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8))
    },
    "deep nesting": {"a.yml": f"{_ONE}x: {'[' * 5000}{']' * 5000}\n"},
    "a key twice": {"a.yml": _ONE + "  routers: {two: {rule: 'Host(`2`)', service: one}}\n"},
    "a router's name twice": {
        "a.yml": _ONE.replace("  services", "    one: {rule: 'Host(`2`)', service: one}\n  services")
    },
    "a section in two spellings": {"a.yml": _ONE + "  Routers: {two: {rule: 'Host(`2`)', service: one}}\n"},
    "a protocol in two spellings": {
        "a.yml": _ONE + "HTTP: {routers: {two: {rule: 'Host(`2`)', service: one}}}\n"
    },
    "a setting in two spellings": {"a.yml": _route("one", ", entrypoints: [websecure]")},
    "a setting in letters that fold": {"a.yml": _route("one", ", \u017fervice: two")},
    "a complex key": {"a.yml": _ONE + "? [a]\n: b\n"},
    "an unknown section": {"a.yml": _ONE + "grpc: {routers: {}}\n"},
    "an unknown setting": {"a.yml": _route("one", ", hosts: [a]")},
    "settings of later versions": {"a.yml": _route("one", ", parentRefs: [two]")},
    "empty sections": {"a.yml": _ONE + "  middlewares: {}\n"},
    "sections of null": {"a.yml": _ONE + "  middlewares: ~\ntcp: ~\ntls:\n"},
    "a rule over lines": {"a.yml": _ONE.replace("'Host(`one.example`)'", '"Host(`a`) ||\n      Host(`b`)"')},
    "a service in a circle": {
        "a.yml": _ONE + "    a: {weighted: {services: [{name: b}]}}\n"
        "    b: {weighted: {services: [{name: a}]}}\n"
    },
    "a router into a circle": {
        "a.yml": _route("one", service="a") + "    a: {weighted: {services: [{name: b}, "
        "{name: one}]}}\n    b: {weighted: {services: [{name: a}]}}\n"
    },
    "a chain in a circle": {
        "a.yml": _route("one", ", middlewares: [a]") + "  middlewares: {a: {chain: "
        "{middlewares: [b]}}, b: {chain: {middlewares: [a]}}}\n"
    },
    "two kinds of one service": {
        "a.yml": _ONE.replace("{loadBalancer", "{weighted: {services: [{name: two}]}, loadBalancer")
        + "    two: {loadBalancer: {servers: [{url: 'http://10.0.0.2:80'}]}}\n"
    },
    "two kinds of one middleware": {
        "a.yml": _route("one", ", middlewares: [m]") + "  middlewares: {m: {addPrefix: "
        "{prefix: /a}, stripPrefix: {prefixes: [/b]}}}\n"
    },
    "no kind of service": {"a.yml": _ONE + "    two: {}\n    three: ~\n"},
    "servers of other sites": {"a.yml": _ONE.replace("10.0.0.1:80", "user:word@10.0.0.1:80/path?q#f")},
    "a server without a scheme": {"a.yml": _ONE.replace("http://10.0.0.1:80", "10.0.0.1:80")},
    "a server of IPv6": {"a.yml": _ONE.replace("10.0.0.1:80", "[::1]:80")},
    "a server of another scheme": {"a.yml": _ONE.replace("http://", "ftp://")},
    "a name with an at": {
        "a.yml": _route("one", service="a@file") + "    a@file: {loadBalancer: {servers: "
        "[{url: 'http://10.0.0.7:80'}]}}\n    a: {loadBalancer: {servers: [{url: 'http://10.0.0.8:80'}]}}\n"
    },
    "a name with two ats": {
        "a.yml": _route("one", service="a@file@file") + "    a@file: {loadBalancer: {servers: "
        "[{url: 'http://10.0.0.7:80'}]}}\n    a: {loadBalancer: {servers: [{url: 'http://10.0.0.8:80'}]}}\n"
    },
    "names that are switches": {
        "a.yml": _route("on", service="yes") + "    yes: {loadBalancer: {servers: "
        "[{url: 'http://10.0.0.7:80'}]}}\n"
    },
    "names that are numbers": {"a.yml": _ONE.replace("one", "80")},
    "quoted numbers as names": {
        "a.yml": _ONE.replace("one: ", "'80': ").replace("service: one", "service: 80")
    },
    "TOML with a date": {"a.toml": "http.routers.a.rule = 2024-01-01\n"},
    "TOML with a fraction": {
        "a.toml": '[http.services.a.loadBalancer]\nservers = [{url = "http://a", weight = 1.5}]\n'
    },
    "TOML with other numbers": {
        "a.toml": '[http.services.a.loadBalancer]\nservers = [{url = "http://a", weight = 0x10}, '
        '{url = "http://b", weight = 1_0}]\n[http.routers.a]\nrule = "Host(`a`)"\nservice = "a"\n'
        'entryPoints = ["web"]\n'
    },
    "TOML with tables": {
        "a.toml": '[http.routers.a]\nrule = "Host(`a`)"\nservice = "a"\nentryPoints = ["web"]\n'
        '[[http.services.a.loadBalancer.servers]]\nurl = "http://a"\n'
        '[[http.services.a.loadBalancer.servers]]\nurl = "http://b"\n'
    },
    "TOML with a table twice": {"a.toml": "[http.routers]\n[http.routers]\n"},
    "TOML with two spellings": {
        "a.toml": '[http.routers.a]\nrule = "Host(`a`)"\nRule = "Host(`b`)"\nservice = "a"\n'
        '[[http.services.a.loadBalancer.servers]]\nurl = "http://a"\n'
    },
    "TOML over lines": {"a.toml": 'http = {routers = {a = {rule = "Host(`a`)",\n service = "a",}}}\n'},
    "TOML with texts over lines": {
        "a.toml": '[http.routers.a]\nrule = """\nHost(`a`)"""\nservice = \'a\'\n'
        'entryPoints = ["web"]\n[[http.services.a.loadBalancer.servers]]\nurl = "http://a"\n'
    },
    "TOML with mixed lists": {
        "a.toml": '[http.routers.a]\nrule = "Host(`a`)"\nservice = "a"\nentryPoints = ["web", 1]\n'
        '[[http.services.a.loadBalancer.servers]]\nurl = "http://a"\n'
    },
    "TOML with numbers as names": {
        "a.toml": '[http.routers.80]\nrule = "Host(`a`)"\nservice = "80"\nentryPoints = ["web"]\n'
        '[[http.services.80.loadBalancer.servers]]\nurl = "http://a"\n'
    },
}
"""Folders of dynamic files by what is odd about each."""
