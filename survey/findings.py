"""What should not be as it is, worst first: each with its path and the one change that closes it.

Only `reachability.engine` decides who reaches whom; this module weighs it.

Note: "no login" means that none was seen: neither an image nor a port tells whether its program asks for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from reachability.facts import Mode
from reachability.result import ConnectionSet, EdgeKind
from resources.docker import PublishedPort
from survey import guests
from survey.change import in_ports, leave_bridge, on_own_network, with_login, without
from survey.docker import RunningContainer
from survey.finding import SurveyFinding, SurveySeverity
from survey.logins import has_login
from survey.ports import DATABASES, DOCKER_API, danger_of
from survey.site import RunningSite
from topology.model import Port

_OWN_THE_HOST: Final = frozenset(
    {"/", "/boot", "/dev", "/etc", "/proc", "/root", "/sys", "/var", "/var/lib", "/var/lib/docker"}
)
_CAPABILITIES: Final = frozenset(
    {"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_RAWIO"}
)


@dataclass(frozen=True)
class Findings:
    """The findings on one site."""

    site: RunningSite
    connection_sets: Sequence[ConnectionSet] = field(init=False)

    def __post_init__(self) -> None:
        """Compute every possible connection once."""
        object.__setattr__(self, "connection_sets", tuple(self.site.reachability.connection_sets()))

    def sorted(self) -> tuple[SurveyFinding, ...]:
        """Return all findings, worst first."""
        found = (
            *self._open_engine(),
            *self._published(),
            *self._routed(),
            *self._on_the_lan(),
            *self._host_ports(),
            *self._owners(),
            *self._databases(),
            *self._default_bridge(),
            *self._loopback(),
            *self._internal(),
            *self._guests(),
        )
        return tuple(sorted(found, key=lambda each: (-each.severity, each.rule, each.destination, each.port)))

    # ------------------------------------------------------------------------------------ from outside

    def _open_engine(self) -> Iterator[SurveyFinding]:
        """Yield a finding for an engine that answers by TCP without TLS."""
        engine, number = self.site.docker.engine, DOCKER_API
        listens = any(port.number == number for port in self.site.listeners)
        if engine.is_open or listens:
            yield SurveyFinding(
                rule="engine-on-tcp",
                severity=SurveySeverity.CRITICAL,
                sources=self.site.outsides,
                destination=self.site.host,
                port=f"{number}/tcp" if listens else engine.endpoint.rpartition(":")[2],
                path=self.site.host,
                why="the Docker API answers without TLS: a connection to it owns the host",
                change='remove the "tcp://" entry from "hosts" in /etc/docker/daemon.json, '
                "restart Docker, and use DOCKER_HOST=ssh://user@host",
            )

    def _published(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each published port that machines outside reach."""
        for name, port, sources, reach in self._from_outside(EdgeKind.PUBLISHED):
            seen = self._seen(name)
            if seen is None or (seen.is_traefik and self._is_entrypoint(name, port)):
                continue
            danger = danger_of(port)
            if port is None:
                yield SurveyFinding(
                    rule="unprotected-network",
                    severity=SurveySeverity.HIGH,
                    sources=sources,
                    destination=name,
                    port="*",
                    path=str(reach.trace),
                    why="its network is nat-unprotected: every port answers every machine with a route",
                    change="remove com.docker.network.bridge.gateway_mode_ipv4 from the network's options",
                )
                continue
            if not any(_is_inner(each, port) for each in seen.container.ports):
                continue  # the container whose network this one shares publishes it
            yield SurveyFinding(
                rule="published",
                severity=SurveySeverity.CRITICAL if danger else SurveySeverity.HIGH,
                sources=sources,
                destination=name,
                port=str(port),
                path=str(reach.trace),
                why=f"published on {self._addresses(seen, port)}, no login seen"
                + (f"; {danger}" if danger else ""),
                change=in_ports(seen, [each for each in seen.container.ports if _is_inner(each, port)]),
            )

    def _routed(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each route from outside that has no login."""
        for name, port, sources, reach in self._from_outside(EdgeKind.PROXIED):
            seen, proxy = self._seen(name), self._seen(reach.trace.hops[0])
            if seen is None or proxy is None or has_login(reach.origin, seen, proxy):
                continue
            danger = danger_of(port)
            yield SurveyFinding(
                rule="routed-without-login",
                severity=SurveySeverity.HIGH if danger else SurveySeverity.MEDIUM,
                sources=sources,
                destination=name,
                port=str(port or "*"),
                path=str(reach.trace),
                why=f"{reach.origin} has no login middleware" + (f"; {danger}" if danger else ""),
                change=with_login(seen, reach.origin),
            )

    def _on_the_lan(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each container that has an address outside, or the host's own network."""
        found: defaultdict[str, list[Port | None]] = defaultdict(list)
        ways: dict[str, tuple[tuple[str, ...], ConnectionSet]] = {}
        for name, port, sources, reach in self._from_outside(EdgeKind.VLAN):
            found[name].append(port)
            ways.setdefault(name, (sources, reach))
        for name, ports in found.items():
            if (seen := self._seen(name)) is None:
                continue
            sources, reach = ways[name]
            danger = next(filter(None, map(danger_of, ports)), "")
            on_host = seen.container.network_mode == Mode.HOST
            yield SurveyFinding(
                rule="host-network" if on_host else "on-the-lan",
                severity=SurveySeverity.CRITICAL if danger else SurveySeverity.HIGH,
                sources=sources,
                destination=name,
                port=", ".join(map(str, filter(None, ports))) or "*",
                path=str(reach.trace),
                why=(
                    "every port that it opens is a port of the host"
                    if on_host
                    else "it has its own address there"
                )
                + (f"; {danger}" if danger else ""),
                change=_off_the_lan(seen),
            )

    def _host_ports(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each well-known port of the host's own programs that is open to outside.

        What a container in the host's network listens on is told as the container's.
        """
        on_host = (each for each in self.site.names.values() if each.container.network_mode == Mode.HOST)
        theirs = {port for each in on_host for port in each.exposed}
        for port in self.site.listeners:
            danger = danger_of(port)
            if danger and port.number != DOCKER_API and port not in theirs:
                yield SurveyFinding(
                    rule="host-port",
                    severity=SurveySeverity.HIGH,
                    sources=self.site.outsides,
                    destination=self.site.host,
                    port=str(port),
                    path=self.site.host,
                    why=f"a program of the host listens beyond loopback; {danger}",
                    change="let the program listen on 127.0.0.1, or allow the port to its users alone "
                    "in the host's input rules",
                )

    # ----------------------------------------------------------------------------- what a container may do

    def _owners(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each container that can take over its host."""
        for name, seen in self.site.names.items():
            for why, change, always in self._powers(seen):
                sources, path, port = self._callers(name)
                outside = bool(set(sources) & set(self.site.outsides))
                severity = SurveySeverity.MEDIUM + (1 if sources else 0) + (1 if outside and always else 0)
                yield SurveyFinding(
                    rule="owns-the-host",
                    severity=SurveySeverity(
                        min(severity, SurveySeverity.CRITICAL if outside else SurveySeverity.HIGH)
                    ),
                    sources=sources,
                    destination=name,
                    port=port,
                    path=path,
                    why=f"{why}: what takes over {name} owns the host",
                    change=change,
                )

    def _powers(self, seen: RunningContainer) -> Iterator[tuple[str, str, bool]]:
        """Yield why a container can take over its host, the change, and whether it takes no further fault."""
        container = seen.container
        for bind in container.binds:
            text = f"{bind.host_path}:{bind.target}" + (":ro" if bind.read_only else "")
            if (bind.host_path or "").endswith("/docker.sock"):
                proxy = "`:ro` limits nothing; ask by a proxy that filters"
                yield (
                    "the engine's socket is mounted",
                    without(seen, f"- {text}", f"--volume={text}", proxy),
                    True,
                )
            elif bind.host_path in _OWN_THE_HOST and not bind.read_only:
                needed = "mount the one folder that it needs, with `:ro`"
                change = without(seen, f"- {text}", f"--volume={text}", needed)
                yield f"{bind.host_path} of the host is mounted for writing", change, True
        if container.privileged:
            needed = "give it the one cap_add that it needs"
            yield "it is privileged", without(seen, "privileged: true", "--privileged", needed), True
        if container.pid_mode == "host":
            yield "it sees the host's processes", without(seen, "pid: host", "--pid=host"), False
        names = {each.removeprefix("CAP_").upper() for each in container.capabilities.adds}
        for each in sorted(names & _CAPABILITIES):
            change = without(seen, f"cap_add: [{each}]", f"--cap-add={each}")
            yield f"it has the capability {each}", change, False

    # ------------------------------------------------------------------------------------------ neighbours

    def _databases(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each database that more than one neighbour reaches."""
        for reach in self.connection_sets:
            kind = DATABASES.get(reach.port.number) if reach.port else None
            seen = self._seen(reach.destination)
            if reach.how is not EdgeKind.NEIGHBOUR or seen is None or kind is None:
                continue
            sources = tuple(name for name in reach.sources if name != reach.destination)
            if len(sources) > 1:
                exposed = any(set(self._callers(name)[0]) & set(self.site.outsides) for name in sources)
                yield SurveyFinding(
                    rule="database-of-a-network",
                    severity=SurveySeverity.HIGH if exposed else SurveySeverity.MEDIUM,
                    sources=sources,
                    destination=reach.destination,
                    port=str(reach.port),
                    path=str(reach.trace),
                    why=f"every container on network {reach.origin} reaches the database ({kind})",
                    change=on_own_network(seen, reach.origin),
                )

    def _default_bridge(self) -> Iterator[SurveyFinding]:
        """Yield a finding for the default bridge if it has more than one container."""
        members = tuple(
            name
            for name, each in self.site.names.items()
            if any(leg.name == "bridge" for leg in each.container.legs)
        )
        apart = any(n.name == "bridge" and not n.icc for n in self.site.facts.networks)
        if len(members) > 1 and not apart:
            yield SurveyFinding(
                rule="default-bridge",
                severity=SurveySeverity.MEDIUM,
                sources=members,
                destination="bridge",
                port="*",
                path="bridge",
                why="every container on the default bridge reaches every port of the others",
                change=leave_bridge(self._must_be_seen(members[0])),
            )

    def _loopback(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each port published on loopback by an engine that lets neighbours past it."""
        if self.site.docker.engine.numbers >= (28, 0):
            return
        for name, seen in self.site.names.items():
            for port in seen.container.ports:
                if port.ip.startswith("127."):
                    yield SurveyFinding(
                        rule="loopback-published",
                        severity=SurveySeverity.MEDIUM,
                        sources=tuple(each for each in self.site.outsides if each != "internet"),
                        destination=name,
                        port=f"{port.internal}/{port.protocol}",
                        path=f"{self.site.host} -> {name}",
                        why="engines before 28 forward a neighbour's packets for the container's address, "
                        "though the port is published on loopback",
                        change="update Docker to 28 or newer",
                    )

    def _internal(self) -> Iterator[SurveyFinding]:
        """Yield a finding for each internal network whose members reach programs of the host."""
        ports = ", ".join(map(str, sorted(self.site.listeners, key=lambda each: each.number)))
        new = self.site.docker.engine.numbers >= (28, 0)
        option = 'gateway_mode_ipv4: "isolated"' if new else 'inhibit_ipv4: "true"'
        for network in self.site.facts.networks:
            legs = {each.name: each.legs for each in self.site.facts.containers}
            members = tuple(
                name for name, own in legs.items() if network.name in {leg.network for leg in own}
            )
            if network.internal and network.host_reachable and members and ports:
                yield SurveyFinding(
                    rule="internal-reaches-host",
                    severity=SurveySeverity.LOW,
                    sources=members,
                    destination=self.site.host,
                    port=ports,
                    path=f"{network.name} -> {self.site.host}",
                    why=f"{network.name} is internal, and its members reach the host at its gateway address",
                    change=f"write `com.docker.network.bridge.{option}` below driver_opts of {network.name}",
                )

    def _guests(self) -> Iterator[SurveyFinding]:
        if self.site.proxmox:
            yield from guests.findings(self.site.proxmox, self.site.reachability)

    # --------------------------------------------------------------------------------------------- helpers

    @cached_property
    def _arrivals(self) -> Mapping[str, list[ConnectionSet]]:
        found: defaultdict[str, list[ConnectionSet]] = defaultdict(list)
        for reach in self.connection_sets:
            found[reach.destination].append(reach)
        return found

    def _from_outside(
        self, how: EdgeKind
    ) -> Iterator[tuple[str, Port | None, tuple[str, ...], ConnectionSet]]:
        """Yield what machines outside reach in one way: name, port, all sources and the first way."""
        found: defaultdict[tuple[str, Port | None, str], dict[str, ConnectionSet]] = defaultdict(dict)
        for reach in self.connection_sets:
            for source in self.site.outsides if reach.how is how else ():
                if source in reach.sources:
                    # Each of a host's interfaces is an origin of its own; each of a proxy's routers, too.
                    origin = reach.origin if how is EdgeKind.PROXIED else ""
                    found[reach.destination, reach.port, origin].setdefault(source, reach)
        for (name, port, _), ways in found.items():
            yield name, port, tuple(ways), next(iter(ways.values()))

    def _callers(self, name: str) -> tuple[tuple[str, ...], str, str]:
        """Return who reaches a declared port of a container: from outside if any, else its neighbours."""
        ways = [reach for reach in self._arrivals.get(name, ()) if reach.port]
        for reach in ways:
            if sources := tuple(each for each in self.site.outsides if each in reach.sources):
                return sources, str(reach.trace), str(reach.port)
        for reach in self._arrivals.get(name, ()):
            if sources := tuple(each for each in reach.sources if each not in {name, self.site.host}):
                return sources, str(reach.trace), str(reach.port or "*")
        return (), name, "*"

    def _seen(self, name: str) -> RunningContainer | None:
        return self.site.names.get(name)

    def _must_be_seen(self, name: str) -> RunningContainer:
        return self.site.names[name]

    def _is_entrypoint(self, name: str, port: Port | None) -> bool:
        proxies = (each for each in self.site.facts.proxies if each.container == name)
        return any(entry.port == port for each in proxies for entry in each.entrypoints)

    def _addresses(self, seen: RunningContainer, port: Port) -> str:
        """Return the addresses that a container's port is published on, in words."""
        found = {each.ip for each in seen.container.ports if _is_inner(each, port)}
        return "every address" if "0.0.0.0" in found else ", ".join(sorted(found))  # noqa: S104


def _is_inner(published: PublishedPort, port: Port) -> bool:
    return (published.internal, published.protocol) == (port.number, port.protocol)


def _off_the_lan(seen: RunningContainer) -> str:
    if seen.container.network_mode == Mode.HOST:
        needed = "publish only its needed ports"
        return without(seen, "network_mode: host", "--network=host", needed)
    networks = ", ".join(leg.name for leg in seen.container.legs)
    return without(seen, f"networks: [{networks}]", f"--network={networks}", "publish the needed port")
