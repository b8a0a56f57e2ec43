"""Says the containers of a running engine in the Compose specification's words."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from compose.known import known
from survey.docker_api import DockerApi
from survey.errors import SurveyError
from topology.limits import HARMLESS_CAPABILITIES

Row = Mapping[str, Any]

_PINNED: Final = re.compile(r"[^@]+(@sha256:[0-9a-f]{64}|:(?!latest$)\w[\w.-]*)")
_ID: Final = re.compile(r"[0-9a-f]{12}([0-9a-f]{52})?")
_SIGNALS: Final = frozenset(str(each.value) for each in signal.Signals)
_SHM: Final = 64 * 1024**2
_RUNNING: Final = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """A running container. `words` may hold secrets, so no representation shows them."""

    name: str
    project: str
    service: str
    image: str
    """The image's own id."""
    words: Mapping[str, Any] = field(repr=False)
    networks: Mapping[str, str]
    """Network -> the fixed address that was chosen there, else empty."""
    unread: bool = False
    """Whether the image's own settings are not known, so that they stand among the container's."""


def read(api: DockerApi) -> tuple[Source, ...]:
    """Return every running container; raises SurveyError. `api` keeps environments."""
    try:
        listed = [each for each in api.get("/containers/json?all=1") if each["State"] in _RUNNING]
        rows = [row for each in listed if (row := api.find(f"/containers/{each['Id']}/json")) is not None]
        images = {
            each: api.find(f"/images/{each}/json") for each in dict.fromkeys(row["Image"] for row in rows)
        }
        called = {row["Id"]: row["Name"].lstrip("/") for row in rows}
        return tuple(_source(row, images[row["Image"]], called) for row in rows)
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise SurveyError(
            f"{api.host}: its answers are not those of a Docker engine ({type(fault).__name__}); "
            "set DOCKER_HOST to one."
        ) from None


def _source(row: Row, image: Row | None, called: Mapping[str, str]) -> Source:
    config = row["Config"]
    labels = config.get("Labels") or {}
    networks = row["NetworkSettings"].get("Networks") or {}
    words = {
        **_program(config, (image or {}).get("Config") or {}),
        **_privileges(row["HostConfig"], called),
        **_limits(row["HostConfig"]),
        "image": _pinned(row, image),
        "container_name": row["Name"].lstrip("/"),
        "expose": sorted(config.get("ExposedPorts") or ()),
        "ports": list(_ports(row["NetworkSettings"].get("Ports") or {})),
        "volumes": list(_mounts(row)),
        "networks": {name: {"aliases": _aliases(row, leg)} for name, leg in networks.items()},
        "depends_on": dict(_waits(str(labels.get("com.docker.compose.depends_on") or ""))),
        "user": _user(config),
    }
    if words["user"] == "0:0":
        words["cap_add"] = sorted({*words["cap_add"], *HARMLESS_CAPABILITIES})
    return Source(
        name=row["Name"].lstrip("/"),
        project=str(labels.get("com.docker.compose.project", "")),
        service=str(labels.get("com.docker.compose.service", "")),
        image=str(row["Image"]),
        words={key: value for key, value in words.items() if value not in (None, "", [], {})},
        networks={
            name: str((leg.get("IPAMConfig") or {}).get("IPv4Address") or "")
            for name, leg in networks.items()
        },
        unread=image is None,
    )


def _program(config: Row, default: Row) -> dict[str, Any]:
    """Return what a container changes of its image's program, environment, labels and health check."""
    given = [each.partition("=") for each in config.get("Env") or () if "=" in each]
    own = {*(default.get("Env") or ())}
    labels = {
        name: value
        for name, value in (config.get("Labels") or {}).items()
        if (default.get("Labels") or {}).get(name) != value
    }
    found: dict[str, Any] = {
        "environment": {name: value for name, _, value in given if f"{name}={value}" not in own},
        "labels": labels,
    }
    for key, word in (("Entrypoint", "entrypoint"), ("Cmd", "command"), ("WorkingDir", "working_dir")):
        if config.get(key) != default.get(key):
            found[word] = config.get(key)
    if config.get("StopSignal") != default.get("StopSignal"):
        found["stop_signal"] = _signal(str(config.get("StopSignal") or ""))
    hostname = str(config.get("Hostname") or "")
    found["hostname"] = "" if _ID.fullmatch(hostname) else hostname
    check = config.get("Healthcheck") or {}
    if check != (default.get("Healthcheck") or {}) and check.get("Test"):
        found["healthcheck"] = {
            "test": list(check["Test"]),
            "retries": check.get("Retries") or 0,
            **{
                word: f"{check[key] // 10**9}s"
                for key, word in (
                    ("Interval", "interval"),
                    ("Timeout", "timeout"),
                    ("StartPeriod", "start_period"),
                )
                if check.get(key, 0) >= 10**9
            },
        }
    return found


def _signal(given: str) -> str:
    """Return a signal by name; empty for the engine's default."""
    name = signal.Signals(int(given)).name if given in _SIGNALS else given
    return "" if name == "SIGTERM" else name


def _privileges(host: Row, called: Mapping[str, str]) -> dict[str, Any]:
    kind, _, other = str(host.get("NetworkMode") or "").partition(":")
    modes = {"host": "host", "none": "none", "container": f"container:{called.get(other, other[:12])}"}
    return {
        "network_mode": modes.get(kind, ""),
        "privileged": bool(host.get("Privileged")) or None,
        "pid": host.get("PidMode"),
        "ipc": "host" if host.get("IpcMode") == "host" else None,
        "uts": host.get("UTSMode"),
        "cap_add": list(host.get("CapAdd") or ()),
        "devices": [
            f"{each['PathOnHost']}:{each['PathInContainer']}:{each.get('CgroupPermissions') or 'rwm'}"
            for each in host.get("Devices") or ()
        ],
        "gpus": "all" if host.get("DeviceRequests") else None,
        "security_opt": list(host.get("SecurityOpt") or ()),
        "sysctls": dict(host.get("Sysctls") or {}),
        "extra_hosts": list(host.get("ExtraHosts") or ()),
        "dns": list(host.get("Dns") or ()),
    }


def _limits(host: Row) -> dict[str, Any]:
    size, cpus = host.get("ShmSize") or _SHM, host.get("NanoCpus") or 0
    return {
        "mem_limit": str(host["Memory"]) if host.get("Memory") else None,
        "deploy": {"resources": {"limits": {"cpus": f"{cpus / 1e9:.3f}"}}} if cpus else None,
        "shm_size": f"{size // 1024**2}m" if size != _SHM else None,
        "init": True if host.get("Init") else None,
        "read_only": True if host.get("ReadonlyRootfs") else None,
        "tmpfs": [f"{path}:{options}" for path, options in (host.get("Tmpfs") or {}).items()],
        "ulimits": {
            each["Name"]: {"soft": each["Soft"], "hard": each["Hard"]} for each in host.get("Ulimits") or ()
        },
    }


def _user(config: Row) -> str | None:
    """Return the user; None for an image that starts as root and is known to leave it for another."""
    given = str(config.get("User") or "")
    found = known(str(config.get("Image", "")))
    return given or (None if found and found.user else "0:0")


def _pinned(row: Row, image: Row | None) -> str:
    """Return the image's name with a version or digest; a tag for `docker tag` where it has neither."""
    name = str(row["Config"].get("Image", ""))
    if _PINNED.fullmatch(name):
        return name
    repository = re.sub(r":latest$", "", name)
    for each in (image or {}).get("RepoDigests") or ():
        if str(each).partition("@")[0].rpartition("/")[2] == repository.rpartition("/")[2]:
            return f"{repository}@{str(each).partition('@')[2]}"
    if not repository or repository.startswith("sha256") or _ID.fullmatch(repository):
        repository = re.sub(r"[^a-z0-9]+", "-", row["Name"].lower()).strip("-") or "image"
    return f"{repository}:as-surveyed"


def _ports(ports: Mapping[str, Sequence[Row] | None]) -> Iterator[dict[str, Any]]:
    for text, bindings in ports.items():
        number, _, protocol = text.partition("/")
        for each in bindings or ():
            if protocol != "sctp" and ":" not in str(each.get("HostIp")):
                yield {
                    "target": number,
                    "published": str(each.get("HostPort", "")),
                    "protocol": protocol or "tcp",
                    "host_ip": str(each.get("HostIp") or ""),
                }


def _mounts(row: Row) -> Iterator[dict[str, Any]]:
    for each in row.get("Mounts") or ():
        kind = str(each.get("Type", "volume"))
        source = each.get("Name") if kind == "volume" else each.get("Source")
        yield {
            "type": kind,
            "source": str(source or ""),
            "target": str(each.get("Destination", "")),
            "read_only": not each.get("RW", True),
        }


def _aliases(row: Row, leg: Row) -> list[str]:
    return [
        each for each in leg.get("Aliases") or leg.get("DNSNames") or () if not row["Id"].startswith(each)
    ]


def _waits(label: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each service that a container waits for; Compose keeps them as `db:service_started:false,…`."""
    for part in filter(None, label.split(",")):
        name, _, rest = part.partition(":")
        yield name, {"condition": rest.partition(":")[0] or "service_started"}
