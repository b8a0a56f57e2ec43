"""What Traefik makes of generated configurations, by its own API, and what the pack reads of them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.images.catalogue import TRAEFIK
from policies.traefik import faults
from reachability.proxy import servers
from resources.docker import DockerContainer
from resources.facts import proxy_fact
from resources.traefik import FaultKind, bare, below
from tests.counted import Record, counted
from tests.parts.oracle_files import Files, folders, odd_scalars, plain
from tests.parts.oracle_static import DYNAMIC, FOLDER, PORTS, Start, starts
from tests.parts.oracles import Dynamic, free_ports, started

REFUSED = frozenset({FaultKind.OPAQUE, FaultKind.BROKEN})
LEFT_OUT = re.compile(
    r"invalid rule|recursion detected|healthCheck not enabled|error parsing server URL|incompatible YAML"
    r"|parsing CIDR"
)
"""Why Traefik leaves out what the pack reads as valid: the pack is wider then, and never narrower."""
PLAIN = 240
PLACES = 3
"""Places of each odd scalar."""


@dataclass
class Tally:
    """How many configurations ended in which way, and what differs."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def differ(self, name: str, what: str) -> None:
        """Keep a difference."""
        self.counts["different"] += 1
        self.differences.append(f"{name}: {what}")


@pytest.fixture(scope="module")
def traefik() -> Path:
    """Return the program of the lab's image."""
    return TRAEFIK.get(print) / "usr/local/bin/traefik"


def container(files: Mapping[str, str], words: tuple[str, ...] = (), **environment: str) -> DockerContainer:
    """Return a container that runs Traefik with these files and arguments, which listens for others."""
    return DockerContainer.model_validate(
        {
            "name": "traefik",
            "image": "traefik",
            "command": [_outside(word) for word in words],
            "envs": [f"{key}={_outside(value)}" for key, value in environment.items()],
            "uploads": [{"file": name, "content": _outside(text)} for name, text in files.items()],
        }
    )


def _outside(text: str) -> str:
    return text.replace("127.0.0.1", "10.9.9.9")


def pack(made: DockerContainer) -> dict[str, Any]:
    """Return the routes that the pack reads, by protocol, name and entry point."""
    proxy = proxy_fact(made, name="traefik", origin="traefik")
    led, found = list(servers(proxy)), dict[str, Any]()
    entries = {entry.port: entry.name for entry in proxy.entrypoints}
    urls: defaultdict[str, set[str]] = defaultdict(set)
    for path, url in (
        *((path, url) for path, _, url in made.traefik.targets()),
        *((path, url) for path, _, url, _ in made.traefik.streams()),
    ):
        urls[path.partition(": ")[2]].add(url)
    for router in proxy.routers:
        said = next(v for _, n, v in made.traefik.items(router.kind, "routers") if n == router.name)
        own = [each for each in led if each.origin == router.origin]
        reached = urls[f"{router.kind}.routers.{router.name}"]
        assert not reached or reached == {each.text for each in own}
        for entry in {entries[port] for each in own for port in each.entrypoints}:
            http = below(made.traefik.declared[entry], "http") if router.kind == "http" else {}
            tls = said.get("tls")
            found[f"{router.kind} {router.name} at {entry}"] = {
                "rule": router.rule,
                "service": bare(router.service),
                "servers": sorted(reached),
                "middlewares": [
                    bare(m) for m in (*http.get("middlewares", ()), *said.get("middlewares", ()))
                ],
                "tls": _switched_on(tls if tls is not None else http.get("tls")),
            }
    return found


def api(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the routes that Traefik serves, by protocol, name and entry point."""
    found: dict[str, Any] = {}
    for protocol in ("http", "tcp", "udp"):
        names = (
            ("routers", "services") if protocol == "http" else (f"{protocol}Routers", f"{protocol}Services")
        )
        routers, services = (data.get(name, {}) for name in names)
        for name, router in routers.items():
            for entry in router.get("using", ()):
                if name.endswith("@file") and router.get("status") != "disabled":
                    # The copy of a router for one entry point has its name in front.
                    found[f"{protocol} {bare(name).removeprefix(f'{entry}-')} at {entry}"] = {
                        "rule": router.get("rule", ""),
                        "service": bare(router.get("service", "")),
                        "servers": sorted(set(_leaves(services, router.get("service", ""), set()))),
                        "middlewares": [bare(each) for each in router.get("middlewares", ())],
                        "tls": _switched_on(router.get("tls")),
                    }
    return found


def _switched_on(tls: Any) -> Any:
    """Return TLS settings without those that are off, which Traefik shows or leaves out."""
    if not isinstance(tls, Mapping):
        return tls
    return {key.lower(): value for key, value in tls.items() if value is not False}


def _leaves(services: Mapping[str, Any], name: str, seen: set[str]) -> Iterator[str]:
    """Yield the servers that a service leads to, by Traefik's own list of services."""
    full = name if "@" in name else f"{name}@file"
    service = services.get(full)
    if full in seen or service is None:
        return
    seen.add(full)
    for server in below(service, "loadBalancer").get("servers") or ():
        yield server.get("url") or server.get("address") or ""
    mirroring, failover = below(service, "mirroring"), below(service, "failover")
    lists = (below(service, "weighted").get("services"), mirroring.get("mirrors"))
    names = [child["name"] for children in lists for child in children or ()]
    names += [mirroring.get("service"), failover.get("service"), failover.get("fallback")]
    for child in filter(None, names):
        yield from _leaves(services, child, seen)


def _odd_middlewares(made: DockerContainer, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the middlewares of which Traefik lacks a setting that the pack reads."""
    for protocol, section in (("http", "middlewares"), ("tcp", "tcpMiddlewares")):
        theirs = {bare(name): _set(value) for name, value in data.get(section, {}).items()}
        for _, name, value in made.traefik.items(protocol, "middlewares"):
            if not _agree(_set(value), theirs.get(name)):
                yield f"{name}: {value} is {theirs.get(name)}"


def _set(value: Any) -> Any:
    """Return settings without the empty ones, which Traefik's API leaves out, and names without `@file`."""
    if isinstance(value, Mapping):
        pairs = ((key.lower(), _set(inner)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if inner not in ({}, [], "", 0, None)}
    return (
        [bare(each) if isinstance(each, str) else each for each in value]
        if isinstance(value, list)
        else value
    )


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether Traefik has each of our settings; it adds defaults and writes durations out."""
    if isinstance(ours, Mapping):
        return isinstance(theirs, Mapping) and all(_agree(v, theirs.get(k)) for k, v in ours.items())
    return bool(ours == theirs) or (
        isinstance(theirs, str) and re.fullmatch(r"[\d.hmnus]+", theirs) is not None
    )


def compare(tally: Tally, name: str, made: DockerContainer, data: Any, reason: str) -> None:
    """Compare the routes and middlewares of one configuration; what the pack refuses needs no comparison."""
    if any(fault.kind in REFUSED for fault in faults(made.traefik)):
        tally.counts["refused, and not taken" if data is None else "refused, though taken"] += 1
        return
    theirs, ours = api(data or {}), pack(made)
    errors = str([each["error"] for each in _routers(data) if "error" in each]) if data else reason
    if (data is None or theirs.items() < ours.items()) and LEFT_OUT.search(errors):
        tally.counts["wider: left out by Traefik"] += 1
    elif data is None or theirs != ours:
        tally.differ(name, f"Traefik has {_less(theirs, ours)}, the pack {_less(ours, theirs)}; {errors}")
    elif odd := [*_odd_middlewares(made, data)]:
        tally.differ(name, f"middleware {odd[0]}")
    else:
        tally.counts["alike"] += 1
        tally.counts["routes"] += len(ours)


def _routers(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for section in ("routers", "tcpRouters", "udpRouters"):
        yield from data.get(section, {}).values()


def _less(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if other.get(key) != value}


@pytest.mark.timeout(900)  # seconds of a busy machine; 60 of a free one
def test_dynamic_files_are_read_as_traefik_reads_them(
    traefik: Path, tmp_path: Path, record_property: Record
) -> None:
    """Every route, server and middleware that Traefik has of a file, the pack has, or refuses the file."""
    running, tally = Dynamic(traefik, tmp_path), Tally()
    cases: list[Files] = [*(plain(seed) for seed in range(PLAIN)), *folders(), *odd_scalars(PLACES)]
    try:
        for case in cases:
            data = running.load(case.files)
            given = {f"{running.files}/{name}": text for name, text in case.files.items()}
            made = container(
                {f"{tmp_path}/traefik.yml": running.text, **given}, (f"--configFile={tmp_path}/traefik.yml",)
            )
            compare(tally, case.name, made, data, running.reason())
    finally:
        running.stop()
    counted(record_property, "folders of Traefik's dynamic files", {"different": 0, **tally.counts})
    assert tally.differences == []
    assert len(cases) >= 500
    assert tally.counts["alike"] >= PLAIN
    assert tally.counts["routes"] >= 700


@pytest.mark.timeout(900)  # seconds of a busy machine; 30 of a free one
def test_static_configurations_are_read_as_traefik_reads_them(
    traefik: Path, tmp_path: Path, record_property: Record
) -> None:
    """Every entry point, switch and default that Traefik has, the pack has, or refuses the configuration."""
    cases, tally = [*starts()], Tally()
    ports = free_ports(len(PORTS) * len(cases))
    scenes = [
        _scene(tmp_path / str(number), case, ports[number :: len(cases)]) for number, case in enumerate(cases)
    ]
    made = [
        container(
            {f"{folder}/{name}": text for name, text in {**case.files, "dynamic/f.yml": DYNAMIC}.items()},
            case.words,
            **case.environment,
        )
        for folder, case, _ in scenes
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(
                started, traefik, folder, int(port), case.words, case.environment, routes=_routes(each)
            )
            for (folder, case, port), each in zip(scenes, made, strict=True)
        ]
    for case, each, answer in zip(cases, made, answers, strict=True):
        _compare_start(tally, case.name, each, answer.result())
    counted(record_property, "static configurations of Traefik", {"different": 0, **tally.counts})
    assert tally.differences == []
    assert len(cases) >= 180
    assert tally.counts["alike"] >= 70


def _routes(made: DockerContainer) -> bool:
    """Whether the pack takes the configuration, and sees an API and routes there."""
    found = [*faults(made.traefik)]
    opened = any(fault.path == "api.insecure" for fault in found)
    return opened and bool(pack(made)) and not any(fault.kind in REFUSED for fault in found)


def _scene(folder: Path, case: Start, ports: list[int]) -> tuple[Path, Start, str]:
    """Write a start's files with real ports; return its folder, itself with these ports, and the API's."""
    names = dict(zip(PORTS, map(str, ports), strict=True)) | {FOLDER: str(folder)}

    def real(text: str) -> str:
        return re.sub("|".join(names), lambda found: names[found[0]], text)

    made = Start(
        name=case.name,
        files={name: real(text) for name, text in case.files.items()},
        words=tuple(map(real, case.words)),
        environment={name: real(value) for name, value in case.environment.items()},
    )
    for name, text in {**made.files, "dynamic/f.yml": DYNAMIC}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder, made, names[PORTS[0]]


def _compare_start(tally: Tally, name: str, made: DockerContainer, answer: Any) -> None:
    """Compare one start; one without `api.insecure` can't be asked, and is alike if the pack agrees."""
    found = [*faults(made.traefik)]
    opened = any(fault.path == "api.insecure" for fault in found)
    if any(fault.kind in REFUSED for fault in found):
        tally.counts["refused, and not taken" if answer is None else "refused, though taken"] += 1
    elif answer is None and not opened:
        tally.counts["alike, without an API"] += 1
    elif answer is None or not opened:
        said = "does not start, or has no API" if answer is None else "has an API"
        if name in NOT_STARTED:
            tally.counts["wider: not started by Traefik"] += 1
        else:
            tally.differ(name, f"Traefik {said}")
    elif (theirs := _entry_points(answer)) != (ours := _declared(made)):
        tally.differ(name, f"Traefik has {_less(theirs, ours)}, the pack {_less(ours, theirs)}")
    else:
        compare(tally, name, made, answer["rawdata"], "")


NOT_STARTED = frozenset({"'x' at entryPoints.websecure.forwardedHeaders.trustedIPs"})
"""What the pack reads as valid, and Traefik ends on."""


def _entry_points(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return Traefik's entry points by name, and its features."""
    features = answer["overview"]["features"]
    return {
        each["name"]: {
            "address": _outside(each["address"]),
            "tls": "tls" in each["http"],
            "middlewares": [bare(name) for name in each["http"].get("middlewares", ())],
            "to": below(below(each["http"], "redirections"), "entryPoint").get("to"),
            "default": each.get("asDefault", False),
            "trusts": (
                each["forwardedHeaders"].get("insecure", False),
                each["forwardedHeaders"].get("trustedIPs", []),
            ),
        }
        for each in answer["entrypoints"]
    } | {
        "file": "File" in answer["overview"]["providers"],
        "access log": features["accessLog"],
        "metrics": bool(features["metrics"]),
    }


def _declared(made: DockerContainer) -> dict[str, Any]:
    """Return the same as the pack reads it."""
    static = made.traefik.static
    return {
        name: {
            "address": each["address"],
            "tls": "tls" in below(each, "http"),
            "middlewares": [bare(middleware) for middleware in below(each, "http").get("middlewares", ())],
            "to": below(below(below(each, "http"), "redirections"), "entrypoint").get("to"),
            "default": each.get("asdefault", False),
            "trusts": (
                below(each, "forwardedheaders").get("insecure", False),
                below(each, "forwardedheaders").get("trustedips", []),
            ),
        }
        for name, each in made.traefik.declared.items()
    } | {
        "file": "file" in below(static, "providers"),
        "access log": "accesslog" in static,
        "metrics": "prometheus" in below(static, "metrics"),
    }
