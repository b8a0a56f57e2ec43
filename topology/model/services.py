"""Services: containers and guests."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from topology.model.apps import REACHES_GUESTS, App, GuestApp
from topology.model.compose import (
    EnvFiles,
    Healthcheck,
    Mount,
    SecretKey,
    SecretVariable,
    Span,
    Variables,
    Words,
)
from topology.model.flows import SSH, Flow, Port, StreamPort
from topology.model.hosts import ProxmoxHost
from topology.model.limits import (
    Capability,
    Cpus,
    DependsOn,
    Devices,
    ExtraHosts,
    Mebibytes,
    NameServers,
    Scratches,
    Signal,
    Texts,
    Ulimits,
)
from topology.model.routes import Headers, Requests
from topology.model.values import (
    Argument,
    Day,
    FilePath,
    Flag,
    HostName,
    MacAddress,
    Name,
    PathPrefix,
    Reason,
    UrlPath,
    UserId,
    Value,
)


def _alone(zone: object) -> object:
    if isinstance(zone, str):
        return (zone,)
    if isinstance(zone, tuple):
        return zone
    raise ValueError("not one zone")


class AdminPage(Value):
    """Permission for the ingress to pass requests to an admin page: its last day, and its reason."""

    until: Day
    reason: Reason


class Service(Value):
    """A container or a guest. `host` is the full host name under which the ingress serves it, if routed."""

    name: Name
    zones: tuple[Name, ...] = Field(min_length=1)
    ports: tuple[Port, ...] = ()
    host: HostName
    aliases: tuple[HostName, ...] = ()
    """Further full host names of its route."""
    redirects: tuple[HostName, ...] = ()
    """Full host names that send a browser on to `host`."""
    pages: Mapping[int, HostName] = Field(default_factory=dict)
    """Full host names of routes to further ports of its own, by port."""
    paths: tuple[PathPrefix, ...] = ()
    """Paths of its first route, which is for them and all below them; empty: every path."""
    strip_paths: Flag = Field(default=False, alias="strip-paths")
    """Whether the ingress takes the path off before it asks the service."""
    requests: Requests | None = None
    """Bounds of its requests, within those of all requests to the ingress."""
    request_headers: Headers = Field(default_factory=dict, alias="request-headers")
    """Headers that its requests get, in place of the client's; an empty text removes the client's."""
    response_headers: Headers = Field(default_factory=dict, alias="response-headers")
    """Headers that its answers get; an empty text removes its own."""
    login: Name | None = None
    """What answers for a client before its route: `basic`, or a service with `forward-auth`. None: nothing;
    for an app without users of its own, `basic`.
    """
    forward_auth: UrlPath | None = Field(default=None, alias="forward-auth")
    """Path at which it tells the ingress whether a request to another service may pass."""
    streams: tuple[StreamPort, ...] = ()
    """Its ports that the ingress passes on as they are, without HTTP, each by a port of the ingress's own."""
    audience: tuple[Name, ...] = ()
    """Who may use its route: `internet`, which means everyone, or management zones. Empty: those that may use
    the ingress, if they are the same for all of its ports.
    """
    memory: int = Field(default=256, ge=16, le=1_048_576)
    """MiB."""

    def streams_on(self, port: Port) -> bool:
        """Whether the ingress passes connections to this port on as they are."""
        return any(each.port == port for each in self.streams)


class Container(Service):
    """A service in a container on Docker-SRV; `zones` are the Docker networks that it joins.

    Keys of the Compose specification keep its names and forms, underscores included.
    """

    model_config = ConfigDict(alias_generator=str)

    image: str
    app: App | None = None
    user: UserId | None = None
    """None: the user that the app needs, or the unprivileged user `nobody` where there is no app."""
    ca_file: FilePath | None = Field(default=None, alias="ca-file")
    """PEM file of the authority that signed its certificate; None: the ingress asks it without TLS."""
    environment: Variables = Field(default_factory=dict)
    """Environment variables; those of a known app stand beside its own."""
    env_file: EnvFiles = ()
    """Files with further variables, a later file's first; every value of theirs is a secret."""
    secrets: Mapping[str, SecretKey] = Field(default_factory=dict)
    """Path in the container -> configuration key of the secret that the file holds."""
    files: Mapping[str, str] = Field(default_factory=dict)
    """Path in the container -> content; none of them is secret. Those of a known app stand beside its own."""
    volumes: tuple[Mount, ...] = ()
    """Named volumes and folders of Docker-SRV; those of a known app stand beside its own."""
    command: Words | None = None
    """None: the image's default. A known app takes `arguments`."""
    entrypoint: Words | None = None
    healthcheck: Healthcheck | None = None
    """None: the image's own."""
    depends_on: DependsOn = Field(default_factory=dict)
    """Services that run, or are healthy, before this one is made."""
    working_dir: FilePath | None = None
    init: Flag = False
    """Whether a small init process of the engine's forwards signals and reaps processes."""
    read_only: Flag | None = None
    """None: the root file system is read-only where the container holds no files."""
    tmpfs: Scratches = ()
    shm_size: Mebibytes | None = None
    """MiB of /dev/shm; None: the engine's 64."""
    ulimits: Ulimits = Field(default_factory=dict)
    sysctls: Texts = Field(default_factory=dict)
    extra_hosts: ExtraHosts = Field(default_factory=dict)
    dns: NameServers = ()
    """Name servers; empty: the engine's own."""
    stop_signal: Signal | None = None
    stop_grace_period: Span | None = Field(default=None, ge=1000)
    """Milliseconds until a container that does not stop is killed; None: the engine's 10 s."""
    labels: Texts = Field(default_factory=dict)
    cap_add: tuple[Capability, ...] = ()
    devices: Devices = ()
    cpus: Cpus | None = None
    """None: no limit."""
    arguments: tuple[Argument, ...] = ()
    """Arguments of a known app, after its own."""
    addresses: Mapping[str, IPv4Address] = Field(default_factory=dict)
    """Addresses by zone: on Docker networks in place of those that follow from the service's name, and on a
    network of guests that of its leg.
    """

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """Configuration keys of the secrets that the container holds."""
        variables = (each.secret for each in self.environment.values() if isinstance(each, SecretVariable))
        return tuple(dict.fromkeys((*variables, *self.secrets.values())))


class Guest(Service):
    """A service in a virtual machine on Proxmox-SRV; `zones` holds its one VLAN, which is `zone` in YAML."""

    zones: Annotated[tuple[Name], BeforeValidator(_alone)] = Field(validation_alias="zone")
    vmid: int = Field(ge=100, le=999_999_999)
    """VM id within Proxmox's bounds."""
    address: IPv4Address
    node: Name | None = None
    """The Proxmox host that it is on; None where there is one only."""
    cores: int = Field(default=1, ge=1, le=512)
    disk: int = Field(default=8, ge=1, le=131_072)
    """GiB."""
    existing_mac: MacAddress | None = None
    """MAC address of the card of a guest that is there already, whose hardware stays as it is."""
    app: GuestApp | None = None
    image: str | None = None
    """Image, pinned by digest, of an app that upstream publishes only as a container image."""
    ca_file: FilePath | None = None
    """PEM file of the authority that signed the guest's certificate; None: the guest does not serve TLS."""
    admin_page: AdminPage | None = None
    """None: the ingress blocks requests to Vaultwarden's admin page."""
    observed_until: Day | None = None
    """Through this day the guest's firewall logs what no declared flow accepts, and lets it pass."""

    def cloned_from(self, host: ProxmoxHost) -> int:
        """Return the VM id of the template that a virtual machine is cloned from."""
        return host.template

    @property
    def web(self) -> Port | None:
        """The app's port: the guest's first port other than SSH."""
        return next((port for port in self.ports if port != SSH), None)

    @property
    def mac(self) -> str:
        """The network card's MAC address; of a new guest from Proxmox's OUI and the VM id, so it is known."""
        if self.existing_mac:
            return self.existing_mac
        return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in (self.vmid & 0xFFFFFF).to_bytes(3, "big"))


def is_scrape(flow: Flow, services: Mapping[str, Service]) -> bool:
    """Whether an app that reaches guests opens a flow."""
    source = services.get(flow.source)
    return isinstance(source, Container) and source.app in REACHES_GUESTS
