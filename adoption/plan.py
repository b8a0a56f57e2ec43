"""The plan of a take-over: what to type in which order, what each step costs, and the way back.

Containers are renamed and kept, but those of --rm, and volumes stay where they are. Networks are removed; the
commands that make them are beside. Nothing here runs a command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from graphlib import CycleError, TopologicalSorter
from ipaddress import IPv4Network
from typing import Any, Final

from preflight.finding import PreflightFinding
from topology.model import Container, Topology, Zone

Row = Mapping[str, Any]

BEFORE: Final = "-before"
"""What the name of a container that made way ends with."""
_OWN: Final = frozenset({"bridge", "host", "none"})
_UNVERSIONED: Final = ":as-surveyed"
"""The tag that a survey gives to an image without a version."""
_LASTING: Final = (
    "was started with --rm, so its stop removes it, with its volumes without a name; start it without --rm"
)
_STAY: Final = "volumes stay, with their data"
_GO: Final = "volumes that are external stay; protect: false lets the others go"
_HOLDER: Final = re.compile(r"container \S+(?= \()|network \S+")
"""What a pre-flight's fault names as the holder of a port, a prefix or a bridge."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One engine's take-over. `containers` and `networks` are what the engine's API shows of each."""

    stack: str
    topology: Topology
    containers: Sequence[Row]
    networks: Sequence[Row]
    host: str = ""
    """The engine, as in DOCKER_HOST; empty for the one that `docker` asks by itself."""
    faults: Sequence[PreflightFinding] = ()
    """What the pre-flight finds today."""
    kept: Sequence[str] = ()
    """What an import keeps, a line each."""
    guests: Mapping[str, str] = field(default_factory=dict)
    """URN of each guest that is imported -> its node and id, like `pve1/101`."""
    made_anew: Sequence[str] = ()
    """What no import keeps, a line each."""

    @property
    def first(self) -> list[str]:
        """What has to be mended before the outage: what no step of the plan settles."""
        moved, networks = self._moved(), self._in_the_way()
        settled = {f"container {_name(row)}" for row in moved} | {
            f"network {row['Name']}" for row in networks
        }
        lasting = [f"container {_name(row)}: {_LASTING}" for row in moved if _is_removed(row)]
        return lasting + [
            str(each)
            for each in self.faults
            if not settled & {each.path, *_HOLDER.findall(each.fault)}
            and not any(line.startswith(f"{each.path}: ") for line in self.kept)
        ]

    def lines(self, today: date) -> Iterator[str]:
        """Yield the plan as Markdown."""
        moved, networks = self._moved(), self._in_the_way()
        yield f"# Taking over what runs, as the stack {self.stack}"
        yield ""
        yield f"Made on {today} from what the hosts said then; make it again if something has changed."
        yield "Nothing was changed. No command here removes a volume, a guest or, without --rm, a container."
        yield f"Type all of it in one shell, in this folder, as root, after `{self._shell()}`."
        if first := self.first:
            yield ""
            yield "## Mend first"
            yield "`make up` would end at these, in the middle of the outage:"
            yield from (f"- {each}" for each in first)
        yield ""
        yield f"{len(moved)} containers make way, and {len(networks)} networks are removed."
        yield "The outage of each lasts until its service is made; docs/from-a-running-site.md has figures."
        yield from _block(
            "The way back", self._back(moved, networks), "Until the old containers are removed:"
        )
        told = "Copies first: docs/from-a-running-site.md, step 4. `docker diff` shows what is in no volume."
        yield from _block("1. Before", self._before(), told)
        told = "**The outage begins.** What asks stops before what it asks."
        yield from _block("2. Make way", _stops(moved), told)
        removals = [_words("docker", "network", "rm", row["Name"]) for row in networks]
        yield from _block("3. Networks", removals, "They hold no data; the way back makes them.")
        yield from _block(
            "4. Import and make", self._makes(), "**The outage of each ends when it is healthy.**"
        )
        yield from _block(
            "5. Compare", [f"make verify STACK={self.stack}"], "Checksums, and a login to each."
        )
        for title, lines in (
            ("Points of no return", [*self._no_return(moved)]),
            ("Kept by the import", self.kept),
            ("Not kept by an import", self.made_anew),
        ):
            yield ""
            yield f"## {title}"
            yield from (f"- {line}" for line in lines or ("nothing",))

    # ------------------------------------------------------------------------------------------- what moves

    def _zones(self) -> list[Zone]:
        return [zone for zone in self.topology.zones.values() if zone.is_docker]

    def _in_the_way(self) -> list[Row]:
        """Return the networks with a zone's name or prefix."""
        names = {self.topology.physical(zone.network) for zone in self._zones()}
        return [
            row
            for row in self.networks
            if row["Name"] not in _OWN
            and (
                row["Name"] in names
                or any(prefix.overlaps(zone.prefix) for prefix in _prefixes(row) for zone in self._zones())
            )
        ]

    def _moved(self) -> list[Row]:
        """Return the containers that make way, in the order in which they stop.

        One that does not run has to leave its networks, too: it would not find those that are made anew.
        """
        gone = {row["Name"] for row in self._in_the_way()}
        ports = {port.number for port in self.topology.published}
        order = {name: place for place, name in enumerate(self._order())}
        found = [
            row
            for row in self.containers
            if self._service(row) or gone & {*_legs(row)} or ports & {*_published(row)}
        ]
        owners = {f"container:{row['Id']}" for row in found}
        inside = [row for row in self.containers if row["HostConfig"].get("NetworkMode") in owners]
        rest = [row for row in found if row not in inside]
        return inside + sorted(rest, key=lambda row: order.get(self._service(row), -1))

    def _service(self, row: Row) -> str:
        """Return the declared service of a container, by its name or Compose's; empty where there is none."""
        labels = row["Config"].get("Labels") or {}
        names = (_name(row), labels.get("com.docker.compose.service", ""))
        physical = {self.topology.physical(each.name): each.name for each in self.topology.containers}
        return next((physical[name] for name in names if name in physical), "")

    def _order(self) -> list[str]:
        """Return the containers, each before those that it asks; as declared where flows form a circle."""
        services = self.topology.services
        graph: dict[str, set[str]] = {each.name: set() for each in self.topology.containers}
        for flow in self.topology.flows:
            if isinstance(services.get(flow.source), Container) and flow.destination in graph:
                graph[flow.destination].add(flow.source)
        try:
            return [*TopologicalSorter(graph).static_order()]
        except CycleError:
            return [*graph]

    # ------------------------------------------------------------------------------------------- commands

    def _back(self, moved: Sequence[Row], networks: Sequence[Row]) -> Iterator[str]:
        for urn, identity in self.guests.items():
            forget = ("--yes", "--force", "--target-dependents", "--stack", self.stack)
            node, number = identity.split("/")
            yield f"{_words('pulumi', 'state', 'delete', *forget, urn)} # the guest stays"
            switch = f"/nodes/{node}/qemu/{number}/firewall/options"
            yield f"{_words('pvesh', 'set', switch, '--enable', '0')} # on the node; or its copy of step 4"
        yield f"pulumi state unprotect --all --yes --stack {self.stack} # also after a `make up` that failed"
        yield f"make down STACK={self.stack} YES=1 # {_STAY if self.topology.protect else _GO}"
        yield from (_created(row) for row in networks)
        for row in reversed(moved):
            name = _name(row)
            if _is_removed(row):
                yield f"# run {name} as before: it was made with --rm, so its stop removed it"
                continue
            yield _words("docker", "rename", f"{name}{BEFORE}", name)
            yield from _connections(row, name)
            yield _words("docker", "update", f"--restart={_restart(row)}", name)
            if _is_up(row):
                yield _words("docker", "start", name)

    def _no_return(self, moved: Sequence[Row]) -> Iterator[str]:
        """Yield each act that no command of the way back undoes."""
        removed = [_name(row) for row in moved if _is_removed(row)]
        yield from (f"The stop of {name}, which was started with --rm" for name in removed)
        images = {each.name: each.image for each in self.topology.containers}
        for row in self.containers:
            name, runs = self._service(row), row["Config"].get("Image")
            starts = images.get(name, runs)
            if starts != runs and not starts.endswith(_UNVERSIONED):
                yield f"The start of {name} as {starts}, not {runs}, if it migrates data: keep a copy"
        for place in self.guests.values():
            yield f"`make up` writes its mark over the notes of guest {place}"
        if len(removed) < len(moved):
            yield f"Removing a container whose name ends in `{BEFORE}`, with what it wrote beside its volumes"

    def _before(self) -> Iterator[str]:
        there = {row["Config"].get("Image") for row in self.containers}
        known = {self._service(row): row["Image"] for row in self.containers if self._service(row)}
        tagged = {each.image: known.get(each.name) for each in self.topology.containers}
        for image, identity in tagged.items():
            if image.endswith(_UNVERSIONED) and identity:
                yield _words("docker", "tag", identity, image)
            elif image not in there:
                yield _words("docker", "pull", image)
        yield f"make preview STACK={self.stack}"

    def _makes(self) -> Iterator[str]:
        file = f"imports-{self.stack}.json"
        if self.kept:
            yield _words(
                *("pulumi", "import", "--yes", "--stack", self.stack),
                *("--generate-code=false", "--file", file),
            )
        yield f"make up STACK={self.stack} YES=1 # does not preview and ask again, in the outage"

    def _shell(self) -> str:
        """Return what a shell needs before the plan's commands."""
        engine = f"export DOCKER_HOST={shlex.quote(self.host)}; " if self.host else ""
        return f'{engine}eval "$(make -s env STACK={self.stack})"'


def _block(title: str, commands: Iterator[str] | Sequence[str], told: str) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield told
    yield "```sh"
    yield from commands
    yield "```"


def _stops(moved: Sequence[Row]) -> Iterator[str]:
    for row in moved:
        name = _name(row)
        if _is_removed(row):
            yield f"{_words('docker', 'stop', name)} # made with --rm: this removes it"
            continue
        yield _words("docker", "update", "--restart=no", name)
        yield _words("docker", "stop", name)
        yield _words("docker", "rename", name, f"{name}{BEFORE}")
        for network in _legs(row):
            yield _words("docker", "network", "disconnect", network, f"{name}{BEFORE}")


def _connections(row: Row, name: str) -> Iterator[str]:
    for network, leg in _legs(row).items():
        fixed = (leg.get("IPAMConfig") or {}).get("IPv4Address")
        aliases = [each for each in leg.get("Aliases") or () if not row["Id"].startswith(each)]
        options = [
            *(["--ip", fixed] if fixed else []),
            *(word for each in aliases for word in ("--alias", each)),
        ]
        yield _words("docker", "network", "connect", *options, network, name)


def _created(row: Row) -> str:
    words = ["docker", "network", "create", "--driver", row["Driver"]]
    for each in (row.get("IPAM") or {}).get("Config") or ():
        words += [
            "--subnet",
            each["Subnet"],
            *(["--gateway", each["Gateway"]] if each.get("Gateway") else []),
            *(["--ip-range", each["IPRange"]] if each.get("IPRange") else []),
        ]
    words += ["--internal"] if row.get("Internal") else []
    words += ["--ipv6"] if row.get("EnableIPv6") else []
    words += [f"--opt={key}={value}" for key, value in (row.get("Options") or {}).items()]
    labels = (row.get("Labels") or {}).items()
    words += [f"--label={key}={value}" for key, value in labels if key.startswith("com.docker.compose.")]
    return _words(*words, row["Name"])


def _name(row: Row) -> str:
    return str(row["Name"]).lstrip("/")


def _is_up(row: Row) -> bool:
    return (row.get("State") or {}).get("Status") in {"running", "paused", "restarting"}


def _is_removed(row: Row) -> bool:
    """Whether the engine removes a container when it stops."""
    return bool(row["HostConfig"].get("AutoRemove"))


def _legs(row: Row) -> dict[str, Row]:
    """Return a container's own networks; the default bridge stays as it is."""
    legs = (row["NetworkSettings"].get("Networks") or {}).items()
    return {name: leg for name, leg in legs if name not in _OWN}


def _published(row: Row) -> Iterator[int]:
    for bindings in (row["NetworkSettings"].get("Ports") or {}).values():
        yield from (
            int(each["HostPort"]) for each in bindings or () if str(each.get("HostPort", "")).isdigit()
        )


def _restart(row: Row) -> str:
    policy = row["HostConfig"].get("RestartPolicy") or {}
    count = policy.get("MaximumRetryCount")
    return f"{policy.get('Name') or 'no'}{f':{count}' if count else ''}"


def _prefixes(row: Row) -> Iterator[IPv4Network]:
    for each in (row.get("IPAM") or {}).get("Config") or ():
        if "." in str(each.get("Subnet", "")):
            yield IPv4Network(each["Subnet"], strict=False)


def _words(*words: str) -> str:
    return shlex.join(words)
