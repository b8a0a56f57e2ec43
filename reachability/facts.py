"""What *is*, in frozen values without a provider: networks, containers, guests, hosts, firewall, proxies.

Owns the shape of the facts that `resources.site` makes of resources and `reachability.engine` judges.
It deliberately holds no intent: no flow, no role. What a reader would get wrong: `None` never means
unknown unless its field says so; an unknown text is `UNKNOWN`, which an accept rule matches with every
packet and a drop rule with none, so that what nobody knows can only widen what is reachable.

Every fact carries `origin`, the name or URN of the resource that it was read from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from topology.model import Port, Protocol

UNKNOWN = "<unknown>"
"""A text that the resource has but nobody can read yet, for example an output before creation."""

ANY_ADDRESS = IPv4Address("0.0.0.0")  # noqa: S104  # Docker's own way to write every address of the host


class Driver(StrEnum):
    """Drivers of Docker networks that carry packets."""

    BRIDGE = "bridge"
    OVERLAY = "overlay"
    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"


class Mode(StrEnum):
    """A container's network mode. With BRIDGE and no legs it is on its host's default bridge."""

    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class Kind(StrEnum):
    """What a proxy's router reads."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    """One layer-2 network of a Proxmox bridge. `tag` is None for frames without one.

    Bridges of one name are one switch, whichever node they are on.
    """

    bridge: str
    tag: int | None = None

    def __str__(self) -> str:
        return self.bridge if self.tag is None else f"{self.bridge}.{self.tag}"


Place = Vlan | str
"""Where an interface is plugged in: a VLAN, or the name of an `Outside`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Machines that nobody here builds: the internet (`prefix` None) or a management network.

    `ports` are those that flows name when they go there, so that they are told apart from any other.
    """

    name: str
    origin: str
    prefix: IPv4Network | None = None
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A Docker network. `name` is the zone's name where there is one: traces print it.

    `host` is the engine's host. `host_reachable` is False only when members cannot open connections to the
    host: gateway mode isolated on an engine that honours it, `inhibit_ipv4`, or a drop rule on the bridge.
    `sees_published`: its members reach the ports that are published there all the same.
    `masquerade` off leaves a container without answers from beyond the host. `egress` are the ports to which
    the host lets members out, to public addresses alone; None: to all, everywhere. `vlan` is where the parent
    interface of a macvlan or ipvlan network leads; None on such a network means unknown: every VLAN.
    `icc` off (macvlan: private mode) keeps members from each other.
    """

    name: str
    origin: str
    host: str
    driver: Driver = Driver.BRIDGE
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    egress: tuple[Port, ...] | None = None
    host_reachable: bool = True
    sees_published: bool = False
    vlan: Vlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A container's interface on the network called `network`; `names` are its aliases there.

    `address` is None when the engine chooses it.
    """

    network: str
    address: IPv4Address | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`length` ports from `external` of the host on, led to those from `internal` of the container on.

    `external` is None when the engine draws it. `everywhere` is Swarm's ingress mode: on every engine's host.
    """

    internal: int
    external: int | None
    protocol: Protocol = Protocol.TCP
    length: int = 1
    address: IPv4Address = ANY_ADDRESS
    everywhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container or Swarm service. `name` is the service's name as flows use it.

    `names` are what other containers call it besides (its physical name, a Swarm service's name). `shares`
    is the name of the container whose network stack it uses (`container:x`). `ports` are those its service
    declares; it is taken to listen on every other one too. `publish_all` publishes every one of them.
    """

    name: str
    origin: str
    host: str
    mode: Mode = Mode.BRIDGE
    shares: str | None = None
    legs: tuple[Leg, ...] = ()
    names: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    published: tuple[Published, ...] = ()
    publish_all: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A Proxmox firewall rule with its fields as Proxmox writes them; None is a field that is not set.

    `type` is `in`, `out` or `group`; a group rule has only `group`, `enabled` and `iface`. Rules are held
    in the order in which Proxmox applies them.
    """

    origin: str
    type: str
    action: str = "ACCEPT"
    enabled: bool = True
    macro: str | None = None
    proto: str | None = None
    source: str | None = None
    dest: str | None = None
    sport: str | None = None
    dport: str | None = None
    iface: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IpsetEntry:
    """A member of an ipset: an address, prefix or alias; `nomatch` takes it out again."""

    cidr: str
    nomatch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFirewall:
    """Options, rules, ipsets and aliases of one guest; the defaults are Proxmox's own but for `dhcp`."""

    origin: str
    enabled: bool = False
    input_policy: str = "DROP"
    output_policy: str = "ACCEPT"
    dhcp: bool = False
    ipfilter: bool = False
    rules: tuple[Rule, ...] = ()
    ipsets: Mapping[str, tuple[IpsetEntry, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFirewall:
    """The firewall of one Proxmox node; it also obeys the datacenter's rules, after its own."""

    origin: str
    enabled: bool = True
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Datacenter:
    """The datacenter's firewall: the first switch, the policies of the nodes, and what guests may name.

    `local_network` is the network in which the node itself is routed; None: nobody knows. Proxmox takes it
    where no alias of that name says otherwise.
    """

    origin: str
    enabled: bool = False
    input_policy: str = "DROP"
    output_policy: str = "ACCEPT"
    rules: tuple[Rule, ...] = ()
    groups: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[IpsetEntry, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    local_network: IPv4Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A guest's network card. Without `tag` and `trunks` it sees every VLAN of its bridge, as in Proxmox.

    `address` is None when nobody knows it: then it may be any.
    """

    name: str
    bridge: str
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    firewall: bool = False
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A virtual machine, or a system container (`lxc`). It never routes; a `Gateway` does."""

    name: str
    origin: str
    nics: tuple[Nic, ...]
    ports: tuple[Port, ...] = ()
    lxc: bool = False
    firewall: GuestFirewall


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLeg:
    """An interface of a host with an address; None is an unknown address, which may be any.

    `name` is what the host's rules call it; None: nobody knows.
    """

    place: Place
    address: IPv4Address | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Docker-SRV (`firewall` None: nothing filters what reaches it) or a Proxmox node.

    `legs` say from where it can be reached and where it can go; `ports` are those of its own programs.
    """

    name: str
    origin: str
    legs: tuple[HostLeg, ...]
    ports: tuple[Port, ...] = ()
    firewall: HostFirewall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Something that forwards packets between `places`, in every direction and without a filter."""

    name: str
    origin: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """A port that a proxy listens on. `default`: used by routers that name no entrypoint."""

    name: str
    port: Port
    default: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A proxy's router. Without `entrypoints` it is on all default ones. Middlewares never widen it."""

    name: str
    origin: str
    service: str
    kind: Kind = Kind.HTTP
    entrypoints: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyService:
    """Where a proxy's routers send: `servers` are URLs (HTTP) or `host:port`, `services` further ones."""

    name: str
    origin: str
    kind: Kind = Kind.HTTP
    servers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Traefik in the container called `container`, with what its file provider says.

    `labels`: its Docker provider is on, so containers' labels make routers too; `exposed_by_default` is that
    provider's option of the same name.
    """

    container: str
    origin: str
    entrypoints: tuple[Entrypoint, ...] = ()
    routers: tuple[Router, ...] = ()
    services: tuple[ProxyService, ...] = ()
    labels: bool = False
    exposed_by_default: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is. Names of outsides, hosts, containers and guests are unique across all of them."""

    outsides: tuple[Outside, ...] = ()
    hosts: tuple[Host, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    networks: tuple[Network, ...] = ()
    containers: tuple[Container, ...] = ()
    guests: tuple[Guest, ...] = ()
    datacenter: Datacenter | None = None
    proxies: tuple[Proxy, ...] = ()
