"""The Docker engine: a description in one line, and the properties that can't be made safe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any, Final

from preflight.daemon import RAW, Daemon
from preflight.docker_api import DockerApi
from preflight.finding import Check, PreflightFinding
from topology.model import WRITES_LOGS, Topology

OLDEST: Final = (20, 10)
NEWEST: Final = 29
PLUGIN_API: Final = "1.51"
"""The newest API version that the Docker plugin speaks: that of github.com/docker/docker v28.5.2."""
_ROUTED_ONLY: Final = 27
"""The major version that refuses the gateway mode `isolated`; older ones ignore it, newer ones have it."""
_TELLS_PROXY: Final = (29, 5)
_NAMESPACE: Final = "homelab-network"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Facts from `/version`, `/info` and the list of networks; None if an engine does not report one.

    `firewall_backend` is `iptables`, `nftables` or either with `+firewalld`; engines before 28.1 omit it and
    use iptables.
    """

    version: str
    api_version: str
    min_api_version: str
    firewall_backend: str
    data_root: str
    storage: str
    image_store: str
    security: tuple[str, ...]
    name: str
    podman: bool = False
    raw_rules_off: bool = False
    userland_proxy: bool | None = None
    default_bridge: bool = True
    forwarding: bool = True
    pools: tuple[IPv4Network, ...] = ()
    clock: datetime | None = None

    @property
    def rootless(self) -> bool:
        """Whether the engine runs without root, in its own network namespace."""
        return "rootless" in self.security

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor version; (0, 0) for a version that is no number."""
        return _numbers(self.version)


def read(api: DockerApi) -> Engine:
    """Return an engine's facts; raises ProbeError if no engine answers."""
    return parse(api.get("/version"), api.get("/info"), api.get("/networks"))


def parse(version: Mapping[str, Any], info: Mapping[str, Any], networks: list[Mapping[str, Any]]) -> Engine:
    """Return the engine that gave these answers."""
    components = [str(each.get("Name", "")) for each in version.get("Components") or ()]
    backend = info.get("FirewallBackend") or {}
    status = dict(info.get("DriverStatus") or ())
    return Engine(
        version=str(version.get("Version", "")),
        api_version=str(version.get("ApiVersion", "")),
        min_api_version=str(version.get("MinAPIVersion", "")),
        firewall_backend=str(backend.get("Driver") or "iptables"),
        data_root=str(info.get("DockerRootDir", "")),
        storage=str(info.get("Driver", "")),
        image_store="containerd" if "driver-type" in status else "graph driver",
        security=tuple(_option(each) for each in info.get("SecurityOptions") or ()),
        name=str(info.get("Name", "")),
        podman="Podman Engine" in components,
        raw_rules_off=any(RAW in str(each) for each in info.get("Warnings") or ()),
        userland_proxy=_proxy(_numbers(str(version.get("Version", ""))), dict(backend.get("Info") or ())),
        default_bridge=any(each.get("Name") == "bridge" for each in networks),
        forwarding=bool(info.get("IPv4Forwarding", True)),
        pools=tuple(IPv4Network(each["Base"]) for each in _pools(info)),
        clock=_clock(info.get("SystemTime")),
    )


def describe(engine: Engine, daemon: Daemon | None = None) -> str:
    """Return the engine in one line, for `make up` to show."""
    proxy = daemon.userland_proxy if daemon and engine.userland_proxy is None else engine.userland_proxy
    facts = [
        f"firewall {engine.firewall_backend}",
        f"{engine.storage} ({engine.image_store})",
        f"data root {engine.data_root}",
        f"API {engine.min_api_version} to {engine.api_version}",
        *([f"security {' '.join(engine.security)}"] if engine.security else []),
        *([f"userland proxy {'on' if proxy else 'off'}"] if proxy is not None else []),
        "a default bridge" if engine.default_bridge else "no default bridge",
    ]
    untested = f" (newer than {NEWEST}: untested)" if engine.numbers[0] > NEWEST else ""
    product = "Podman" if engine.podman else "Docker"
    return f"{product} {engine.version}{untested} on {engine.name}: {', '.join(facts)}"


def refusals(
    engine: Engine, topology: Topology, daemon: Daemon | None = None, host: str = ""
) -> Iterator[PreflightFinding]:
    """Yield a finding for each property of the engine that can't be made safe or makes `up` fail."""
    if engine.podman:
        yield _refuse(
            Check.ENGINE_PODMAN,
            f"{host or 'the socket'} is Podman's ({engine.version}), whose networks have no such isolation",
            "install Docker, or name its socket with DOCKER_HOST",
        )
        return
    yield from _of_version(engine)
    yield from _of_rules(engine, daemon or Daemon())
    yield from _of_machine(engine, topology, daemon or Daemon())


def other_iptables(engine: Engine, daemon: Daemon | None, rules: Sequence[str]) -> Iterator[PreflightFinding]:
    """Yield a finding if the engine's chains are not among the `rules` that this machine's iptables shows.

    iptables keeps rules in nftables or, as `iptables-legacy`, apart from it, and sees only its own kind.
    """
    apart = engine.podman or engine.rootless or engine.firewall_backend.startswith("nftables")
    if apart or not rules or (daemon or Daemon()).iptables is False:
        return
    if not any(":DOCKER-USER " in each for each in rules):
        yield _refuse(
            Check.ENGINE_OTHER_IPTABLES,
            f"engine {engine.version} has no chain DOCKER-USER where this machine's iptables looks",
            "restart Docker, which then uses the same iptables (`update-alternatives --display iptables`)",
        )


def _of_version(engine: Engine) -> Iterator[PreflightFinding]:
    if engine.numbers < OLDEST:
        yield _refuse(
            Check.ENGINE_OLD,
            f"engine {engine.version} is older than 20.10",
            "install Docker 20.10 or newer",
        )
    if engine.numbers[0] == _ROUTED_ONLY:
        yield _refuse(
            Check.ENGINE_GATEWAY_MODE,
            f"engine {engine.version} makes no network with the gateway mode isolated, which 28 brought",
            "install Docker 28 or newer",
        )
    if _numbers(engine.min_api_version) > _numbers(PLUGIN_API):
        yield _refuse(
            Check.ENGINE_API,
            f"engine {engine.version} takes no API before {engine.min_api_version}, "
            f"and Pulumi's plugin speaks {PLUGIN_API}",
            f'write "min-api-version": "{PLUGIN_API}" into /etc/docker/daemon.json and restart Docker',
        )


def _of_rules(engine: Engine, daemon: Daemon) -> Iterator[PreflightFinding]:
    if engine.rootless:
        yield _refuse(
            Check.ENGINE_ROOTLESS,
            f"engine {engine.version} runs rootless, in a network that the host's rules do not see",
            "run Docker as root, and name its socket with DOCKER_HOST",
        )
    if not daemon.iptables:
        yield _refuse(
            Check.ENGINE_IPTABLES,
            f"engine {engine.version} runs with iptables: false, so no rule isolates containers",
            f'remove "iptables": false from {daemon.place("iptables")} and restart Docker',
        )
    if daemon.direct_routing:
        yield _refuse(
            Check.ENGINE_DIRECT_ROUTING,
            f"engine {engine.version} runs with allow-direct-routing: "
            "containers are reached past published ports",
            f"remove allow-direct-routing from {daemon.place('allow-direct-routing')} and restart Docker",
        )
    if daemon.network_options:
        yield _refuse(
            Check.ENGINE_NETWORK_OPTIONS,
            f"engine {engine.version} gives every new network {', '.join(daemon.network_options)}, "
            "which this stack neither declares nor proves",
            f"remove default-network-opts from {daemon.place('default-network-opts')} and restart Docker",
        )
    if engine.raw_rules_off or daemon.no_raw_rules:
        yield _refuse(
            Check.ENGINE_RAW_RULES,
            f"engine {engine.version} runs with {RAW}=1: containers are reached past published ports",
            "remove it from the environment of Docker's service and restart Docker",
        )


def _of_machine(engine: Engine, topology: Topology, daemon: Daemon) -> Iterator[PreflightFinding]:
    nftables = engine.firewall_backend.startswith("nftables")
    if not engine.forwarding and (nftables or not daemon.ip_forward):
        why = (
            "with nftables the engine does not switch it on and makes no network"
            if nftables
            else f"with ip-forward: false in {daemon.place('ip-forward')} the engine does not switch it on"
        )
        yield _refuse(
            Check.ENGINE_FORWARDING,
            f"IPv4 forwarding is off, and {why}",
            "write net.ipv4.ip_forward=1 into /etc/sysctl.d/ip-forward.conf and run `sysctl --system`",
        )
    reads = any(each.app in WRITES_LOGS for each in topology.containers)
    if reads and "userns" in engine.security:
        yield _refuse(
            Check.ENGINE_USER_NAMESPACES,
            f"engine {engine.version} runs with userns-remap, "
            "and a container's root may not read the logs then",
            f"remove userns-remap from {daemon.place('userns-remap')} and restart Docker",
        )
    if reads and engine.data_root != topology.docker.data_root:
        yield PreflightFinding(
            Check.ENGINE_DATA_ROOT,
            f"{_NAMESPACE}:hosts.{topology.docker.name}.data-root",
            f"is {topology.docker.data_root}, and the engine keeps containers' logs in {engine.data_root}",
            f"write data-root: {engine.data_root}",
        )


def _refuse(check: Check, fault: str, remedy: str) -> PreflightFinding:
    return PreflightFinding(check, "docker", fault, remedy)


def _numbers(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _option(text: object) -> str:
    """Return `seccomp` from `name=seccomp,profile=builtin`."""
    return str(text).partition(",")[0].removeprefix("name=")


def _proxy(version: tuple[int, int], told: Mapping[str, str]) -> bool | None:
    """Whether the userland proxy is on; None for engines before 29.5, which don't report it."""
    return "EnableUserlandProxy" in told if version >= _TELLS_PROXY else None


def _pools(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the configured IPv4 address pools; an engine does not list its defaults."""
    return [each for each in info.get("DefaultAddressPools") or () if ":" not in str(each["Base"])]


def _clock(text: object) -> datetime | None:
    """Return a time with nanoseconds, cut to Python's microseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(text))) if text else None
