"""What the pack reads of Traefik's configuration where Traefik, asked itself, does the unexpected."""

from typing import Any

import pytest

from policies.traefik import faults
from resources.traefik import Configuration, FaultKind
from resources.traefik_sources import read

STATIC = """\
entryPoints:
  web: {address: ":80"}
  Secure: {address: ":443", http: {tls: {}}}
  dns: {address: ":53/udp"}
  traefik: {address: ":8080"}
providers: {file: {directory: /d}}
"""
ROUTES = """\
http:
  routers: {one: {rule: Host(`a`), service: one, entryPoints: [Secure]}}
  services: {one: {loadBalancer: {servers: [{url: "http://10.0.0.1"}]}}}
"""


def load(static: str = STATIC, routes: str = ROUTES, **files: str) -> Configuration:
    """Return the configuration of a static and a dynamic file."""
    given = {"/etc/traefik/traefik.yml": static, "/d/routes.yml": routes, **files}
    return read(arguments=(), environment={}, files=given, mounts=())


def started(*words: str) -> Configuration:
    """Return the configuration of arguments."""
    return read(arguments=words, environment={}, files={}, mounts=())


def told(configuration: Configuration) -> list[str]:
    """Return every fault."""
    return [str(fault) for fault in faults(configuration)]


def router(text: str) -> Any:
    """Return the one router, with a setting in addition."""
    made = load(routes=ROUTES.replace("entryPoints: [Secure]", text))
    ((_, _, found),) = made.items("http", "routers")
    return found


def test_the_base_has_no_fault() -> None:
    """What the other tests change is sound."""
    assert told(load()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entryPoints: Secure", ["Secure"]),
        ("entryPoints: 'web, Secure'", ["web", "Secure"]),
        ("entryPoints: [' web ']", ["web"]),
        ("ENTRYPOINTS: [web]", ["web"]),
        ("entryPoints: ~", None),
    ],
)
def test_lists_of_names(text: str, expected: list[str] | None) -> None:
    """A text is a list with commas, spaces around names do not count, and null is as if it were not there."""
    assert router(text).get("entryPoints") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("tls: true", {}), ("tls: false", None), ("tls: 'true'", {}), ("tls: {}", {}), ("tls: ~", None)],
)
def test_tls_as_a_switch(text: str, expected: Any) -> None:
    """Where Traefik takes a switch for a section, false is as if it were not there."""
    assert router(text).get("tls") == expected


def test_an_entry_point_without_tls_is_in_clear() -> None:
    """`tls: false` at an entry point encrypts nothing."""
    clear = load(static=STATIC.replace("tls: {}", "maxHeaderBytes: 9, tls: false"))
    assert told(clear) == ["/d/routes.yml: http.routers.one: serves in clear on entrypoint Secure"]


def test_names_of_entry_points_keep_their_case() -> None:
    """Traefik knows no entry point `secure` if it is called `Secure`."""
    assert {entry.name for entry in load().entrypoints} == {"web", "Secure", "dns", "traefik"}
    wrong = load(routes=ROUTES.replace("[Secure]", "[secure]"))
    assert told(wrong) == ["/d/routes.yml: http.routers.one: names entrypoint secure, which is not defined"]


@pytest.mark.parametrize(
    ("web", "expected"),
    [
        ("", {"web", "Secure", "dns"}),
        (", asDefault: false", {"web", "Secure", "dns"}),
        (", asDefault: true", {"web", "dns"}),
    ],
)
def test_entry_points_of_routers_that_name_none(web: str, expected: set[str]) -> None:
    """`asDefault: false` is no choice; UDP has no defaults, and Traefik's own entry point is none."""
    made = load(static=STATIC.replace('":80"', f'":80"{web}'))
    assert {entry.name for entry in made.entrypoints if entry.default} == expected


@pytest.mark.parametrize("address", ["localhost.example:80", "127.example:80", "127.0.0.1.example:80"])
def test_names_that_look_like_loopback(address: str) -> None:
    """A host name may be any address."""
    assert [entry.port.number for entry in started(f"--entryPoints.web.address={address}").entrypoints] == [
        80
    ]


@pytest.mark.parametrize("text", ["on", "yes", "12:30", "=", "1.2.3.4", "60s"])
def test_texts_to_every_reader(text: str) -> None:
    """YAML 1.1 takes some of these as switches and numbers; Go takes them as text."""
    assert router(f"ruleSyntax: {text}")["ruleSyntax"] == text


@pytest.mark.parametrize(
    "text", ["010", "0o10", "0x10", "1e3", "1.5", "1_000", ".inf", "2026-01-01", "!!str 1", "!x y", "{1: a}"]
)
def test_values_that_readers_take_differently(text: str) -> None:
    """What one reader of YAML takes as a number, and another as text, is refused with its line."""
    (fault,) = load(routes=f"{ROUTES}x: {text}\n").unread
    assert (fault.kind, fault.path) == (FaultKind.BROKEN, "/d/routes.yml, line 4")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("entryPoints: [Secure]", "entryPoints: [~]", "routers.one.entryPoints: is not a list of texts"),
        ("entryPoints: [Secure]", "entryPoints: ║24║web", "routers.one.entryPoints: is not a list of texts"),
        ("[Secure]", "[Secure], tls: yes", "routers.one.tls: is not a mapping"),
        ("[Secure]", "[Secure], priority: x", "routers.one.priority: is not a whole number"),
        ("[Secure]", "[Secure], tls: {x: y}", "routers.one.tls.x: is not a setting whose traffic is known"),
        (
            "servers: [{",
            "passHostHeader: T, servers: [{",
            "loadBalancer.passHostHeader: is neither true nor false",
        ),
        ("http://10.0.0.1", "", "services.one: has a server without an address"),
        (
            "loadBalancer",
            "weighted: {services: [{name: one}]}, loadBalancer",
            "services.one: is of two kinds, so",
        ),
        ("rule: Host(`a`), ", "", "routers.one: has no rule, so Traefik leaves it out"),
        (
            "services: {one",
            "services: {a@file: {}, one",
            "services.a@file: is not a name that every reader keeps",
        ),
    ],
)
def test_values_that_traefik_takes_otherwise(old: str, new: str, message: str) -> None:
    """A value of another type is refused: Traefik drops the file, or takes it in another way."""
    assert any(message in fault for fault in told(load(routes=ROUTES.replace(old, new))))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--api.insecure", "false", "--ping=true"), "argument api.insecure: is followed by a word"),
        (("--log.level=INFO", "--log.level=DEBUG"), "argument log.level: is there twice"),
        (("--log.level=INFO", "--LOG.Level=DEBUG"), "argument LOG.Level: is there twice"),
        (("--CONFIGFILE=/x.yml",), "argument CONFIGFILE: is there twice, or names nothing"),
        (("--configFile=/x.txt",), "/x.txt: can't be read from the resource"),
        (
            ("--metrics.prometheus=true",),
            "metrics.prometheus: names entrypoint traefik, which is not defined",
        ),
    ],
)
def test_arguments(words: tuple[str, ...], message: str) -> None:
    """Traefik stops at a word, takes the last of two values, and knows one flag in two spellings alone."""
    assert any(fault.startswith(message) for fault in told(started(*words)))


@pytest.mark.parametrize("path", ["/traefik.yml", "/root/.config/traefik.toml"])
def test_a_static_file_elsewhere(path: str) -> None:
    """Without a file in /etc/traefik, Traefik looks at home and in the working folder."""
    made = read(arguments=(), environment={}, files={path: STATIC}, mounts=())
    assert told(made)[0].startswith(f"{path}: may be the static configuration")


def test_a_static_file_of_another_suffix() -> None:
    """Traefik reads YAML and TOML by their suffixes, and else does not start."""
    made = read(arguments=("--configFile=/t.conf",), environment={}, files={"/t.conf": STATIC}, mounts=())
    assert any(fault.startswith("/t.conf: has no suffix") for fault in told(made))


def test_measurements_for_others() -> None:
    """Numbers of requests and of services are not for whom an entry point serves."""
    made = load(static=f"{STATIC}metrics: {{prometheus: {{entryPoint: web}}}}\n")
    assert told(made) == ["metrics.prometheus: serves measurements on entrypoint web"]


def test_aliases_by_the_million_take_no_time() -> None:
    """Only what a known setting leads to is read."""
    bomb = "".join(f"x{i}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(20))
    assert told(load(routes=f"{ROUTES}x: &a [1]\n{bomb}"))[0].endswith("is known to have")
