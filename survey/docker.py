"""Parses the Docker API's answers (1.41 and newer) into the typed values of `resources.docker`.

Only running containers count: the others reach nothing. What has no place in the values is told in `unseen`.

Note: of commands only Traefik's own settings are kept, and of labels only Traefik's and Compose's, because
the others may hold secrets.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reachability.facts import ANY_ADDRESS, NetworkDriver
from resources.docker import DockerContainer, DockerNetwork, Upload
from resources.traefik import below
from survey.docker_api import DockerApi
from survey.errors import SurveyError
from topology.model import Port

Row = Mapping[str, Any]
Inner = dict[str, Any]
"""A row of the API, and a value inside a typed one."""

_COMPOSE: Final = "com.docker.compose."
_SWARM_SERVICE: Final = "com.docker.swarm.service.id"
_KEPT_LABELS: Final = re.compile(
    r"traefik\.enable|traefik\.(http|tcp|udp)\.(routers\.[^.]+\.(entrypoints|middlewares|service|rule)"
    r"|services\.[^.]+\.loadbalancer\.server\.port)",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(
    r"traefik\.http\.middlewares\.([^.]+)\.(basicauth|digestauth|forwardauth)\..*", re.IGNORECASE
)
_CHAIN: Final = re.compile(r"traefik\.http\.middlewares\.([^.]+)\.chain\.middlewares", re.IGNORECASE)
_TRAEFIK_FLAGS: Final = re.compile(r"--?(entrypoints|providers|configfile|api)\b.*", re.IGNORECASE)
_TELLS_PROXY: Final = (29, 5)
_BARE_MODES: Final = ("host", "none")


@dataclass(frozen=True, kw_only=True)
class RunningEngine:
    """The engine's own description; `is_open`: it was asked by TCP without TLS."""

    name: str
    version: str
    backend: str
    endpoint: str
    is_open: bool = False
    userland_proxy: bool = True
    rootless: bool = False
    podman: bool = False
    swarm: bool = False

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor version; (0, 0) for a version that is no number."""
        return _numbers(self.version)

    def __str__(self) -> str:
        return f"{'Podman' if self.podman else 'Docker'} {self.version} on {self.name}"


@dataclass(frozen=True, kw_only=True)
class RunningContainer:
    """A running container. `exposed` are the ports that its image or its owner names.

    `logins` are the names of Traefik middlewares with a login, and `chains` those that consist of others.
    """

    container: DockerContainer
    exposed: tuple[Port, ...] = ()
    project: str = ""
    service: str = ""
    file: str = ""
    logins: frozenset[str] = frozenset()
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The container's name."""
        return self.container.name

    @property
    def is_traefik(self) -> bool:
        """Whether the container's image is Traefik's."""
        return _is_traefik(self.container.image)


@dataclass(frozen=True, kw_only=True)
class RunningDocker:
    """What one engine runs; `unseen` are sentences about what was not read or can't be judged."""

    engine: RunningEngine
    networks: tuple[DockerNetwork, ...] = ()
    containers: tuple[RunningContainer, ...] = ()
    bridges: frozenset[str] = frozenset()
    """Names of the bridges that the engine made on its host."""
    unseen: tuple[str, ...] = ()


def read(api: DockerApi) -> RunningDocker:
    """Return what an engine runs; raises SurveyError, also for answers that are not a Docker engine's."""
    try:
        return _read(api)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as fault:
        raise SurveyError(
            f"{api.host}: its answers are not those of a Docker engine ({type(fault).__name__}); "
            "set DOCKER_HOST to one."
        ) from None


def _read(api: DockerApi) -> RunningDocker:
    engine = _engine(api.get("/version"), api.get("/info"), api)
    listed = api.get("/containers/json?all=1")
    running = [each for each in listed if each["State"] in {"running", "paused", "restarting"}]
    networks = api.get("/networks")
    found = (api.find(f"/containers/{each['Id']}/json") for each in running)
    rows = [row for row in found if row is not None]
    services = api.get("/services") if engine.swarm else []
    host = parse(engine, rows, networks, services)
    stopped = len(listed) - len(running)
    told = (
        (f"containers that are not running ({stopped}): what they reach when they start",) if stopped else ()
    )
    return replace(
        host,
        containers=tuple(_with_files(api, each) if each.is_traefik else each for each in host.containers),
        unseen=(*host.unseen, *told),
    )


def parse(
    engine: RunningEngine, rows: Sequence[Row], listed: Sequence[Row], services: Sequence[Row] = ()
) -> RunningDocker:
    """Return the engine's networks and containers from the answers that inspect and list them."""
    names = _unique(listed)
    called = {row["Id"]: row["Name"].lstrip("/") for row in rows}
    ingress = {row["ID"]: list(_swarm_ports(row)) for row in services}
    return RunningDocker(
        engine=engine,
        networks=tuple(
            _network(row, names[row["Id"]]) for row in listed if row["Driver"] in set(NetworkDriver)
        ),
        containers=tuple(_seen(row, names, called, ingress) for row in rows),
        bridges=frozenset(_bridge(row) for row in listed if row["Driver"] == "bridge"),
        unseen=tuple(dict.fromkeys(_unseen(engine, rows, listed))),
    )


def _engine(version: Row, info: Row, api: DockerApi) -> RunningEngine:
    components = [str(each.get("Name", "")) for each in version.get("Components") or ()]
    security = [str(each) for each in info.get("SecurityOptions") or ()]
    swarm = info.get("Swarm") or {}
    return RunningEngine(
        name=str(info.get("Name") or "docker"),
        version=str(version.get("Version", "")),
        backend=str((info.get("FirewallBackend") or {}).get("Driver") or "iptables"),
        endpoint=api.host,
        is_open=api.is_open,
        rootless=any("rootless" in each for each in security),
        podman="Podman Engine" in components,
        swarm=bool(swarm.get("ControlAvailable")),
        userland_proxy=_has_proxy(str(version.get("Version", "")), info),
    )


def _numbers(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _has_proxy(version: str, info: Row) -> bool:
    """Whether the userland proxy is on; engines before 29.5 don't report it, and have it on by default."""
    told = dict((info.get("FirewallBackend") or {}).get("Info") or ())
    return _numbers(version) < _TELLS_PROXY or "EnableUserlandProxy" in told


def _unique(listed: Sequence[Row]) -> dict[str, str]:
    """Return each network's name by id, with the id's beginning where two networks have one name."""
    number = Counter(row["Name"] for row in listed)
    return {
        row["Id"]: row["Name"] if number[row["Name"]] == 1 else f"{row['Name']} ({row['Id'][:6]})"
        for row in listed
    }


def _network(row: Row, name: str) -> DockerNetwork:
    configs = (row.get("IPAM") or {}).get("Config") or ()
    return DockerNetwork.model_validate(
        {
            "name": name,
            "attachable": bool(row.get("Attachable")),
            "driver": row["Driver"],
            "ingress": bool(row.get("Ingress")),
            "internal": bool(row.get("Internal")),
            "ipv6": bool(row.get("EnableIPv6")),
            "ipamConfigs": [
                {"subnet": each.get("Subnet", ""), "gateway": each.get("Gateway", "")} for each in configs
            ],
            "options": row.get("Options") or {},
        }
    )


def _bridge(row: Row) -> str:
    named = (row.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{row['Id'][:12]}")


def _seen(
    row: Row, names: Mapping[str, str], called: Mapping[str, str], ingress: Mapping[str, list[Inner]]
) -> RunningContainer:
    config, host = row["Config"], row["HostConfig"]
    labels: Mapping[str, str] = config.get("Labels") or {}
    logins, chains = _middlewares(labels)
    return RunningContainer(
        container=DockerContainer.model_validate(
            {
                "name": row["Name"].lstrip("/"),
                "image": str(config.get("Image", "")),
                "capabilities": {"adds": host.get("CapAdd") or ()},
                "command": list(_flags(row)),
                "labels": [{"label": k, "value": v} for k, v in labels.items() if _KEPT_LABELS.fullmatch(k)],
                "networkMode": _mode(row, called),
                "networksAdvanced": list(_legs(row, names)),
                "pidMode": str(host.get("PidMode") or ""),
                "ports": [*_published(row), *ingress.get(labels.get(_SWARM_SERVICE, ""), ())],
                "privileged": bool(host.get("Privileged")),
                "volumes": list(_mounts(row)),
            }
        ),
        exposed=tuple(_ports(config.get("ExposedPorts") or ())),
        project=labels.get(f"{_COMPOSE}project", ""),
        service=labels.get(f"{_COMPOSE}service", ""),
        file=labels.get(f"{_COMPOSE}project.config_files", ""),
        logins=logins,
        chains=chains,
    )


def _mode(row: Row, called: Mapping[str, str]) -> str:
    mode = str(row["HostConfig"].get("NetworkMode", ""))
    kind, _, other = mode.partition(":")
    if kind == "container":
        return f"container:{called.get(other, other)}"
    if mode in _BARE_MODES:
        return mode
    # A container that was disconnected from every network is on none, not on the default bridge.
    return "bridge" if row["NetworkSettings"].get("Networks") else "none"


def _legs(row: Row, names: Mapping[str, str]) -> Iterator[Inner]:
    for name, leg in (row["NetworkSettings"].get("Networks") or {}).items():
        if name not in _BARE_MODES:
            yield {
                "name": names.get(leg.get("NetworkID", ""), name),
                "aliases": leg.get("Aliases") or leg.get("DNSNames") or (),
                "ipv4Address": leg.get("IPAddress") or None,
            }


def _published(row: Row) -> Iterator[Inner]:
    for text, bindings in (row["NetworkSettings"].get("Ports") or {}).items():
        for port in _ports((text,)):
            for each in bindings or ():
                address, external = each.get("HostIp") or str(ANY_ADDRESS), str(each.get("HostPort", ""))
                if ":" not in address and external.isdigit():
                    yield {
                        "internal": port.number,
                        "external": int(external),
                        "ip": address,
                        "protocol": port.protocol,
                    }


def _swarm_ports(service: Row) -> Iterator[Inner]:
    for each in (service.get("Endpoint") or {}).get("Ports") or ():
        if each.get("PublishMode") == "ingress" and each["Protocol"] != "sctp":
            yield {
                "internal": each["TargetPort"],
                "external": each["PublishedPort"],
                "protocol": each["Protocol"],
            }


def _ports(texts: Any) -> Iterator[Port]:
    for text in texts:
        if not str(text).endswith("/sctp"):
            yield Port.parse(str(text))


def _mounts(row: Row) -> Iterator[Inner]:
    for each in row.get("Mounts") or ():
        what = "hostPath" if each.get("Type") == "bind" else "volumeName"
        yield {
            "containerPath": each.get("Destination", ""),
            what: each.get("Source" if what == "hostPath" else "Name"),
            "readOnly": not each.get("RW", True),
        }


def _flags(row: Row) -> Iterator[str]:
    if _is_traefik(str(row["Config"].get("Image", ""))):
        yield from (word for word in row.get("Args") or () if _TRAEFIK_FLAGS.fullmatch(word))


def _is_traefik(image: str) -> bool:
    return "traefik" in image.rpartition("/")[2]


def _middlewares(labels: Mapping[str, str]) -> tuple[frozenset[str], Mapping[str, tuple[str, ...]]]:
    logins = frozenset(match[1].lower() for key in labels if (match := _LOGIN.fullmatch(key)))
    chains = {
        match[1].lower(): tuple(part.strip() for part in value.split(","))
        for key, value in labels.items()
        if (match := _CHAIN.fullmatch(key))
    }
    return logins, chains


def _with_files(api: DockerApi, seen: RunningContainer) -> RunningContainer:
    """Return Traefik's container with its configuration files, which the engine reads out of it."""
    texts = dict(api.files(seen.name, "/etc/traefik"))
    container = _with_uploads(seen.container, texts)
    files = below(below(container.traefik.static, "providers"), "file")
    folder = str(files.get("directory") or posixpath.dirname(str(files.get("filename", ""))))
    if folder.startswith("/") and not folder.startswith("/etc/traefik"):
        container = _with_uploads(seen.container, texts | dict(api.files(seen.name, folder)))
    return replace(seen, container=container)


def _with_uploads(container: DockerContainer, texts: Mapping[str, str]) -> DockerContainer:
    uploads = tuple(Upload.model_validate({"file": path, "content": text}) for path, text in texts.items())
    return container.model_copy(update={"uploads": uploads})


def _unseen(engine: RunningEngine, rows: Sequence[Row], listed: Sequence[Row]) -> Iterator[str]:
    if engine.podman:
        yield "Podman's firewall: networks are judged as Docker's, which isolates more"
    if engine.rootless:
        yield "the rootless engine's own network namespace: host addresses are those inside it"
    if engine.swarm:
        yield "other nodes of the swarm: containers there are on its overlay networks, too"
    yield from (each for row in listed for each in _unseen_of_network(row))
    yield from (each for row in rows for each in _unseen_of_container(row))


def _unseen_of_network(row: Row) -> Iterator[str]:
    options = row.get("Options") or {}
    if row.get("EnableIPv6"):
        yield f"IPv6 of network {row['Name']}: only IPv4 is followed"
    if row["Driver"] not in {*NetworkDriver, "host", "null"}:
        yield f"network {row['Name']}: its driver {row['Driver']} is not known"
    if options.get("com.docker.network.bridge.gateway_mode_ipv4") == "routed":
        yield f"network {row['Name']}: it is routed, so machines with a route reach published ports there"


def _unseen_of_container(row: Row) -> Iterator[str]:
    name, ports = row["Name"].lstrip("/"), row["NetworkSettings"].get("Ports") or {}
    if any(text.endswith("/sctp") and bindings for text, bindings in ports.items()):
        yield f"{name}: its published SCTP ports"
    if any(
        bindings and all(":" in str(each.get("HostIp")) for each in bindings) for bindings in ports.values()
    ):
        yield f"{name}: ports published on IPv6 addresses alone"
    if row["HostConfig"].get("Links"):
        yield f"{name}: its links, which pass even where a network keeps its members apart"
