"""Compares Docker-SRV with the topology where Pulumi's refresh does not: its own rules, containers' networks.

Note: the rules must be equal to the rendered ones, since one extra rule can let undeclared traffic through.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rendered import host_rules, leg_rules
from topology.model import Topology
from verify.driver import ProbeError
from verify.expect import declared_zones
from verify.namespaces import run

_ISOLATING = 28
"""The first major version of the engine with gateway mode `isolated`; older ones ignore it silently."""
_LEARNED = re.compile(r"(\t\tflags (?:dynamic,)?timeout\n(?:\t\ttimeout \w+\n)?)\t\telements = \{[^}]*\}\n")
_REMOTE = ("ssh://", "tcp://", "http://", "https://")


def unasked(site: Topology) -> list[str]:
    """Return a line for each Docker host beside Docker-SRV, which is the one that commands ask."""
    return [
        f"{host.name}: its containers, rules and ports; only {site.docker.name} is asked"
        for host in site.docker_hosts[1:]
    ]


def rules_in_force(topology: Topology) -> bool:
    """Whether this machine's table equals the rendered one, rule by rule; needs root."""
    return _in_force(host_rules.rules(topology), [host_rules.table(topology)])


def leg_rules_in_force(topology: Topology) -> bool:
    """Whether this machine's tables of legs equal the rendered ones, rule by rule; needs root."""
    names = leg_rules.names(topology)
    return not names or _in_force(leg_rules.rules(topology), names, leg_rules.tables(topology))


def _in_force(text: str, tables: Iterable[str], links: Iterable[str] = ()) -> bool:
    """Whether tables of this machine equal those of a text.

    nftables lists both, the rendered ones from a temporary network namespace with the interfaces `links`.
    What the kernel filled in, sets whose elements expire, is left out.
    """
    listing = " && ".join(f"nft --stateless list table {name}" for name in tables)
    made = (f"ip link add {link} type veth" for link in links)
    apart = ("unshare", "--net", "sh", "-c", " && ".join((*made, "nft --file -", listing)))
    try:
        here, rendered = run("sh", "-c", listing), run(*apart, given=text)
        return _LEARNED.sub(r"\1", here) == _LEARNED.sub(r"\1", rendered)
    except ProbeError:
        return False


def bridges_switched(_topology: Topology) -> bool:
    """Whether the kernel passes frames within a bridge to this machine's rules."""
    switches = [Path(switch) for switch in host_rules.SWITCHES]
    return all(switch.is_file() and switch.read_text().strip() == "1" for switch in switches)


def probes_let_through(topology: Topology) -> bool:
    """Whether Docker's chains contain the rules that a probe zone needs; needs root."""
    try:
        run("sh", "-c", host_rules.check_probes(topology))
    except ProbeError:
        return False
    return True


def comes_back(topology: Topology) -> bool:
    """Whether the files that restore the rules at boot are unchanged, and their units enabled.

    Always true on a machine without systemd.
    """
    if not Path(host_rules.SYSTEMD).is_dir():
        return True
    try:
        files = all(Path(file).read_text() == text for file, text in host_rules.kept(topology).items())
        return files and bool(run("systemctl", "is-enabled", *host_rules.units(topology)))
    except (OSError, ProbeError):
        return False


OWN: Mapping[str, tuple[str, Callable[[Topology], bool]]] = {
    "host-rules": ("own rules", rules_in_force),
    "leg-rules": ("rules of its legs", leg_rules_in_force),
    "bridge-switch": ("switch that shows its rules frames within a bridge", bridges_switched),
    "probe-rules": ("rules that let the probe zone see published ports", probes_let_through),
    "boot-rules": ("units that bring its rules back at boot", comes_back),
}
"""Resource -> its description for operators, and whether this machine has it as rendered."""


def changed(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield each resource of Docker-SRV that is missing or changed here: URN's end, description.

    Needs root.
    """
    for name, (what, in_force) in OWN.items():
        if (name != "probe-rules" or topology.probes) and not in_force(topology):
            yield f"command:local:Command::{name}", what
    for zone in topology.probes:
        if replies_dropped(topology.bridge(zone)):
            yield f"docker:index/network:Network::{zone.network}", f"gateway mode of network {zone.network}"


def replies_dropped(bridge: str) -> bool:
    """Whether the engine drops replies of published ports to this bridge's members; needs root.

    It does where an engine before 27 made the network: such an engine does not store the gateway mode, so a
    newer one that reads the network from its disk uses its default, although `docker network inspect` shows
    the option.
    """
    iptables = rf"^-A PREROUTING -d \S+ ! -i {bridge} -j DROP$"
    nftables = rf'iifname != .*"{bridge}".* drop comment "DROP DIRECT ACCESS"'
    return bool(
        re.search(iptables, _printed("iptables-save"), re.MULTILINE)
        or re.search(nftables, _printed("nft", "list", "table", "ip", "docker-bridges"))
    )


def _printed(*words: str) -> str:
    """Return what a command prints; nothing where it fails, as on an engine with the other backend."""
    try:
        return run(*words)
    except ProbeError:
        return ""


def elsewhere() -> bool:
    """Whether Docker-SRV is a machine other than this one."""
    return os.environ.get("DOCKER_HOST", "").startswith(_REMOTE)


def containers() -> list[dict[str, Any]]:
    """Return every container of the engine, as `docker inspect` prints it; raises ProbeError on failure."""
    try:
        ids = run("docker", "ps", "--all", "--quiet", "--no-trunc").split()
        return list(json.loads(run("docker", "inspect", *ids))) if ids else []
    except ProbeError as fault:
        raise ProbeError(f'{fault}\nIs the stack up (`make up`), and `eval "$(make -s env)"` done?') from None


def networks() -> list[str]:
    """Return the names of the engine's networks."""
    return run("docker", "network", "ls", "--format", "{{.Name}}").split()


def need_image(image: str) -> None:
    """Raise ProbeError if the engine lacks an image: a probe pulls none."""
    try:
        run("docker", "image", "inspect", image)
    except ProbeError as fault:
        remedy = "see that the engine answers, and `docker pull` it there"
        raise ProbeError(f"vantages.containers.image: {image} is not there; {remedy}\n{fault}") from None


def notes() -> list[str]:
    """Return notes on what enforces the isolation here if the engine is too old to do so itself."""
    version = run("docker", "version", "--format", "{{.Server.Version}}").strip()
    if int(version.partition(".")[0]) >= _ISOLATING:
        return []
    return [
        (
            f"Docker {version} ignores gateway_mode_ipv4=isolated: inhibit_ipv4 and the host's own rules "
            "keep containers from the host"
        )
    ]


def others(topology: Topology, there: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a note for each container outside the site that publishes ports on Docker-SRV."""
    declared = {topology.physical(service.name) for service in topology.containers}
    zones = [*(zone for zone in topology.zones.values() if zone.is_docker), *topology.legs.zones]
    networks = {topology.physical(zone.network) for zone in zones}
    for one in there:
        name, settings = one["Name"].lstrip("/"), one["NetworkSettings"]
        ports = {
            f"{binding['HostPort']}/{inside.partition('/')[2]}"
            for inside, bindings in (settings["Ports"] or {}).items()
            for binding in bindings or ()
        }
        if ports and name not in declared and networks.isdisjoint(settings["Networks"]):
            yield f"container {name}, not of this site, publishes {', '.join(sorted(ports))}"


def misattached(
    topology: Topology, there: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield declared containers on networks other than their own: name, own networks, actual networks."""
    joined = {one["Name"].lstrip("/"): set(one["NetworkSettings"]["Networks"]) for one in there}
    for service in topology.containers:
        zones = declared_zones(topology, service.name)
        own = {topology.physical(topology.zones[zone].network) for zone in zones}
        found = joined.get(topology.physical(service.name), own)
        if found != own:
            yield service.name, sorted(own), sorted(found)


def container(name: str) -> str:
    """Return the end of the URN of a service's container."""
    return f"docker:index/container:Container::{name}"
