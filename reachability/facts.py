"""Facts about a site as frozen values: networks, containers, guests, hosts, firewall rules and proxies.

`resources.site` makes facts from resources; `reachability.engine` evaluates them. `origin` is the name or
URN of the resource that a fact was read from.

Note: `None` means unknown only where its field says so. Unknown text is `UNKNOWN`: an accept rule with
it matches every packet and a drop rule none, so unknown values can only widen what is reachable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from topology.model import Port, Protocol

UNKNOWN = "<unknown>"
"""A value that the resource has but that cannot be read yet, for example an output before creation."""

ANY_ADDRESS = IPv4Address("0.0.0.0")  # noqa: S104  # Docker's notation for every address of the host


class NetworkDriver(StrEnum):
    """Drivers of Docker networks that carry packets."""

    BRIDGE = "bridge"
    OVERLAY = "overlay"
    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"


class Mode(StrEnum):
    """A container's network mode. BRIDGE without legs is the host's default bridge."""

    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class RouterProtocol(StrEnum):
    """The protocol that a proxy's router handles."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    """One layer-2 network of a Proxmox bridge. `tag` is None for untagged frames.

    Bridges of one name count as one switch, on every node.
    """

    bridge: str
    tag: int | None = None

    def __str__(self) -> str:
        return self.bridge if self.tag is None else f"{self.bridge}.{self.tag}"


Segment = Vlan | str
"""What an interface is attached to: a VLAN, or the name of an `Outside`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Machines outside the site: the internet (`prefix` None), a management network, or a flat site's LAN.

    `without` are addresses in `prefix` that others have. `segment` is the machines' network; None: one of
    their own, which has their name, and on which only hosts and gateways have interfaces.
    `ports` are the ports that flows to these machines name; all others are evaluated as one. `inbound` off:
    a router in front of the site lets no connection in from there, and the site's own out.
    """

    name: str
    origin: str
    prefix: IPv4Network | None = None
    inbound: bool = True
    ports: tuple[Port, ...] = ()
    without: tuple[IPv4Network, ...] = ()
    segment: Vlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Connections that the host's rules let pass between two members of a bridge."""

    source: IPv4Address
    destination: IPv4Address
    port: Port


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Connections that the host's rules let out of a bridge: to `port`, at every address not in `without`.

    `source` is the member whose connections they are; None: every member's. `to` is the one network that they
    lead to; None: every one.
    """

    port: Port
    source: IPv4Address | None = None
    without: tuple[IPv4Network, ...] = ()
    to: IPv4Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Connections that a host's own rules let in from outside: to `port`, from addresses in `source`.

    A router's are by the interface `inbound`, to its address `to`; None: by all, to all.
    """

    port: Port
    source: IPv4Network
    inbound: str | None = None
    to: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A Docker network. `name` is the zone's name if the network is a zone, and is what traces print.

    `host` is the engine's host. `host_reachable` is False only when members cannot open connections to the
    host: gateway mode isolated on an engine that honours it, `inhibit_ipv4`, or a drop rule on the bridge.
    `sees_published`: members reach published ports on the host; None: as they reach the host. `gateway` off:
    the host has no address there, so its own programs do not reach members.
    `masquerade` off: replies from beyond the host do not reach members. `egress` is what the host's rules let
    out; None: every port, everywhere. `vlan` is the place of the
    parent interface of a macvlan or ipvlan network; None on such a network means unknown: every VLAN.
    `icc` off (macvlan: private mode) isolates members from each other; `hairpin` off: published ports, too.
    `passes` is what the host's rules let pass between members of a bridge; None: everything.
    """

    name: str
    origin: str
    host: str
    driver: NetworkDriver = NetworkDriver.BRIDGE
    internal: bool = False
    icc: bool = True
    hairpin: bool = True
    passes: tuple[Pass, ...] | None = None
    masquerade: bool = True
    egress: tuple[Exit, ...] | None = None
    host_reachable: bool = True
    sees_published: bool | None = None
    gateway: bool = True
    vlan: Segment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A container's interface on the network called `network`; `names` are its aliases there.

    `address` is None when the engine chooses the address, or when the container can take another one.
    `passes` is what the host's rules let pass to a macvlan leg from the VLAN; None: everything, to each of
    the container's addresses. They see no frames between members of a network that does not isolate them.
    """

    network: str
    address: IPv4Address | None = None
    names: tuple[str, ...] = ()
    passes: tuple[Pass, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`length` host ports from `external` on, forwarded to the container's ports from `internal` on.

    `external` is None when the engine picks the port. `everywhere` is Swarm's ingress mode: published on
    every engine's host. `admitted` are the prefixes from which alone the host's rules let packets through;
    None: from everywhere.
    """

    internal: int
    external: int | None
    protocol: Protocol = Protocol.TCP
    length: int = 1
    address: IPv4Address = ANY_ADDRESS
    everywhere: bool = False
    admitted: tuple[IPv4Network, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFact:
    """A container or Swarm service. `name` is the service's name as flows use it.

    `names` are further names that other containers resolve (its physical name, a Swarm service's name).
    `shares` is the name of the container whose network stack it uses (`container:x`). `ports` are the ports
    that its service declares; the container is assumed to listen on every other port too. `publish_all`
    publishes every port.
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
class ProxmoxRule:
    """A Proxmox firewall rule with its fields as Proxmox writes them; None is a field that is not set.

    `type` is `in`, `out` or `group`; a group rule has only `group`, `enabled` and `iface`. Rules are kept in
    the order in which Proxmox applies them. `observes`: the rule of a guest's own list accepts and logs all.
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
    observes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IpsetEntry:
    """A member of an ipset: an address, prefix or alias; `nomatch` excludes it from the set."""

    cidr: str
    nomatch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFirewall:
    """Options, rules, ipsets and aliases of one guest. The defaults are Proxmox's own except for `dhcp`."""

    origin: str
    enabled: bool = False
    input_policy: str = "DROP"
    output_policy: str = "ACCEPT"
    dhcp: bool = False
    ipfilter: bool = False
    rules: tuple[ProxmoxRule, ...] = ()
    ipsets: Mapping[str, tuple[IpsetEntry, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFirewallFact:
    """The firewall of one Proxmox node. The datacenter's rules apply after the node's own."""

    origin: str
    enabled: bool = True
    rules: tuple[ProxmoxRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Datacenter:
    """The datacenter's firewall: its switch, the policies of the nodes, and the names that guests may use.

    `local_network` is the network in which the node itself is routed, None if unknown. Proxmox uses it unless
    an alias of that name is set.
    """

    origin: str
    enabled: bool = False
    input_policy: str = "DROP"
    output_policy: str = "ACCEPT"
    rules: tuple[ProxmoxRule, ...] = ()
    groups: Mapping[str, tuple[ProxmoxRule, ...]] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[IpsetEntry, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    local_network: IPv4Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A guest's network card. Without `tag` and `trunks` it sees every VLAN of its bridge, as in Proxmox.

    `address` is None when unknown: the card may have any address.
    """

    name: str
    bridge: str
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    firewall: bool = False
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFact:
    """A virtual machine, or a system container (`lxc`). Guests never route; only a `Gateway` does."""

    name: str
    origin: str
    nics: tuple[Nic, ...]
    ports: tuple[Port, ...] = ()
    lxc: bool = False
    firewall: GuestFirewall


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLeg:
    """An interface of a host. `address` None is unknown: the interface may have any address.

    `name` is the interface's name in the host's rules, None if unknown.
    """

    segment: Segment
    address: IPv4Address | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Docker-SRV (`firewall` None: Proxmox filters no inbound packets) or a Proxmox node.

    `legs` are its interfaces, inbound and outbound; `ports` are those of its own programs. `entries` are what
    its own rules let in; None: everything, and no resource describes what listens.
    """

    name: str
    origin: str
    legs: tuple[HostLeg, ...]
    ports: tuple[Port, ...] = ()
    firewall: HostFirewallFact | None = None
    entries: tuple[Entry, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Connections that a router's rules let through: those that arrive on `inbound` and leave on `outbound`.

    Each of None means any. An address matches if it is in one of the prefixes and in none of `…_without`.
    `forwarded`: only those to an address of the router's own, which a `PortForward` changed.
    """

    inbound: str | None = None
    outbound: str | None = None
    port: Port | None = None
    source: tuple[IPv4Network, ...] | None = None
    source_without: tuple[IPv4Network, ...] = ()
    destination: tuple[IPv4Network, ...] | None = None
    destination_without: tuple[IPv4Network, ...] = ()
    forwarded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward:
    """A port of a router's own address: what arrives there on `inbound` goes on to another machine's port."""

    inbound: str
    port: Port
    address: IPv4Address
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade:
    """Connections that leave a router on `outbound` from its own `address`; None: unknown."""

    outbound: str
    sources: tuple[IPv4Network, ...] | None = None
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A router that forwards packets between `segments`.

    `interfaces` are its own by segment; several segments may be behind one. `permits` are the connections
    that its rules let through; None: all, in every direction.
    """

    name: str
    origin: str
    segments: tuple[Segment, ...]
    interfaces: Mapping[Segment, str] = field(default_factory=dict)
    permits: tuple[Permit, ...] | None = None
    forwards: tuple[PortForward, ...] = ()
    masquerades: tuple[Masquerade, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """A port that a proxy listens on, at one `address` or, with None, at all of its own.

    `default`: routers that name no entrypoint use it.
    """

    name: str
    port: Port
    default: bool = True
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A proxy's router. Without `entrypoints` it is on all default ones. Middlewares never widen it."""

    name: str
    origin: str
    service: str
    kind: RouterProtocol = RouterProtocol.HTTP
    entrypoints: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyService:
    """The destination of a router: `servers` are URLs (HTTP) or `host:port`, `services` other services."""

    name: str
    origin: str
    kind: RouterProtocol = RouterProtocol.HTTP
    servers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Traefik in the container called `container`, with the routers and services of its file provider.

    `labels`: the Docker provider is on, so containers' labels create routers too; `exposed_by_default` is its
    option of the same name.
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
    """All facts of a site. Names of outsides, hosts, containers and guests are unique across all of them."""

    outsides: tuple[Outside, ...] = ()
    hosts: tuple[Host, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    networks: tuple[Network, ...] = ()
    containers: tuple[ContainerFact, ...] = ()
    guests: tuple[GuestFact, ...] = ()
    datacenter: Datacenter | None = None
    proxies: tuple[Proxy, ...] = ()
