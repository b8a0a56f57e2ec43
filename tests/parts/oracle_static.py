"""Static configurations for Traefik, as files, arguments and environment, most with one odd value."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from tests.parts.oracle_files import KEY, replaced, toml

PORTS: Final = ("@API@", "@WEB@", "@SECURE@", "@DNS@")
"""What stands for free ports of loopback."""
FOLDER: Final = "@FOLDER@"
"""What stands for the folder of the static file, below which the dynamic files are."""
BASE: Final[dict[str, Any]] = {
    "entryPoints": {
        "traefik": {"address": "127.0.0.1:@API@"},
        "web": {
            "address": "127.0.0.1:@WEB@",
            "http": {"redirections": {"entryPoint": {"to": "websecure", "scheme": "https"}}},
        },
        "websecure": {
            "address": "127.0.0.1:@SECURE@",
            "http": {"tls": {}, "middlewares": ["guard@file"], "maxHeaderBytes": 32768, "sanitizePath": True},
            "forwardedHeaders": {"trustedIPs": ["10.0.0.0/8"]},
            "transport": {"respondingTimeouts": {"readTimeout": "60s"}},
        },
        "dns": {"address": "127.0.0.1:@DNS@/udp"},
    },
    "api": {"insecure": True},
    "providers": {"file": {"directory": f"{FOLDER}/dynamic", "watch": False}},
    "log": {"level": "ERROR"},
    "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
}
DYNAMIC: Final = """\
http:
  routers:
    open: {rule: Host(`open.example`), service: one}
    closed: {rule: Host(`closed.example`), service: one, entryPoints: [websecure]}
  services: {one: {loadBalancer: {servers: [{url: http://10.0.0.1:80}]}}}
  middlewares: {guard: {headers: {frameDeny: true}}}
udp:
  routers: {names: {service: names}}
  services: {names: {loadBalancer: {servers: [{address: 10.0.0.4:53}]}}}
"""
_SWITCHES: Final = ("yes", "T", "0", "1", "'true'", "'false'", "false", "~", "", "{}", "[]", "on")
_SECURE: Final = ("entryPoints", "websecure")
ODD: Final[Mapping[tuple[Any, ...], tuple[str, ...]]] = {
    ("entryPoints", "web", "asDefault"): (*_SWITCHES, "true"),
    (*_SECURE, "http", "tls"): (*_SWITCHES, "true", "{options: default}", "{certResolver: le}", "{x: y}"),
    (*_SECURE, "http", "middlewares"): (
        *("guard@file", "'guard@file,guard@file'", "[guard]", "[]", "~", "[' guard@file ']", "{a: b}", "[1]"),
        *("gone@file", "║24║guard@file"),
    ),
    (*_SECURE, "http", "maxHeaderBytes"): ("'32768'", "0x8000", "1e4", "32_768", "many"),
    (*_SECURE, "http", "sanitizePath"): ("false", "'true'", "T", "no"),
    (*_SECURE, "forwardedHeaders", "insecure"): ("true", "1", "T", "'true'", "yes", "~"),
    (*_SECURE, "forwardedHeaders", "trustedIPs"): (
        "'10.0.0.0/8,192.168.0.0/16'",
        "10.0.0.0/8",
        "[]",
        "~",
        "x",
    ),
    (*_SECURE, "transport", "respondingTimeouts", "readTimeout"): (
        "60",
        "'60'",
        "1m",
        "1h1m",
        "60 s",
        "x",
        "1.5",
    ),
    (*_SECURE, "address"): (
        *(
            "127.0.0.1:@SECURE@/tcp",
            "127.0.0.1:@SECURE@/TCP",
            "127.0.0.1:@SECURE@/udp",
            "127.0.0.1:0@SECURE@",
        ),
        *(
            "127.0.0.1",
            "127.0.0.1:",
            "'@SECURE@'",
            "127.0.0.1:@SECURE@/",
            "127.0.0.1:99999",
        ),
        *("127.0.0.1:@SECURE@/sctp", "[127.0.0.1]:@SECURE@", "' 127.0.0.1:@SECURE@'", "~"),
    ),
    (*_SECURE, KEY): ("WebSecure", "WEB", "'web secure'", "1", "on", "a.b", "~", "web"),
    (*_SECURE,): ("~", "{}", "x", "[]"),
    ("entryPoints", "web", "http", "redirections", "entryPoint", "to"): ("WebSecure", "':443'", "gone", "~"),
    ("entryPoints", "web", "http", "redirections"): ("~", "{}", "true", "{entryPoint: {}}"),
    ("api", "insecure"): ("T", "1", "'true'", "false", "F", "yes", "~"),
    ("api",): ("true", "{}", "'true'", "~"),
    ("ping",): ("true", "{}", "{entryPoint: websecure}", "{entryPoint: gone}", "~", "false", "yes"),
    ("metrics",): (
        *("{prometheus: {entryPoint: traefik}}", "{prometheus: {entryPoint: gone}}", "{prometheus: ~}", "{}"),
        *("{prometheus: {entryPoint: websecure}}", "{prometheus: true}"),
    ),
    ("accessLog",): (
        "{}",
        "true",
        "false",
        "yes",
        "~",
        "{format: json}",
        "{filters: {minDuration: 10}}",
        "x",
    ),
    ("providers", "file", "watch"): ("'false'", "F", "no", "0"),
    ("providers", "file", "directory"): (f"{FOLDER}/dynamic/", f"{FOLDER}/./dynamic", f"{FOLDER}/other", "~"),
    ("providers", "file"): ("~", "{}", f"{{filename: {FOLDER}/dynamic/f.yml}}", "true"),
    ("providers",): ("~", "{rest: {}}", "{docker: ~}"),
    ("core",): ("{defaultRuleSyntax: v2}", "{defaultRuleSyntax: v3}", "~"),
    ("unknown",): ("1", "{}", "~"),
}
"""What takes the place of one value each, as YAML."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of Traefik: its files, arguments and environment."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def starts() -> Iterator[Start]:
    """Yield every start."""
    text = yaml.safe_dump(BASE, sort_keys=False)
    files = {
        "yaml": ("traefik.yaml", text),
        "json": ("traefik.yml", json.dumps(BASE)),
        "toml": ("traefik.toml", toml(BASE)),
        "lower": ("traefik.yml", _keys(text, str.lower)),
        "upper": ("traefik.YML", _keys(text, str.upper)),
        "template": ("traefik.yml", f"# {{{{ x }}}}\n{text}"),
        "twice": ("traefik.yml", f"{text}api:\n  insecure: true\n"),
        "two spellings": ("traefik.yml", f"{text}API:\n  insecure: true\n"),
        "entry points in two spellings": (
            "traefik.yml",
            f"{text}entrypoints:\n  x: {{address: '127.0.0.1:1'}}\n",
        ),
        "text": ("traefik.txt", text),
        "empty": ("traefik.yml", ""),
    }
    for name, (file, content) in files.items():
        yield _by_file(name, file, content)
    for path, texts in ODD.items():
        for odd in texts:
            said = ".".join("(key)" if step is KEY else step for step in path)
            yield _by_file(f"{odd!r} at {said}", "traefik.yml", replaced(path, odd, BASE))
    flags = dict(_flat(BASE))
    yield Start(name="arguments", words=_words(flags))
    yield Start(name="environment", environment=_variables(flags))
    yield from _odd_arguments(flags)


def _by_file(name: str, file: str, content: str) -> Start:
    return Start(name=name, files={file: content}, words=(f"--configFile={FOLDER}/{file}",))


def _keys(text: str, change: Any) -> str:
    return "\n".join(
        line if ":" not in line or line.strip().startswith(("web", "dns", "traefik")) else _key(line, change)
        for line in text.splitlines()
    )


def _key(line: str, change: Any) -> str:
    key, _, rest = line.partition(":")
    return f"{change(key)}:{rest}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        at = f"{path}.{key}".lstrip(".")
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, at)
        else:
            yield at, ",".join(inner) if isinstance(inner, list) else "true" if inner == {} else _text(inner)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(flags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in flags.items())


def _variables(flags: Mapping[str, str]) -> dict[str, str]:
    return {f"TRAEFIK_{name.upper().replace('.', '_')}": value for name, value in flags.items()}


def _odd_arguments(flags: dict[str, str]) -> Iterator[Start]:
    """Yield arguments in other forms, and ones that set a thing in another way than it looks."""
    words = _words(flags)
    without = _words({name: value for name, value in flags.items() if name != "api.insecure"})
    spelled = _words({name.lower(): value for name, value in flags.items()})
    for name, given in {
        "lower case": spelled,
        "one dash": tuple(word[1:] for word in words),
        "a bare switch": (*without, "--api.insecure"),
        "a switch and a word": (*without, "--api.insecure", "false"),
        "values as words": tuple(part for word in words for part in word.split("=", 1)),
        "a list twice": (*words, "--entryPoints.websecure.http.middlewares=guard"),
        "a value twice": (*words, "--entryPoints.websecure.http.maxHeaderBytes=1"),
        "two spellings": (*words, "--entrypoints.websecure.http.maxheaderbytes=1"),
        "a name in another case": (*words, "--entryPoints.WebSecure.asDefault=true"),
        "no default": (*words, "--entryPoints.web.asDefault=false"),
        "a default": (*words, "--entryPoints.web.asDefault=true"),
        "a default by T": (*words, "--entryPoints.web.asDefault=T"),
        "TLS off": (*words, "--entryPoints.web.http.tls=false"),
        "TLS on": (*words, "--entryPoints.web.http.tls=true"),
        "TLS by T": (*words, "--entryPoints.web.http.tls=T"),
        "dashes": (*words[:3], "--", *words[3:]),
        "an empty value": (*words, "--entryPoints.websecure.http.middlewares="),
        "ping": (*words, "--ping"),
        "an unknown flag": (*words, "--unknown=1"),
        "a file that is not there": (f"--configFile={FOLDER}/gone.yml", *words),
    }.items():
        yield Start(name=name, words=given)
    yield Start(
        name="a file of another case", files={"t.yml": "{}"}, words=(f"--CONFIGFILE={FOLDER}/t.yml", *words)
    )
    text = yaml.safe_dump(copy.deepcopy(BASE))
    yield Start(name="the working folder", files={"traefik.yml": text})
    yield Start(name="the home", files={".config/traefik.yml": text})
    variables = _variables(flags)
    yield Start(
        name="variables in lower case", environment={k.lower(): v for k, v in variables.items()}, words=words
    )
    yield Start(
        name="a file and words", files={"t.yml": text}, words=(f"--configFile={FOLDER}/t.yml", "--ping=true")
    )
    yield Start(name="words and variables", words=words, environment={"TRAEFIK_PING": "true"})
