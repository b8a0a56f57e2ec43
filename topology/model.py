"""The words of the project as frozen values: zone, service, guest, host, port, flow, route, topology.

Owns what a declared site *is*. It deliberately neither reads configuration (`topology.config`) nor decides
what can be reached (`topology.reachability`), and it imports no provider. What a reader would get wrong: a
flow is a declaration, never a consequence. Rules, routes, data sources, proof and probe are all made from
`Topology.flows`, and none of them adds to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from topology.reach_spans import SPECIAL

INTERNET = "internet"
"""The one source and destination that is nobody's: every address outside the site."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)]
"""A DNS label (RFC 1123) in lower case that begins with a letter."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HostName = Annotated[
    str, StringConstraints(pattern=rf"^({_LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$", max_length=253)
]
"""Dot-separated DNS labels (RFC 1123) in lower case, the last of which begins with a letter."""

Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]*)?$", max_length=20)]
"""What physical names begin with; nothing, or something that keeps them DNS labels."""

Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=10)]
"""A network interface; ten characters leave room for `.4094` within the kernel's fifteen."""

UserId = Annotated[str, StringConstraints(pattern=r"^\d{1,10}:\d{1,10}$")]
"""A user and a group by number, so that no image decides what a name means."""

FilePath = Annotated[str, StringConstraints(pattern=r"^[^\r\n]+$")]
"""A file's path: one line, so that nobody pastes the file itself."""


PublicKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\r\n]*)?$")
]
"""A public key as authorized_keys holds it, without options."""


_MIDNIGHT = re.compile(r"T00:00:00Z$| 00:00:00 \+0000 UTC$")


HostKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$")]
"""A host's public key as known_hosts writes it: `ssh-ed25519 AAAA…`."""


def _day(value: object) -> object:
    return date.fromisoformat(_MIDNIGHT.sub("", value)) if isinstance(value, str) else value


Day = Annotated[date, BeforeValidator(_day)]
"""A date; the engine hands an unquoted YAML one over as midnight, in a list of texts in words of its own."""

Flag = Annotated[
    bool,
    BeforeValidator(lambda value: value == "true" if value in ("true", "false") else value),
    WithJsonSchema({"enum": [True, False, "true", "false"]}),
]
"""True or false, also as text: `pulumi config set` quotes every scalar of the file that it writes."""

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(value: object, info: ValidationInfo) -> object:
    """Read `30s`, `5m` or `1h`."""
    if isinstance(value, str) and (match := re.fullmatch(r"([1-9]\d{0,4})([smh])", value, re.ASCII)):
        return int(match[1]) * _UNITS[match[2]]
    if info.mode == "python" and isinstance(value, int):
        return value
    raise ValueError("not a length of time")


Every = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(ge=1, le=86_400),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,4}[smh]$"}),
]
"""Seconds between two times that something is done, at most a day; written `30s`, `5m` or `1h`."""

_PORT = re.compile(r"(\d{1,5})(?:/(\w+))?", re.ASCII)
_FLOW = re.compile(r"(\S+) -> (\S+):(\S+)")


def _alone(zone: object) -> object:
    if isinstance(zone, str):
        return (zone,)
    if isinstance(zone, tuple):
        return zone
    raise ValueError("not one zone")


class Protocol(StrEnum):
    """Transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class Role(StrEnum):
    """What a zone is for; the hard rules of the policy pack hang on it.

    `edge`: the ingress alone, where its ports are published. `frontend`: the Docker services the ingress may
    reach. `query`: what the frontend asks. `backend`: never a destination from outside or from the ingress.
    `probe`: where Docker-SRV is watched from as a stranger sees it, by its published ports and nothing else.
    `tenant`: a VLAN with guests that the ingress may reach. `isolated`: a tenant VLAN with one guest and no
    egress unless declared. `management`: where administrators sit, outside what the project builds.
    """

    EDGE = "edge"
    FRONTEND = "frontend"
    QUERY = "query"
    BACKEND = "backend"
    PROBE = "probe"
    TENANT = "tenant"
    ISOLATED = "isolated"
    MANAGEMENT = "management"


class App(StrEnum):
    """Software whose configuration the project writes; a container without one runs its image as it is."""

    TRAEFIK = "traefik"
    GRAFANA = "grafana"
    PROMETHEUS = "prometheus"
    PROMETHEUS_UI = "prometheus-ui"
    NODE_EXPORTER = "node-exporter"
    BLACKBOX_EXPORTER = "blackbox-exporter"
    CADVISOR = "cadvisor"
    LOKI = "loki"
    LOKI_GATEWAY = "loki-gateway"
    PROMTAIL = "promtail"
    ALLOY = "alloy"


class GuestApp(StrEnum):
    """Software that a guest sets up at its first boot, or that its template holds already."""

    WORDPRESS = "wordpress"
    JELLYFIN = "jellyfin"
    STIRLING_PDF = "stirling-pdf"
    VAULTWARDEN = "vaultwarden"


NO_LOGIN = frozenset({App.PROMETHEUS_UI})
"""Software that knows no users; the ingress asks for a name and a password in its place."""


SPEAKS_TLS = frozenset({GuestApp.WORDPRESS})
"""Software that a guest sets up with a key of its own, and that answers by TLS alone."""


ASKS_FOR_CERTIFICATES = frozenset(
    {App.PROMETHEUS, App.LOKI, App.LOKI_GATEWAY, App.NODE_EXPORTER, App.BLACKBOX_EXPORTER}
)
"""Software that can refuse whoever shows it no certificate, and is told to."""


READS_LOGS = frozenset({App.GRAFANA})
WRITES_LOGS = frozenset({App.PROMTAIL, App.ALLOY})
"""What the gateway before Loki lets a client do follows from the client's app."""


class Value(BaseModel):
    """A frozen value that refuses unknown keys; `data_root` is written `data-root` in YAML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
    )


class Port(Value):
    """A port and its protocol, written `443/tcp`."""

    number: int = Field(ge=1, le=65535)
    protocol: Protocol = Protocol.TCP

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object, info: ValidationInfo) -> object:
        if info.mode == "python" and not isinstance(value, str | int):
            return value
        if (match := _PORT.fullmatch(str(value))) is None:
            raise ValueError("not a port")
        return {"number": int(match[1]), "protocol": match[2] or "tcp"}

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read `443` or `53/udp`; raises ValueError on anything else."""
        return cls.model_validate(text)

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


class Flow(Value):
    """Permission for `source` to open connections to `port` of `destination`, written `a -> b:443/tcp`.

    `source` is `internet`, a management zone or a service; `destination` a service, a host or `internet`.
    """

    source: Name
    destination: Name
    port: Port

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object, info: ValidationInfo) -> object:
        if info.mode == "python" and not isinstance(value, str):
            return value
        if (match := _FLOW.fullmatch(str(value))) is None:
            raise ValueError("not a flow")
        return {"source": match[1], "destination": match[2], "port": match[3]}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `a -> b:443/tcp`; raises ValueError on anything else."""
        return cls.model_validate(text)

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"


class Temporary(Value):
    """A flow with an end: the last day on which it may be declared, and what it is for."""

    flow: Flow
    until: Day
    reason: str = Field(min_length=10)


class AdminPage(Value):
    """An admin page that the ingress passes: the last day on which it may, and what it is for."""

    until: Day
    reason: str = Field(min_length=10)


class Zone(Value):
    """One network: a Docker network, a VLAN of the Proxmox bridge (`vlan` is set), or management.

    `ingress` is the address of the ingress's own leg on a VLAN; without one the ingress has no leg there.
    """

    name: Name
    role: Role
    prefix: IPv4Network
    vlan: int | None = Field(default=None, ge=1, le=4094)
    ingress: IPv4Address | None = None

    @property
    def is_docker(self) -> bool:
        """Whether the zone is a Docker network of its own."""
        return self.vlan is None and self.role is not Role.MANAGEMENT

    @property
    def internal(self) -> bool:
        """Whether the Docker network has no way to its host: all but edge and probe."""
        return self.role not in (Role.EDGE, Role.PROBE)

    @property
    def gateway(self) -> IPv4Address:
        """First address of the prefix; nobody answers there on a VLAN without a router."""
        return self.prefix[1]

    @property
    def network(self) -> str:
        """Name of the Docker network: the zone's own, or `vlan10` for the ingress's leg on VLAN 10."""
        return self.name if self.vlan is None else f"vlan{self.vlan}"


SSH = Port(number=22)
"""Where administrators log in to a guest, if that is among its ports."""


class Service(Value):
    """Something that listens. `host` is the full host name that the ingress serves it under, if it does."""

    name: Name
    zones: tuple[Name, ...] = Field(min_length=1)
    ports: tuple[Port, ...] = ()
    host: HostName
    memory: int = Field(default=256, ge=16, le=1_048_576)
    """MiB."""


class Container(Service):
    """A service in a container of Docker-SRV; `zones` are the Docker networks it joins."""

    image: str
    app: App | None = None
    user: UserId | None = None
    """None: the one that its software needs, nobody where that is not known."""


class Guest(Service):
    """A service in a virtual machine of Proxmox-SRV; `zones` is the one VLAN it sits on, `zone` in YAML."""

    zones: Annotated[tuple[Name], BeforeValidator(_alone)] = Field(validation_alias="zone")
    vm: int = Field(ge=100, le=999_999_999)
    """VM id; the bounds are Proxmox's own."""
    address: IPv4Address
    cores: int = Field(default=1, ge=1, le=512)
    disk: int = Field(default=8, ge=1, le=131_072)
    """GiB."""
    app: GuestApp | None = None
    image: str | None = None
    """Image of an app that its upstream gives away as a container alone; a digest pins it."""
    authority: FilePath | None = None
    """PEM file of whoever signed the certificate that it shows the ingress; None: it speaks no TLS."""
    admin_page: AdminPage | None = None
    """None: the ingress passes no request to Vaultwarden's admin page."""

    @property
    def sets_itself_up(self) -> bool:
        """Whether it does so at its first boot; WordPress is Debian's own, and needs no image."""
        return self.image is not None or self.app is GuestApp.WORDPRESS

    @property
    def web(self) -> Port | None:
        """The port that its app serves: the first that is not for logging in."""
        return next((port for port in self.ports if port != SSH), None)

    @property
    def mac(self) -> str:
        """The card's address: Proxmox's own OUI, then the VM id; known before the guest exists."""
        return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in (self.vm & 0xFFFFFF).to_bytes(3, "big"))


class Ssh(Value):
    """How commands reach a host: as a user who may run `nft`, to a host whose key is pinned.

    The private key is no configuration but the stack's secret `ssh:privateKey`.
    """

    address: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]*$")
    host_key: HostKey


class DockerHost(Value):
    """Docker-SRV. `address` is where the ingress publishes its ports; `trunk` the interface whose VLAN
    interfaces (`<trunk>.<tag>`) carry the ingress's legs; `data_root` the engine's folder (logs, cAdvisor).
    """

    name: Name
    address: IPv4Address = IPv4Address("0.0.0.0")  # noqa: S104  # the single way in listens on every address
    trunk: Interface = "trunk"
    data_root: str = Field(default="/var/lib/docker", pattern=r"^/[^\r\n]*$")
    metrics: str = Field(default="/var/lib/homelab-network/metrics", pattern=r"^/[\w./-]*$")
    """Folder in which the live probe leaves the metrics of its last run, and Node Exporter reads them."""
    probe_every: Every = Field(default="30s", validate_default=True)
    """How often Docker-SRV is probed from the probe zone."""
    verify_every: Every | None = None
    """How often a timer there runs the live probe; None: no timer."""
    project: str = Field(default="/opt/homelab-network", pattern=r"^/[\w./-]*$")
    """Folder of this project there, which the timer runs."""
    trusted_proxies: tuple[IPv4Network, ...] = ()
    """Who may tell the ingress for whom a request is made: the proxies and tunnels in front of it."""
    ssh: Ssh | None = None
    """None: Docker-SRV is the machine that runs Pulumi."""


class ProxmoxHost(Value):
    """Proxmox-SRV. `template` is the VM id that guests are cloned from, `storage` where their disks go,
    `uplink` the node's network port that joins the bridge to Docker-SRV's trunk.
    """

    name: Name
    node: str = Field(min_length=1)
    bridge: Interface = "vmbr1"
    existing_bridge: Flag = False
    """Whether the bridge is the node's own already; nothing here makes, changes or removes it then."""
    uplink: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=15)
    """None: the bridge leads out of the node by none of its ports."""
    storage: str = Field(default="local-lvm", min_length=1)
    snippets: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")
    """The storage with the guests' cloud-init files; None: guests are what their template is."""
    name_servers: tuple[IPv4Address, ...] = ()
    """What guests ask for names; none: what the node asks."""
    authorized_keys: tuple[PublicKey, ...] = ()
    """Who may log in to guests that set themselves up, with SSH among their ports."""
    address: IPv4Address | None = None
    """Its own in a management zone; None: the one in the address of its API, if that is one."""
    template: int = Field(default=9000, ge=100, le=999_999_999)
    ports: tuple[Port, ...] = (Port(number=8006), Port(number=22))


class Certificate(Value):
    """PEM files with the ingress's certificate chain and key; environment variables are expanded."""

    certificate: FilePath
    key: FilePath


HTTP = Port(number=80)
"""Where an ACME server looks for the answer to its HTTP challenge (RFC 8555)."""
DNS = Port(number=53, protocol=Protocol.UDP)


def _server_port(url: str) -> Port:
    """The port of an https URL; raises ValueError where it has none that is a port."""
    return Port(number=443 if (given := urlsplit(url).port) is None else given)


def _has_port(url: str) -> str:
    _server_port(url)
    return url


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=63)]
"""A variable by which lego, Traefik's ACME client, is told of a DNS provider's login."""


class Acme(Value):
    """Whom the ingress has its certificates from, one for each host name of a route.

    `challenge` is `http`, or what lego calls the provider in whose DNS the ingress shows that the names are
    its own; `credentials` are then the variables of its login, each the stack's secret `acme:<variable>`.
    `authority` is the PEM file that the server's own certificate is checked with, None for those that the
    image trusts; `name_servers` are whom the ingress asks for names.
    """

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    server: Annotated[
        str,
        StringConstraints(pattern=rf"^https://({_LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?(:\d+)?/\S*$"),
        AfterValidator(_has_port),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    challenge: str = Field(default="http", pattern=r"^[a-z0-9]+$")
    credentials: tuple[Variable, ...] = ()
    authority: FilePath | None = None
    name_servers: tuple[IPv4Address, ...]

    @property
    def over_http(self) -> bool:
        """Whether the ACME server asks the ingress itself, on port 80."""
        return self.challenge == "http"

    def flows(self, ingress: str) -> dict[Flow, str]:
        """What has to be declared for it, and what for."""
        needed = {
            Flow(source=ingress, destination=INTERNET, port=_server_port(self.server)): "ask the ACME server",
            Flow(source=ingress, destination=INTERNET, port=DNS): "ask a name server",
        }
        if self.over_http:
            needed[Flow(source=INTERNET, destination=ingress, port=HTTP)] = "answer the HTTP challenge"
        else:
            provider = Flow(source=ingress, destination=INTERNET, port=Port(number=443))
            needed.setdefault(provider, f"ask {self.challenge}")
        return needed


class Certificates(Value):
    """What the private authorities sign. `authorities` are the generations that all trust, the `signer`'s
    alone signs; a certificate lasts `days` and is renewed by the first update of its last `renew` days.
    """

    authorities: tuple[Name, ...] = Field(default=("a",), min_length=1)
    signer: Name = "a"
    days: int = Field(default=30, ge=2, le=90)
    renew: int = Field(default=10, ge=1, le=89)


class Plain(Value):
    """A flow without TLS: to a service that can't ask for a certificate, or to a guest that shows none."""

    flow: Flow
    reason: str = Field(min_length=10)


class Exemption(Value):
    """A declared exception: `rule` does not apply to `resource` until `expires`, because of `reason`."""

    rule: Name
    resource: str = Field(min_length=1)
    reason: str = Field(min_length=10)
    owner: str = Field(min_length=1)
    expires: Day


class Assertion(Value):
    """An accept/deny test: what `src` must and must not reach, each written `service:port/protocol`."""

    src: Name
    accept: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


ADMIN_PAGE_LEFT_OUT = " && !PathRegexp(`(?i)^/admin`)"
"""How a rule of Traefik's ends that passes no admin page. Vaultwarden knows one by the path's first segment,
once percent signs are decoded and slashes merged, which the entry point does before it looks for a router."""


class Route(Value):
    """A flow from the ingress to a service, served under a host name of its own."""

    service: Name
    host: str
    url: str
    """Where the ingress sends requests: by container name on a Docker network, by address on a VLAN."""
    app: App | None = None
    authority: FilePath | None = None
    """PEM file of who signs for the service; None: it is asked without TLS."""
    admin_page: bool = True
    """Whether requests to its admin page are passed, should it have one."""

    @property
    def rule(self) -> str:
        """Which requests it is for, in Traefik's words."""
        return f"Host(`{self.host}`){'' if self.admin_page else ADMIN_PAGE_LEFT_OUT}"

    @property
    def login(self) -> bool:
        """Whether the ingress asks for a name and a password."""
        return self.app in NO_LOGIN


class SshVantage(Value):
    """A machine from which the live probe asks over SSH; its name is the source that it stands for.

    `front` is where Docker-SRV's published ports are found from there, if not at the host's own `address`.
    """

    name: Name
    ssh: str = Field(pattern=r"^[a-z_][a-z0-9_-]*@[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    """`user@host`; the rest, like port, key and jump host, is the SSH client's own configuration."""
    host_key: HostKey
    front: IPv4Address | None = None


class ImageVantage(Value):
    """The image with Python in which the live probe asks from containers and Docker networks."""

    name: Name
    image: str


class Topology(Value):
    """The whole declared site; `topology.config.load` is the one place that makes and checks it."""

    domain: HostName
    name_prefix: Prefix = ""
    """Put before the physical names of containers, networks, volumes and VMs."""
    protect: Flag = True
    """Whether volumes and guests are kept from deletion."""
    docker: DockerHost
    proxmox: ProxmoxHost
    zones: Mapping[str, Zone]
    services: Mapping[str, Container | Guest]
    flows: tuple[Flow, ...]
    temporary: tuple[Temporary, ...] = ()
    """Those of `flows` that have an end."""
    tls: Certificate | Acme
    certificates: Certificates = Certificates()
    plain: tuple[Plain, ...] = ()
    exceptions: tuple[Exemption, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    vantages: Mapping[str, SshVantage | ImageVantage] = Field(default_factory=dict)

    @cached_property
    def ingress(self) -> Container:
        """The single ingress: the one service whose app is Traefik."""
        return next(c for c in self.containers if c.app is App.TRAEFIK)

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container service, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Container))

    @cached_property
    def guests(self) -> tuple[Guest, ...]:
        """Every guest, in declared order."""
        return tuple(s for s in self.services.values() if isinstance(s, Guest))

    @cached_property
    def vlans(self) -> tuple[Zone, ...]:
        """Zones that are VLANs, by tag."""
        return tuple(sorted((z for z in self.zones.values() if z.vlan), key=lambda z: z.vlan or 0))

    @property
    def acme(self) -> Acme | None:
        """Whom the ingress has its certificates from; None: from files."""
        return self.tls if isinstance(self.tls, Acme) else None

    @cached_property
    def management(self) -> tuple[Zone, ...]:
        """Zones where administrators sit."""
        return tuple(z for z in self.zones.values() if z.role is Role.MANAGEMENT)

    @property
    def local_network(self) -> IPv4Network | None:
        """Prefix of the management zone in which the Proxmox node is: that of its address, or the first."""
        near = [zone for zone in self.management if self.near_node(zone)]
        return next((zone.prefix for zone in near or self.management), None)

    def near_node(self, zone: Zone) -> bool:
        """Whether the Proxmox node has an interface in a management zone; without an address in each."""
        return self.proxmox.address is None or self.proxmox.address in zone.prefix

    def flows_from(self, name: str) -> tuple[Flow, ...]:
        """Declared flows whose source is `name`."""
        return tuple(f for f in self.flows if f.source == name)

    def flows_to(self, name: str) -> tuple[Flow, ...]:
        """Declared flows whose destination is `name`."""
        return tuple(f for f in self.flows if f.destination == name)

    @cached_property
    def egress(self) -> tuple[Port, ...]:
        """Ports on which containers of edge may reach the internet."""
        leaving = {c.name for c in self.containers if any(self.zones[z].role is Role.EDGE for z in c.zones)}
        return tuple(f.port for f in self.flows if f.destination == INTERNET and f.source in leaving)

    @cached_property
    def legs(self) -> tuple[Zone, ...]:
        """VLANs on which the ingress needs a leg of its own: those of the guests it has a flow to, by tag."""
        wanted = {f.destination for f in self.flows_from(self.ingress.name)}
        zones = {guest.zones[0] for guest in self.guests if guest.name in wanted}
        return tuple(z for z in self.vlans if z.name in zones)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """One route for each declared flow from the ingress to a service."""
        return tuple(
            self._route(service, flow)
            for flow in self.flows_from(self.ingress.name)
            if (service := self.services.get(flow.destination)) is not None
        )

    def _route(self, service: Container | Guest, flow: Flow) -> Route:
        authority = service.authority if isinstance(service, Guest) else None
        return Route(
            service=service.name,
            host=service.host,
            url=f"{'https' if authority else 'http'}://{self.target(flow)}",
            app=service.app if isinstance(service, Container) else None,
            authority=authority,
            admin_page=service.app is not GuestApp.VAULTWARDEN or service.admin_page is not None,
        )

    def address(self, service: Container | Guest) -> str:
        """How others on its network call a service: a guest's address, a container's physical name."""
        return str(service.address) if isinstance(service, Guest) else self.physical(service.name)

    def target(self, flow: Flow) -> str:
        """`host:port` that a flow's source asks; its destination is a service."""
        return f"{self.address(self.services[flow.destination])}:{flow.port.number}"

    @cached_property
    def probes(self) -> tuple[Zone, ...]:
        """Zones from which Docker-SRV is watched."""
        return tuple(z for z in self.zones.values() if z.role is Role.PROBE)

    @cached_property
    def published(self) -> tuple[Port, ...]:
        """Ports that the ingress publishes on Docker-SRV: those of declared flows from the internet."""
        return tuple(f.port for f in self.flows_to(self.ingress.name) if f.source == INTERNET)

    @cached_property
    def nearby(self) -> tuple[IPv4Network, ...]:
        """Prefixes that are not the internet: those that are nobody's there, and the site's own."""
        own = (zone.prefix for zone in self.zones.values())
        return (*SPECIAL, *(prefix for prefix in own if not any(map(prefix.subnet_of, SPECIAL))))

    def is_routed(self, guest: Guest) -> bool:
        """Whether a guest has flows beyond its VLAN and so needs the router at its zone's gateway address."""
        outside = {INTERNET, *(zone.name for zone in self.management)}
        flows = (*self.flows_from(guest.name), *self.flows_to(guest.name))
        return any(outside & {flow.source, flow.destination} for flow in flows)

    def user_data(self, guest: Guest) -> str | None:
        """The guest's cloud-init file as Proxmox names it; None where it does not set itself up."""
        file = f"{self.physical(guest.name)}.yaml"
        return (
            f"{self.proxmox.snippets}:snippets/{file}"
            if guest.sets_itself_up and self.proxmox.snippets
            else None
        )

    @cached_property
    def node_interface(self) -> IPv4Interface | None:
        """Proxmox-SRV's own address, within its management zone; None where it has none."""
        ip = self.proxmox.address
        prefixes = (zone.prefix for zone in self.management if ip and ip in zone.prefix)
        return next((IPv4Interface(f"{ip}/{prefix.prefixlen}") for prefix in prefixes), None)

    @cached_property
    def ssh_vantages(self) -> Mapping[str, SshVantage]:
        """Machines from which the live probe asks over SSH, by the source that each stands for."""
        return {name: v for name, v in self.vantages.items() if isinstance(v, SshVantage)}

    @cached_property
    def probe_image(self) -> str | None:
        """Image in which the live probe asks from containers; None: it enters their namespaces."""
        return next((v.image for v in self.vantages.values() if isinstance(v, ImageVantage)), None)

    def bridge(self, zone: Zone) -> str:
        """Name of a Docker zone's bridge on the host, cut to the longest name of a Linux interface."""
        return f"br-{self.physical(zone.network)}"[:15]

    def physical(self, name: str) -> str:
        """Name of the thing in the engine or in Proxmox."""
        return f"{self.name_prefix}{name}"
