"""Models of the docker provider's resources: the properties that carry traffic, and their meaning.

Note: the provider takes a container off the default bridge only when `networksAdvanced` is set, and a
`networkMode` that is no known mode names a network that the container joins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import yaml
from pydantic import Field, model_validator

from resources import alloy, traefik, traefik_sources
from resources.inputs import Address, Inputs, Settings
from resources.resource import UNKNOWN
from topology.certificates import FOLDER
from topology.fast_yaml import Loader
from topology.model import Protocol, Topology

_SSH_FLAGS: Final = re.compile(r"-[46CTakqtvx]+|-(?P<with>[ilp])(?P<value>.*)|-o(?P<option>.*)", re.DOTALL)
_SSH_OPTIONS: Final = frozenset(
    {
        *("addressfamily", "batchmode", "compression", "connectionattempts", "connecttimeout"),
        *("identitiesonly", "identityagent", "identityfile", "loglevel", "port", "user"),
        *("passwordauthentication", "preferredauthentications", "pubkeyauthentication"),
        *("serveralivecountmax", "serveraliveinterval", "tcpkeepalive"),
    }
)
"""Options of ssh that say how to log in and how long to wait; by others another host could answer."""


class NetworkLeg(Inputs):
    """A container's attachment to a network; `gw_priority` chooses the one that leads out."""

    name: str = ""
    aliases: tuple[str, ...] = ()
    driver_opts: tuple[str, ...] = ()
    gw_priority: float = 0
    ipv4_address: Address = None
    ipv6_address: str | None = None
    link_local_ips: tuple[str, ...] = ()
    mac_address: str = ""


class PublishedPort(Inputs):
    """A published port; without `external` the engine picks the host port."""

    internal: int = Field(ge=1, le=65535)
    external: int | None = Field(default=None, ge=0, le=65535)
    ip: str = "0.0.0.0"  # noqa: S104  # the provider's default
    protocol: Protocol = Protocol.TCP

    def __str__(self) -> str:
        where = "a random port" if self.external is None else f"{self.ip}:{self.external}"
        return f"{where} -> {self.internal}/{self.protocol}"


class Upload(Inputs, inert="group owner source_hash"):
    """A file uploaded into a container.

    The content of certificate files is unknown until their keys exist; they hold no configuration.
    """

    file: str
    content: str | None = None
    content_base64: str | None = None
    source: str | None = None
    executable: bool = False
    permissions: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _to_be_made(cls, values: Any) -> Any:
        made = isinstance(values, Mapping) and values.get("content") is UNKNOWN
        if made and str(values.get("file")).startswith(f"{FOLDER}/"):
            return {**values, "content": ""}
        return values

    @property
    def text(self) -> str | None:
        """The file's content; None where another property has it, or may replace it."""
        return None if self.content_base64 or self.source else self.content


def _document(upload: Upload) -> Any:
    """Return the content of a YAML or Alloy file, or what is wrong with it; None for any other file."""
    name, text = upload.file.lower(), upload.text or ""
    try:
        if name.endswith(".alloy"):
            return alloy.documents(text)
        return yaml.load(text, Loader=Loader) if name.endswith((".yml", ".yaml")) else None  # noqa: S506
    except yaml.MarkedYAMLError as error:
        return ValueError(
            f"line {error.problem_mark.line + 1 if error.problem_mark else 1} is not understood"
        )
    except (yaml.YAMLError, TypeError, RecursionError):
        return ValueError("is not YAML")
    except ValueError as error:  # PyYAML's own about a date or a number may quote it
        return error if name.endswith(".alloy") else ValueError("has a value that is not understood")


class VolumeMount(Inputs, inert="selinux_relabel"):
    """A mounted volume or host path, or the volumes of another container."""

    container_path: str = ""
    from_container: str | None = None
    host_path: str | None = None
    read_only: bool = False
    volume_name: str | None = None


class BindOptions(Inputs):
    """Mount propagation of a bind."""

    propagation: str = ""


class VolumeOptions(Inputs, inert="labels no_copy subpath"):
    """Options of a volume that the mount creates."""

    driver_name: str = ""
    driver_options: Mapping[str, str] = {}


class Healthcheck(Inputs, inert="interval retries start_interval start_period timeout"):
    """A command that the engine runs in the container, again and again."""

    tests: tuple[str, ...] = ()


class DockerMount(Inputs, inert="tmpfs_options"):
    """A mount in the newer `mounts` syntax."""

    target: str = ""
    type: str = ""
    source: str | None = None
    read_only: bool = False
    bind_options: BindOptions = BindOptions()
    volume_options: VolumeOptions = VolumeOptions()


class Capabilities(Inputs):
    """Capabilities added to or dropped from the engine's default set."""

    adds: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class DockerDevice(Inputs, inert="container_path permissions"):
    """A host device in a container."""

    host_path: str


class HostEntry(Inputs):
    """A line of a container's /etc/hosts."""

    host: str
    ip: str


class Label(Inputs):
    """A label of a container."""

    label: str
    value: str = ""


class DockerContainer(
    Inputs,
    inert="attach cgroup_parent container_read_refresh_timeout_milliseconds cpu_period cpu_quota cpu_set "
    "cpu_shares cpus destroy_grace_seconds device_read_bps device_read_iops device_write_bps "
    "device_write_iops group_adds init log_opts logs "
    "max_retry_count memory_reservation must_run platform remove_volumes restart rm shm_size start "
    "stdin_open stop_signal stop_timeout storage_opts tty ulimits wait wait_timeout working_dir",
):
    """A docker.Container resource."""

    name: str = ""
    image: str = ""
    capabilities: Capabilities = Capabilities()
    cgroupns_mode: str = ""
    command: tuple[str, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    device_requests: tuple[Mapping[str, Any], ...] = ()
    devices: tuple[DockerDevice, ...] = ()
    dns: tuple[str, ...] = ()
    dns_opts: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    domainname: str = ""
    entrypoints: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    gpus: str = ""
    healthcheck: Healthcheck | None = None
    hostname: str = ""
    hosts: tuple[HostEntry, ...] = ()
    ipc_mode: str = ""
    labels: tuple[Label, ...] = ()
    log_driver: str = "json-file"
    memory: float = 0
    memory_swap: float = 0
    mounts: tuple[DockerMount, ...] = ()
    network_mode: str = "bridge"
    networks_advanced: tuple[NetworkLeg, ...] = ()
    pid_mode: str = ""
    ports: tuple[PublishedPort, ...] = ()
    privileged: bool = False
    publish_all_ports: bool = False
    read_only: bool = False
    runtime: str = ""
    security_opts: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = {}
    tmpfs: Mapping[str, str] = {}
    uploads: tuple[Upload, ...] = ()
    user: str = ""
    userns_mode: str = ""
    volumes: tuple[VolumeMount, ...] = ()

    @cached_property
    def shares(self) -> str | None:
        """Name of the container whose network stack this one uses."""
        mode, _, other = self.network_mode.partition(":")
        return other if mode == "container" else None

    @property
    def takes_addresses(self) -> bool:
        """Whether it can send from another address than its own, or answer at one."""
        adds, drops = (
            {name.upper().removeprefix("CAP_") for name in names}
            for names in (self.capabilities.adds, self.capabilities.drops)
        )
        raw = bool(adds & {"ALL", "NET_ADMIN", "NET_RAW"}) or not drops & {"ALL", "NET_RAW"}
        return self.privileged or raw

    @cached_property
    def legs(self) -> tuple[NetworkLeg, ...]:
        """Networks that the container joins, including one named by `networkMode`."""
        modes = {"", "bridge", "default", "host", "none"}
        named = () if self.network_mode in modes or self.shares else (NetworkLeg(name=self.network_mode),)
        return (*self.networks_advanced, *named)

    @cached_property
    def binds(self) -> tuple[Bind, ...]:
        """Everything mounted into the container, from `volumes` and `mounts`."""
        return (
            *(
                Bind(
                    target=v.container_path,
                    host_path=v.host_path,
                    volume=v.volume_name,
                    read_only=v.read_only,
                )
                for v in self.volumes
            ),
            *(
                Bind(
                    target=m.target,
                    host_path=m.source if m.type == "bind" else m.volume_options.driver_options.get("device"),
                    volume=m.source if m.type == "volume" else None,
                    read_only=m.read_only,
                    shared=m.bind_options.propagation in {"shared", "rshared", "slave", "rslave"},
                )
                for m in self.mounts
                if m.type != "tmpfs"
            ),
        )

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """Environment variables by name."""
        return {key: value for key, _, value in (env.partition("=") for env in self.envs)}

    def is_ingress(self, topology: Topology) -> bool:
        """Whether the container has the name of the declared ingress."""
        ingress = topology.ingress_name
        return ingress is not None and self.name == topology.physical(ingress)

    def is_proxy(self, topology: Topology) -> bool:
        """Whether the container runs Traefik."""
        return self.is_ingress(topology) or "traefik" in self.image.rpartition("/")[2]

    @cached_property
    def documents(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The container's YAML files as (path, content), without those that do not parse.

        Alloy files are included in Promtail's form if they can be translated.
        """
        return tuple((file, content) for file, content in self._loaded if isinstance(content, Mapping))

    @property
    def unread(self) -> tuple[tuple[str, ValueError], ...]:
        """The files that `documents` leaves out because they do not parse, each with the reason."""
        return tuple((file, error) for file, error in self._loaded if isinstance(error, ValueError))

    @cached_property
    def _loaded(self) -> tuple[tuple[str, Any], ...]:
        return tuple((upload.file, _document(upload)) for upload in self.uploads)

    @cached_property
    def traefik(self) -> traefik.Configuration:
        """The container's Traefik configuration; meaningful only if the container runs Traefik."""
        return traefik_sources.read(
            arguments=(*self.entrypoints, *self.command),
            environment=self.environment,
            files={upload.file: upload.text for upload in self.uploads},
            mounts=tuple(bind.target for bind in self.binds),
        )


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A host path or a volume mounted at `target` in a container."""

    target: str
    host_path: str | None = None
    volume: str | None = None
    read_only: bool = False
    shared: bool = False


class IpamConfig(Inputs, inert="ip_range"):
    """Address configuration of a Docker network; `DefaultGatewayIPv4` in `aux_address` is its gateway."""

    aux_address: Mapping[str, str] = {}
    subnet: str = ""
    gateway: str = ""


class DockerNetwork(Inputs, inert="labels"):
    """A docker.Network resource."""

    name: str = ""
    attachable: bool = False
    driver: str = "bridge"
    ingress: bool = False
    internal: bool = False
    ipam_configs: tuple[IpamConfig, ...] = ()
    ipam_driver: str = "default"
    ipv6: bool = False
    options: Mapping[str, str] = {}

    def option(self, name: str) -> str:
        """Return a bridge option by the last part of its name."""
        return self.options.get(f"com.docker.network.bridge.{name}", "")

    @property
    def closed_to_host(self) -> bool:
        """Whether `inhibit_ipv4` removes the gateway address; engines before 28 ignore isolated mode."""
        return self.option("inhibit_ipv4") == "true"


class Volume(Inputs, inert="labels"):
    """A docker.Volume resource."""

    name: str = ""
    driver: str = "local"
    driver_opts: Mapping[str, str] = {}


class RemoteImage(Inputs, inert="force_remove keep_locally platform pull_triggers triggers"):
    """A pulled docker.RemoteImage. Builds are not supported: they run commands on the engine's host."""

    name: str = ""


class SwarmPort(Inputs, inert="name"):
    """A published port of a Swarm service."""

    target_port: int = Field(ge=1, le=65535)
    published_port: int | None = Field(default=None, ge=0, le=65535)
    protocol: Protocol = Protocol.TCP
    publish_mode: str = "ingress"

    def __str__(self) -> str:
        return f"{self.published_port or 'a random port'} -> {self.target_port}/{self.protocol}"


class SwarmEndpoint(Inputs, inert="mode"):
    """Endpoint of a Swarm service."""

    ports: tuple[SwarmPort, ...] = ()


class SwarmNetwork(Inputs, inert="driver_opts id"):
    """A network of a Swarm service."""

    name: str = ""
    aliases: tuple[str, ...] = ()


class SwarmTask(
    Inputs, inert="container_spec force_update log_driver placement resources restart_policy runtime"
):
    """The task of a Swarm service."""

    networks_advanceds: tuple[SwarmNetwork, ...] = ()


class SwarmService(Inputs, inert="auth converge_config labels mode rollback_config update_config"):
    """docker.Service: its ports and networks become facts; nothing else of it can be proved."""

    name: str = ""
    task_spec: SwarmTask = SwarmTask()
    endpoint_spec: SwarmEndpoint = SwarmEndpoint()


class DockerProvider(Settings):
    """The engine's endpoint. The provider's other settings are credentials and carry no site traffic."""

    host: str = ""
    context: str = ""
    ca_material: str = ""
    cert_material: str = ""
    cert_path: str = ""
    ssh_opts: tuple[str, ...] | str = ()

    @property
    def place(self) -> str:
        """The engine, as far as the provider names it."""
        return f"{self.context} {self.host}".strip()

    @property
    def is_socket(self) -> bool:
        """Whether the engine is reached by a socket on this machine."""
        return self.host.startswith("unix:")

    @property
    def unverified(self) -> str:
        """Why the engine's identity is not verified; empty if it is."""
        if self.host.startswith(("tcp:", "http:")) and not (self.cert_path or self.cert_material):
            return "host is reached without TLS"
        option = next(_beyond_logins(self.ssh_opts), None)
        return f"sshOpts has {option}, by which another host may answer" if option else ""


def _beyond_logins(given: tuple[str, ...] | str) -> Iterator[str]:
    """Yield options of ssh that are more than a login or a time; a text is a list in JSON, or words."""
    if isinstance(given, str):
        with suppress(ValueError, RecursionError):
            given = json.loads(given)
    words = iter(given.split() if isinstance(given, str) else map(str, given))
    for word in words:
        flag = _SSH_FLAGS.fullmatch(word)
        if flag is None:
            yield word[:2] if word.startswith("-") else "a word without an option"
        elif flag["option"] is not None:
            name, _, value = (flag["option"] or next(words, "")).replace("=", " ", 1).strip().partition(" ")
            strict = name.lower() == "stricthostkeychecking" and value.strip(" \"'").lower() in {"yes", "ask"}
            if name.lower() not in _SSH_OPTIONS and not strict:
                yield name or "-o"
        elif flag["with"] and not flag["value"]:
            next(words, None)
