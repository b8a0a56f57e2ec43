"""Rules for single containers: published ports, mounts, namespaces, privileges, images and logs.

`policies.flows` evaluates where a container's packets can go.

Note: a read-only mount of a folder with a socket in it does not prevent connections to the socket.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

from pydantic.alias_generators import to_camel

from policies.rule import Severity, Violation, cis_docker, policy
from resources.docker import Bind, DockerContainer, PublishedPort, SwarmService, Volume
from resources.site import Graph
from resources.typed import TypedResource
from topology.host_folders import SENSITIVE, as_run, is_state, meets, rooted, within
from topology.index import TopologyIndex
from topology.limits import HARMLESS_CAPABILITIES, HARMLESS_SYSCTL, NO_FORWARDING
from topology.model import WRITES_LOGS, App, Port
from topology.model import Container as Service

_USER: Final = re.compile(r"\d+:\d+")
_SCRATCH: Final = ["mode", "nodev", "noexec", "nosuid", "rw", "size"]
_NO_NEW_PRIVILEGES: Final = frozenset({"no-new-privileges", "no-new-privileges:true"})
_PROFILES: Final = frozenset({"apparmor=docker-default", "seccomp=builtin"})
"""Security options that name what the engine does without them."""
_OF_NAMES: Final = frozenset(
    f"/etc/{name}" for name in ("gai.conf", "host.conf", "hostname", "hosts", "nsswitch.conf", "resolv.conf")
)
"""Files by which a container finds the address of a name."""
_LOCAL_LOGS: Final = frozenset({"json-file", "local", "journald", "none"})


@policy(
    DockerContainer,
    SwarmService,
    obligation="Only the ingress publishes ports, and only those of declared flows from outside.",
    remedy="Remove the port; let the ingress route to the service, or declare the flow.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.8", "Ensure that only needed ports are open on the container"),
)
def only_the_ingress_publishes(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield published ports that no declared flow from outside uses.

    A published port bypasses Docker networks and the host's input rules.
    """
    if isinstance(view.inputs, SwarmService):
        for swarm in view.inputs.endpoint_spec.ports:
            yield f"publishes {swarm}, which no declared flow from outside uses"
        return
    container: DockerContainer = view.inputs
    if container.publish_all_ports:
        yield "publishes all its ports on random ports"
    allowed = {*topology.published} if container.is_ingress(topology) else set()
    for port in container.ports:
        if not _is_declared(port, allowed, topology):
            yield f"publishes {port}, which no declared flow from outside uses"


def _is_declared(port: PublishedPort, allowed: set[Port], topology: TopologyIndex) -> bool:
    return (
        port.internal == port.external
        and any((port.internal, port.protocol) == (each.number, each.protocol) for each in allowed)
        and port.ip == str(topology.docker.address)
    )


@policy(
    DockerContainer,
    obligation="A container must have its own network, process, IPC, user and cgroup namespaces.",
    remedy="Remove the mode, or set networkMode to bridge.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.10, 5.16, 5.17, 5.31", "Ensure that the host's namespaces are not shared"),
)
def own_namespaces(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield namespaces shared with the host or another container."""
    container = view.inputs
    if container.network_mode == "host":
        yield "networkMode host gives it the host's network"
    if container.shares:
        yield f"networkMode gives it the network of container {container.shares}"
    for name, value in (
        ("pidMode", container.pid_mode),
        ("ipcMode", container.ipc_mode),
        ("usernsMode", container.userns_mode),
        ("cgroupnsMode", container.cgroupns_mode),
    ):
        if value not in {"", "private", "none"}:
            yield f"{name} {value} shares a namespace"


@policy(
    DockerContainer,
    obligation="No container may reach the Docker engine.",
    remedy="Configure the service by files; a container with the engine's socket is root on the host.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.32", "Ensure that the Docker socket is not mounted inside any containers"),
)
def no_docker_socket(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield access to the engine's socket: its clients can start a privileged container on any network."""
    for bind in view.inputs.binds:
        path = _on_host(bind)
        if path is not None and (
            path.endswith((".sock", ".socket")) or within(path, "/run") or within("/run", path)
        ):
            yield f"mounts {path}, where the host's sockets are; read-only limits nothing"
    if "DOCKER_HOST" in view.inputs.environment:
        yield "envs.DOCKER_HOST points it at an engine"


@policy(
    DockerContainer,
    obligation="Host folders are mounted read-only, not passed on, and never those with the host's secrets.",
    remedy="Use a volume, mount a narrower folder read-only, or declare an exception.",
    framework=cis_docker("5.5", "Ensure sensitive host system directories are not mounted on containers"),
)
def host_folders_read_only(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield writable, propagated and sensitive host mounts: they are ways out of the container."""
    for bind in view.inputs.binds:
        path = _on_host(bind)
        if path is None:
            continue
        if not bind.read_only:
            yield f"mounts {path} of the host writable"
        if bind.shared:
            yield f"mounts {path} of the host with propagation"
        if ".." in (bind.host_path or "").split("/") or not (bind.host_path or "/").startswith("/"):
            yield f"mounts {bind.host_path}, which may be another folder than it says"
        if _is_private(path, topology.containers_by_name.get(view.inputs.name), topology):
            yield f"mounts {path} of the host, where secrets of others are"
    if any(volume.from_container for volume in view.inputs.volumes):
        yield "mounts everything that another container mounts"


def _is_private(path: str, service: Service | None, topology: TopologyIndex) -> bool:
    """Whether a folder of the host, or one above or below it, holds what is not for this service."""
    app, root = service.app if service else None, topology.docker.data_root
    if within(path, f"{root}/containers"):
        return app not in WRITES_LOGS
    if within(path, "/proc"):
        return path != "/proc" or app is not App.NODE_EXPORTER
    return meets(path, (*SENSITIVE, root)) or (is_state(path) and path != topology.docker.metrics)


@policy(
    Volume,
    DockerContainer,
    obligation="A volume must be a local folder of the engine.",
    remedy="Remove driver and its options.",
)
def volumes_are_local(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield volumes with driver options, which can mount any host folder or a file server."""
    if isinstance(view.inputs, DockerContainer):
        for index, mount in enumerate(view.inputs.mounts):
            if mount.volume_options.driver_name not in {"", "local"} or mount.volume_options.driver_options:
                yield f"mounts[{index}].volumeOptions may make it any folder, also of another machine"
        return
    if view.inputs.driver != "local":
        yield f"driver {view.inputs.driver} may send its data anywhere"
    if view.inputs.driver_opts:
        yield "driverOpts may make it any folder of the host or of another machine"


@policy(
    obligation="A volume must be in the stack, and one container may write it; others read it if declared.",
    remedy="Make the volume in the same program; mount it :ro in all but one, or give each its own.",
)
def volumes_not_shared(graph: Graph) -> Iterator[Violation]:
    """Yield volumes that several write, that are read without a declaration, unused or not in the stack.

    Containers that write one volume can communicate past every network; a reader only hears its writer.
    """
    for part in graph.by_docker_host:
        yield from _volumes(part)


def _volumes(graph: Graph) -> Iterator[Violation]:
    """Yield what is wrong with the volumes of one engine."""
    mounts: defaultdict[str, list[tuple[bool, TypedResource[DockerContainer]]]] = defaultdict(list)
    for view in graph.of(DockerContainer):
        volumes = [bind for bind in view.inputs.binds if _on_host(bind) is None]
        for name in dict.fromkeys(bind.volume or "" for bind in volumes):
            mounts[name].append((any(not b.read_only for b in volumes if (b.volume or "") == name), view))
            if name not in graph.volumes and name not in graph.topology.named_volumes.external:
                yield view, f"mounts volume {name or '(unnamed)'}, which is not in the stack"
    for name, found in mounts.items():
        yield from _mounted_by_several(name, found, graph)
    yield from _written_by_several(graph.of(DockerContainer))
    for volume in graph.of(Volume):
        if volume.inputs.name not in mounts:
            yield volume, f"no container mounts volume {volume.inputs.name or '(unnamed)'}"


def _mounted_by_several(
    name: str, mounts: list[tuple[bool, TypedResource[DockerContainer]]], graph: Graph
) -> Iterator[Violation]:
    """Yield the mounts of a volume, each with whether it may write, besides those of its writer and readers.

    A volume of the stack that is declared as external, which it is not, is its own service's alone.
    """
    (_, first), *others = sorted(mounts, key=lambda mount: not mount[0])
    own = name in graph.volumes and name in graph.topology.named_volumes.external
    for writes, view in others:
        if own or name not in graph.topology.mounted.get(view.inputs.name, ()):
            yield view, f"mounts volume {name}, as {first.name} does"
        elif writes:
            yield view, f"writes volume {name}, as {first.name} does"


def _written_by_several(views: list[TypedResource[DockerContainer]]) -> Iterator[Violation]:
    """Yield folders of the host that a second container writes, or one above or below them."""
    written = [
        (path, view)
        for view in views
        for bind in view.inputs.binds
        if (path := _on_host(bind)) is not None and not bind.read_only
    ]
    for (path, first), (other, view) in combinations(written, 2):
        if view is not first and meets(path, [other]):
            yield view, f"writes {other} of the host, as {first.name} does"


@policy(
    DockerContainer,
    obligation="A container must hold no privilege that reaches beyond it.",
    remedy="Drop all capabilities, add back only what the service needs, and leave the security profiles on.",
    severity=Severity.CRITICAL,
    framework=cis_docker("5.3, 5.4, 5.21", "Ensure that containers hold no privileges"),
)
def no_privileges(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield privileges and missing restrictions: NET_RAW allows spoofing, NET_ADMIN changes the network."""
    container = view.inputs
    if container.privileged:
        yield "is privileged"
    adds, drops = (_names(names) for names in (container.capabilities.adds, container.capabilities.drops))
    for name in sorted(adds - HARMLESS_CAPABILITIES):
        yield f"capability {name} reaches beyond the container"
    if not drops & {"ALL", "NET_RAW"}:
        yield "keeps capability NET_RAW, with which it can speak for its neighbours; drop ALL"
    if not _NO_NEW_PRIVILEGES & set(container.security_opts):
        yield "may gain privileges; set securityOpts no-new-privileges:true"
    for option in container.security_opts:
        if re.search(r"unconfined|disable|no-new-privileges[:=]false", option):
            yield f"securityOpts {option} switches a protection off"
        elif option not in _NO_NEW_PRIVILEGES | _PROFILES:
            yield f"securityOpts {re.split('[:=]', option)[0]} may switch a protection off"
    if container.runtime not in {"", "runc"}:
        yield f"runtime {container.runtime} is not the engine's own"


@policy(
    DockerContainer,
    obligation="A container must run as a user by number that is not root.",
    remedy="Set user to uid:gid; only what reads the engine's own log files may be root.",
    framework=cis_docker("4.1", "Ensure that a user for the container has been created"),
)
def containers_not_root(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield containers that may run as root: root in a container is root on the host after a breakout."""
    container = view.inputs
    if not _USER.fullmatch(container.user):
        yield f"user {container.user or '(not set)'} is not uid:gid, so it may be root"
        return
    reads_logs = any(
        within(_on_host(bind) or "", f"{topology.docker.data_root}/containers") for bind in container.binds
    )
    if int(container.user.partition(":")[0]) == 0 and not reads_logs:
        yield "runs as root"


@policy(
    DockerContainer,
    obligation="A container without uploads must have a read-only root, and scratch space of limited size.",
    remedy="Set readOnly, and tmpfs with rw, noexec, nosuid, nodev, size and mode for what it writes.",
    framework=cis_docker("5.13", "Ensure that the container's root filesystem is mounted as read only"),
)
def root_read_only(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield writable roots and unbounded tmpfs.

    The engine cannot upload files into a read-only root; in a container with uploads, the non-root user
    protects the image's files.
    """
    container = view.inputs
    if not container.read_only and not container.uploads:
        yield "may write to its root file system"
    if container.read_only and container.uploads:
        yield "has a read-only root, into which the engine copies no upload"
    for path, text in container.tmpfs.items():
        if sorted(re.sub(r"=(\d+[kmg]|[0-7]{3,4})$", "", each) for each in text.split(",")) != _SCRATCH:
            yield f"tmpfs {path} is not rw, noexec, nosuid, nodev, and of a size and mode"


@policy(
    DockerContainer,
    obligation="A container must have a memory limit, which includes swap.",
    remedy="Set memory and memorySwap to the same number of MiB.",
    severity=Severity.MEDIUM,
    framework=cis_docker("5.11", "Ensure that the memory usage for containers is limited"),
)
def memory_limited(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield containers without one limit for memory and swap, which also bounds tmpfs and processes."""
    if view.inputs.memory <= 0 or view.inputs.memory_swap != view.inputs.memory:
        yield "memory and memorySwap are not one limit"


@policy(
    DockerContainer,
    obligation="A container must hold no device of the host.",
    remedy="Remove the device, or declare an exception that names it.",
    framework=cis_docker("5.18", "Ensure that host devices are not directly exposed to containers"),
)
def no_devices(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield host devices: a disk or TUN device bypasses every network."""
    container = view.inputs
    for device in container.devices:
        yield f"holds device {device.host_path}"
    if container.device_cgroup_rules or container.device_requests or container.gpus:
        yield "is given devices by rule or request"


@policy(
    DockerContainer,
    obligation="An image must be named by a version or a digest.",
    remedy="Name a tag other than latest, or a digest.",
    severity=Severity.MEDIUM,
    framework=cis_docker("4.2", "Ensure that containers use only trusted base images"),
)
def images_pinned(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield images without a version or digest: another image could run later than the one evaluated."""
    image = view.inputs.image
    tag = image.rpartition("/")[2].partition(":")[2]  # or a digest's digits, which stand behind a colon too
    if tag in {"", "latest"}:
        yield f"image {image or '(none)'} names no version"


@policy(
    DockerContainer,
    obligation="Names and routes inside a container must be the engine's own.",
    remedy="Remove the setting; the networks that a container joins give it its names and routes.",
)
def names_are_the_engines(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield aliases, addresses, hosts, name servers and sysctls that could redirect other traffic."""
    container = view.inputs
    yield from _names_of_others(container, topology)
    for leg in container.legs:
        if leg.link_local_ips or leg.ipv6_address or leg.driver_opts or leg.mac_address or leg.gw_priority:
            yield f"has undeclared addresses or options on {leg.name}"
    yield from _files_of_names(container)
    service = topology.containers_by_name.get(container.name)
    hosts = {(name, str(ip)) for name, ip in service.extra_hosts.items()} if service else set()
    for entry in container.hosts:
        if (entry.host, entry.ip) not in hosts:
            yield f"resolves {entry.host} in its own way"
    declared = {str(ip) for ip in topology.name_servers(service)} if service else set()
    if set(container.dns) - declared:
        yield "asks a name server of its own"
    elif declared - set(container.dns):
        yield "does not ask every declared name server"
    for key in ("dns_opts", "dns_searches", "domainname"):
        if getattr(container, key):
            yield f"{to_camel(key)} makes its names lead elsewhere"
    others = (name for name, _ in container.sysctls.items() - NO_FORWARDING.items())
    for name in sorted(name for name in others if not HARMLESS_SYSCTL.fullmatch(name)):
        yield f"changes the kernel's {name}"


@policy(
    DockerContainer,
    obligation="A container's logs must stay on the host.",
    remedy="Use the json-file, local or journald driver; Promtail and Alloy collect from there.",
    severity=Severity.MEDIUM,
)
def logs_stay_local(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield log drivers that send over the network: the engine's connections bypass container networks."""
    if view.inputs.log_driver not in _LOCAL_LOGS:
        yield f"logDriver {view.inputs.log_driver} sends logs past the declared flows"


def _names_of_others(container: DockerContainer, topology: TopologyIndex) -> Iterator[str]:
    """Yield aliases and host names that are not its own; the engine compares them without case."""
    own = {container.name.lower(), topology.logical.get(container.name, "")}
    called = [(leg.name, alias) for leg in container.legs for alias in leg.aliases]
    called += [("every network", container.hostname)] if container.hostname else []
    for where, alias in called:
        if alias.lower() not in own:
            whose = "another service's" if alias.lower().rstrip(".") in topology.names else "not its own"
            yield f"answers to {alias} on {where}, which is {whose} name"


def _files_of_names(container: DockerContainer) -> Iterator[str]:
    """Yield files of names that an upload or a mount replaces."""
    given = (*(upload.file for upload in container.uploads), *(bind.target for bind in container.binds))
    for path in sorted({*map(rooted, given)} & _OF_NAMES):
        yield f"{path} is replaced, so its names may lead elsewhere"


def _on_host(bind: Bind) -> str | None:
    if bind.host_path is None:
        return bind.volume if bind.volume and bind.volume.startswith("/") else None
    return as_run(rooted(bind.host_path))


def _names(capabilities: tuple[str, ...]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in capabilities}
