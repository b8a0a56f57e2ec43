"""What is in the way on Docker-SRV: names, bridges, tables, prefixes and ports that are already in use."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final

from preflight.docker_api import DockerApi
from preflight.finding import Check, PreflightFinding
from preflight.found import Found
from preflight.links import Links
from preflight.state import PulumiState
from preflight.wanted import VOLUME, Wanted, containers, has_command, networks, volumes
from rendered import host_rules, leg_rules
from topology.model import Port, Topology, Zone
from verify.driver import ProbeError
from verify.namespaces import run

_BRIDGE_NAME: Final = "com.docker.network.bridge.name"
_NEAR_HIGHEST: Final = 4_278_255_360
"""Routes of this metric and above are the lab's and the probe's own: unreachable, of the last priority."""
_DEFAULT: Final = frozenset({"default", "0.0.0.0/1", "128.0.0.0/1"})
"""The default route, and the two by which a VPN takes its place."""
_NAMESPACE: Final = "homelab-network"
_WORD: Final = re.compile(r'"[^"]*"|[\d.]+')
"""A name or an address in an nftables table's text."""
_USER: Final = re.compile(r'\(\("([^"]+)",pid=(\d+)')

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class There:
    """The engine's objects, each row as its API lists it."""

    containers: Rows = ()
    networks: Rows = ()
    volumes: Rows = ()
    pools: Sequence[IPv4Network] = ()


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A port of this machine that a process listens on; `process` is empty if only root may see it."""

    address: str
    port: Port
    process: str = ""
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Interfaces, routes, listeners and connected hosts of a machine."""

    addresses: Mapping[IPv4Interface, str] = field(default_factory=dict)
    links: Links = field(default_factory=dict)
    routes: Sequence[tuple[IPv4Network, str]] = ()
    """Prefix, and where it leads: `via 10.0.0.1 dev eth0`."""
    listeners: Sequence[Listener] = ()
    peers: Sequence[IPv4Address] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    """nftables' tables of the project's name with their text; none where only root may list them."""
    rules: Sequence[str] = ()
    """What iptables-save and ip6tables-save print; none where only root may read it."""


@dataclass(frozen=True, kw_only=True)
class PlannedSite:
    """The declared topology, the state after the last update, and the stack's name."""

    topology: Topology
    state: PulumiState
    stack: str
    ignored: frozenset[str] = frozenset()
    """URNs of partly made resources that the caller removes itself."""
    lab: bool = False
    """Whether the lab makes the prefixes of VLANs unreachable here, too."""

    def is_ours(self, wanted: Wanted, identity: str) -> bool:
        """Whether the object with a wanted name is the stack's own."""
        cleared = wanted.type != VOLUME and wanted.urn(self.stack) in self.ignored
        return (wanted.type, identity) in self.state.ids or cleared

    def is_made(self, wanted: Wanted) -> bool:
        """Whether the state holds the wanted resource."""
        return wanted.urn(self.stack) in self.state.urns


def read_there(api: DockerApi, pools: Sequence[IPv4Network]) -> There:
    """Return the engine's objects; raises ProbeError if no engine answers."""
    return There(
        containers=api.get("/containers/json?all=1"),
        networks=api.get("/networks"),
        volumes=api.get("/volumes").get("Volumes") or (),
        pools=pools,
    )


def read_machine() -> Machine:
    """Return this machine's network state; raises ProbeError if `ip` or `ss` is missing."""
    addresses = json.loads(run("ip", "-json", "-4", "address"))
    return Machine(
        addresses={
            IPv4Interface(f"{info['local']}/{info['prefixlen']}"): str(link["ifname"])
            for link in addresses
            for info in link.get("addr_info", ())
        },
        links={link["ifname"]: link for link in json.loads(run("ip", "-json", "-details", "link"))},
        routes=list(routes(json.loads(run("ip", "-json", "-4", "route") or "[]"))),
        listeners=list(listeners(run("ss", "--no-header", "--listening", "--tcp", "--udp", "-n", "-p"))),
        peers=list(peers(run("ss", "--no-header", "--tcp", "-n", "state", "established"))),
        tables=_tables(),
        rules=_rules(),
    )


def _tables() -> dict[str, str]:
    with contextlib.suppress(ProbeError):
        listed = [line.removeprefix("table ") for line in run("nft", "list", "tables").splitlines()]
        return {name: run("nft", "list", "table", *name.split()) for name in listed if _NAMESPACE in name}
    return {}


def _rules() -> list[str]:
    found = []
    for name in ("iptables-save", "ip6tables-save"):
        # Of all tables: asked for one by its name, iptables-legacy makes it where there is none.
        with contextlib.suppress(ProbeError):
            found.append(run(name))
    return found


def routes(listed: Rows) -> Iterator[tuple[IPv4Network, str]]:
    """Yield routes except the default one, those of this machine's addresses, and the project's own."""
    for each in listed:
        own = each.get("protocol") == "kernel" or int(each.get("metric", 0)) >= _NEAR_HIGHEST
        if each["dst"] not in _DEFAULT and not own:
            way = [
                f"{key} {each[word]}" for key, word in (("via", "gateway"), ("dev", "dev")) if word in each
            ]
            yield IPv4Network(each["dst"]), " ".join(way) or str(each.get("type", "unicast"))


def listeners(text: str) -> Iterator[Listener]:
    """Yield the listeners in the output of `ss -Hltunp`."""
    for line in text.splitlines():
        protocol, _, _, _, local, *_ = line.split()
        address, _, number = local.rpartition(":")
        user = _USER.search(line)
        yield Listener(
            address=address.partition("%")[0].strip("[]").removeprefix("::ffff:"),
            port=Port.parse(f"{number}/{protocol}"),
            process=user[1] if user else "",
            pid=int(user[2]) if user else 0,
        )


def peers(text: str) -> Iterator[IPv4Address]:
    """Yield the IPv4 hosts at the far end in the output of `ss -Htn state established`."""
    for line in text.splitlines():
        address = line.split()[3].rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        if ":" not in address:
            yield IPv4Address(address.partition("%")[0])


def in_the_way(site: PlannedSite, there: There) -> Iterator[Found]:
    """Yield objects on the engine that have a name of the stack and are not in the stack's state."""
    rows = {_name(each): each for each in there.containers}
    for wanted, row in _matches(site, containers(site.topology), rows, "Id"):
        what = f"a container of image {row['Image']}, made {_day(row['Created'])}"
        yield _found(Check.CONTAINER_TAKEN, wanted, row["Id"], what, "docker rm --force")
    rows = {each["Name"]: each for each in there.networks}
    for wanted, row in _matches(site, networks(site.topology), rows, "Id"):
        what = f"a {row['Driver']} network, made {row['Created'][:10]}"
        yield _found(Check.NETWORK_TAKEN, wanted, row["Id"], what, "docker network rm")
    rows = {each["Name"]: each for each in there.volumes}
    for wanted, row in _matches(site, volumes(site.topology), rows, "Name"):
        made = str(row.get("CreatedAt", ""))
        if site.state.was_making(wanted.urn(site.stack), made):
            continue
        what = f"a volume with data, made {made[:10]}"
        yield _found(Check.VOLUME_TAKEN, wanted, row["Name"], what, "docker volume rm")


def taken(site: PlannedSite, there: There) -> Iterator[PreflightFinding]:
    """Yield a finding for each object in the way, with the commands that import and remove it."""
    for found in in_the_way(site, there):
        yield found.finding(site.stack, site.state)


def bridges(site: PlannedSite, there: There, links: Iterable[str]) -> Iterator[PreflightFinding]:
    """Yield a finding for each bridge name already in use: Docker takes over an existing bridge."""
    holders = {_bridge(each): each["Name"] for each in there.networks if each["Driver"] == "bridge"}
    for zone, wanted in _docker_zones(site.topology):
        name = site.topology.bridge(zone)
        holder = holders.get(name)
        if site.is_made(wanted) or wanted.urn(site.stack) in site.ignored or holder == wanted.physical:
            continue
        if holder is not None:
            yield PreflightFinding(
                Check.BRIDGE_TAKEN,
                f"bridge {name}",
                f"taken by Docker network {holder}",
                f"remove it with `docker network rm {holder}`, or set {_NAMESPACE}:name-prefix",
            )
        elif name in links:
            yield PreflightFinding(
                Check.BRIDGE_TAKEN,
                f"bridge {name}",
                "taken by an interface of this machine that no Docker network has",
                f"remove it with `ip link delete {name}`, or set {_NAMESPACE}:name-prefix",
            )


def tables(site: PlannedSite, there: Mapping[str, str]) -> Iterator[PreflightFinding]:
    """Yield a finding for each of another's tables that `up` would replace: the host's own rules, or legs'.

    A killed run's table is in no state; it has this stack's bridges, or its legs' addresses.
    """
    topology = site.topology
    bridges = {f'"{topology.bridge(zone)}"' for zone, _ in _docker_zones(topology)}
    addresses = {str(leg.address) for leg in topology.legs.every}
    for name, text in there.items():
        if name == host_rules.table(topology):
            command, own = "host-rules", bridges
        elif addresses and leg_rules.replaces(topology, name):
            command, own = "leg-rules", addresses
        else:
            continue
        if own.isdisjoint(_WORD.findall(text)) and not has_command(site.state, command):
            yield PreflightFinding(
                Check.TABLE_TAKEN,
                f"table {name}",
                "taken by rules that this stack did not make, such as another stack's without a name-prefix",
                f"set {_NAMESPACE}:name-prefix, or remove it with `nft delete table {name}`",
            )


def prefixes(site: PlannedSite, there: There, machine: Machine) -> Iterator[PreflightFinding]:
    """Yield a finding for each zone whose prefix a network, pool, interface, route or peer overlaps."""
    for zone, wanted in _zones(site.topology):
        path = f"{_NAMESPACE}:zones.{zone.name}.prefix"
        for holder, theirs, remedy in _holders(site, zone, there, machine):
            fault = f"{zone.prefix} overlaps {holder} ({theirs})"
            yield PreflightFinding(
                Check.PREFIX_TAKEN, path, fault, f"{remedy}, or give the zone another prefix"
            )
        for pool in there.pools if wanted is None or not site.is_made(wanted) else ():
            if pool.overlaps(zone.prefix):
                yield PreflightFinding(
                    Check.PREFIX_IN_POOL,
                    path,
                    f"{zone.prefix} overlaps {pool}, from which the engine gives networks their prefixes",
                    "give the zone another prefix, or change the engine's default-address-pools",
                )


def of_docker(site: PlannedSite, there: There) -> set[str]:
    """Return the bridges of the engine's networks and of the stack's zones."""
    own = {site.topology.bridge(zone) for zone, _ in _docker_zones(site.topology)}
    return own | {_bridge(each) for each in there.networks}


def ports(site: PlannedSite, there: There, listening: Iterable[Listener]) -> Iterator[PreflightFinding]:
    """Yield a finding for each published port that another container or a process of Docker-SRV uses."""
    listening = list(listening)
    ingress = next(each for each in containers(site.topology) if each.name == site.topology.ingress.name)
    for port in site.topology.published:
        holders = [row for row in there.containers if _publishes(row, port, site.topology.docker.address)]
        if any(site.is_ours(ingress, row["Id"]) for row in holders):
            continue
        names = [f"container {_name(row)} ({row['Image']})" for row in holders]
        stop = [f"`docker stop {_name(row)}`" for row in holders]
        if not names:
            others = [each for each in listening if _collides(each, port, site.topology.docker.address)]
            names = [_process(each) for each in others[:1]]
            stop = ["stop it"] if names else []
        if names:
            yield PreflightFinding(
                Check.PORT_TAKEN,
                f"port {port}",
                f"taken by {names[0]}",
                f"{stop[0]}, or publish on another address with {_NAMESPACE}:hosts."
                f"{site.topology.docker.name}.address",
            )


def _found(check: Check, wanted: Wanted, identity: str, what: str, remove: str) -> Found:
    return Found(
        check=check,
        wanted=wanted,
        path=f"{check.value.partition('-')[0]} {wanted.physical}",
        what=what,
        removal=f"remove it with `{remove} {wanted.physical}`",
        identity=identity,
    )


def _matches(
    site: PlannedSite, all_wanted: Iterable[Wanted], named: Mapping[str, Mapping[str, Any]], key: str
) -> Iterator[tuple[Wanted, Mapping[str, Any]]]:
    for wanted in all_wanted:
        row = named.get(wanted.physical)
        if row is not None and not site.is_ours(wanted, row[key]):
            yield wanted, row


def _holders(
    site: PlannedSite, zone: Zone, there: There, machine: Machine
) -> Iterator[tuple[str, IPv4Network | IPv4Interface, str]]:
    ours = {wanted.physical for wanted in networks(site.topology)}
    own = of_docker(site, there)
    for each in there.networks:
        for prefix in _subnets(each):
            if each["Name"] not in ours and prefix.overlaps(zone.prefix):
                yield (
                    f"Docker network {each['Name']}",
                    prefix,
                    f"remove it with `docker network rm {each['Name']}`",
                )
    for address, name in machine.addresses.items():
        if name not in own and address.network.overlaps(zone.prefix):
            yield f"interface {name}", address, "take the address off it"
    for prefix, way in machine.routes:
        # The lab's unreachable route to a VLAN hides only less specific ones.
        wider = prefix != zone.prefix and prefix.supernet_of(zone.prefix)
        hidden = prefix.overlaps(zone.prefix) if zone.is_docker else site.lab and wider
        if hidden and way.rpartition("dev ")[2] not in own:
            yield f"the route {way}", prefix, "remove it"
    near = [address.network for address, name in machine.addresses.items() if name in own]
    for peer in {*machine.peers} if zone.is_docker or site.lab else ():
        # Its packets may take the default route, which the zone's own then precedes.
        if peer in zone.prefix and not any(peer in network for network in near):
            holder = "a host that this machine is connected with"
            yield holder, IPv4Network(peer), "connect from another network"


def _zones(topology: Topology) -> Iterator[tuple[Zone, Wanted | None]]:
    """Yield Docker zones and VLANs with the Docker network of each, None for a VLAN without a leg."""
    named = {each.name: each for each in networks(topology)}
    for zone in topology.zones.values():
        if zone.is_docker or zone.vlan:
            yield zone, named.get(zone.network)


def _docker_zones(topology: Topology) -> Iterator[tuple[Zone, Wanted]]:
    for zone, wanted in _zones(topology):
        if zone.is_docker and wanted:
            yield zone, wanted


def _name(container: Mapping[str, Any]) -> str:
    """Return a container's own name; `/web/db` is a name that the container web links it by."""
    return next((name[1:] for name in container["Names"] or () if name.count("/") == 1), "")


def _bridge(network: Mapping[str, Any]) -> str:
    """Return the interface of a bridge network, which Docker names by the network's id unless configured."""
    return str((network.get("Options") or {}).get(_BRIDGE_NAME) or f"br-{network['Id'][:12]}")


def _subnets(network: Mapping[str, Any]) -> Iterator[IPv4Network]:
    for each in (network.get("IPAM") or {}).get("Config") or ():
        if "." in str(each.get("Subnet", "")):
            yield IPv4Network(each["Subnet"])


def _publishes(row: Mapping[str, Any], port: Port, address: IPv4Address) -> bool:
    return any(
        each.get("PublicPort") == port.number
        and each.get("Type") == port.protocol
        and _meets(str(each.get("IP", "")), address)
        for each in row.get("Ports") or ()
    )


def _collides(listener: Listener, port: Port, address: IPv4Address) -> bool:
    return listener.port == port and _meets(listener.address, address)


_ANY: Final = frozenset({"*", "0.0.0.0", ""})  # noqa: S104  # addresses that others listen on


def _meets(theirs: str, ours: IPv4Address) -> bool:
    """Whether listeners on both addresses conflict; an IPv6 socket shown as `*` takes IPv4, too."""
    return theirs in _ANY or (":" not in theirs and (ours.is_unspecified or theirs == str(ours)))


def _process(listener: Listener) -> str:
    if not listener.pid:
        return f"a process on {listener.address} that only root can name (`ss -ltunp`)"
    return f"{listener.process} (process {listener.pid})"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
