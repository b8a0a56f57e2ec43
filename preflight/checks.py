"""All pre-flight checks together: of the machine, the engine and its objects, the Proxmox node."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from preflight import daemon, docker, engine, links, machine, proxmox
from preflight.docker import PlannedSite
from preflight.docker_api import DockerApi
from preflight.finding import Check, PreflightFinding
from preflight.found import Found
from preflight.state import PulumiState
from topology.answers import understood
from topology.model import Topology
from verify.driver import ProbeError
from verify.inventory import Reader


@dataclass(frozen=True, kw_only=True)
class PreflightReport:
    """All findings; `engine` describes the engine in one line, `left_out` what was not checked, and why."""

    findings: tuple[PreflightFinding, ...]
    engine: str = ""
    left_out: tuple[str, ...] = ()
    in_the_way: tuple[Found, ...] = ()
    """Objects on the hosts that have a wanted name."""


def check_machine(
    topology: Topology,
    state: PulumiState,
    *,
    stack: str,
    folder: Path,
    backend: str = "",
    needs: Sequence[machine.Need] = (),
    updated_at: str | None = None,
    now: datetime | None = None,
) -> list[PreflightFinding]:
    """Return findings on this machine, the stack's file and state; asks no host and writes nothing.

    `backend` is PULUMI_BACKEND_URL, `updated_at` the git commit of the stack's last update.
    """
    now = now or datetime.now(UTC)
    return [
        *machine.space(needs),
        *machine.clock(now, machine.known_times(topology, state)),
        *machine.stack_file_lacks(topology, state, stack),
        *machine.stack_file_older(folder, stack, updated_at),
        *(machine.runs(stack, machine.locks_of(backend, stack)) if backend.startswith("file://") else ()),
    ]


def check_hosts(
    topology: Topology,
    state: PulumiState,
    *,
    stack: str,
    api: DockerApi | None,
    node: Reader | None,
    lab: bool = False,
    resumes: bool = False,
    now: datetime | None = None,
) -> PreflightReport:
    """Return a report on what is in the way on the hosts; writes nothing.

    `api` None: this machine gets its engine later, and only its ports and prefixes are checked. `node`
    None: Proxmox is not asked. `lab`: the caller is the lab, which removes what a killed run was making and
    maps the declared data root to the engine's own.
    """
    site = PlannedSite(
        topology=topology,
        state=state,
        stack=stack,
        ignored=state.creating if resumes else frozenset(),
        lab=lab,
    )
    moment = now or datetime.now(UTC)
    reports = []
    if topology.docker_host:
        reports += _answered(Check.ENGINE_SILENT, "docker", partial(_docker, site, api, moment))
    if node and topology.proxmox_host:
        asked = partial(_proxmox, site, node, moment, lab=lab)
        reports += _answered(Check.PROXMOX_SILENT, "proxmoxve:endpoint", asked)
    report = _joined(reports)
    if not lab:
        return report
    kept = (each for each in report.findings if each.check is not Check.ENGINE_DATA_ROOT)
    return replace(report, findings=tuple(kept))


def _answered(check: Check, path: str, report: Callable[[], PreflightReport]) -> list[PreflightReport]:
    """Return a report, or a finding in its place if a host answers in a form that is not known."""
    try:
        with understood("its API", ProbeError):
            return [report()]
    except ProbeError as fault:
        what, _, remedy = str(fault).rstrip(".").partition("; ")
        return [PreflightReport(findings=(PreflightFinding(check, path, what, remedy),))]


def _docker(site: PlannedSite, api: DockerApi | None, now: datetime) -> PreflightReport:
    """Return the report on the engine, its objects, and its machine."""
    if api is None:
        found = _on_docker_srv(site, docker.There(), docker.read_machine())
        return PreflightReport(findings=tuple(found))
    try:
        its = engine.read(api)
        there = docker.read_there(api, its.pools)
    except ProbeError as fault:
        return PreflightReport(findings=(silent(str(fault)),))
    # On real hosts a port of this machine may be the end of a tunnel; the lab uses no engine of another one.
    is_here = api.is_local or (site.lab and its.name == socket.gethostname())
    here = docker.read_machine() if is_here else docker.Machine()
    told = daemon.read(api.socket) if is_here else None
    refused = list(engine.refusals(its, site.topology, told, api.host))
    apart = machine.clocks_apart(site.topology.docker.name, now, its.clock)
    return PreflightReport(
        findings=(
            *refused,
            *engine.other_iptables(its, told, here.rules),
            *(machine.bridge_filter() if is_here else ()),
            *(machine.lock_out(site.topology, machine.session()) if is_here else ()),
            *apart,
            *_on_docker_srv(site, there, here),
        ),
        engine=engine.describe(its, told),
        left_out=tuple(_left_out(api, told, is_here=is_here)),
        in_the_way=tuple(docker.in_the_way(site, there)),
    )


def silent(fault: str) -> PreflightFinding:
    """Return the finding for an engine that does not answer."""
    remedy = "start Docker there, or name its socket with DOCKER_HOST or docker:host"
    if "Permission denied" in fault:
        remedy = "run it as root, or as a user of the group docker"
    return PreflightFinding(Check.ENGINE_SILENT, "docker", f"no engine answers ({fault})", remedy)


def _on_docker_srv(
    site: PlannedSite, there: docker.There, here: docker.Machine
) -> Iterator[PreflightFinding]:
    yield from docker.taken(site, there)
    yield from docker.bridges(site, there, here.links)
    yield from docker.tables(site, here.tables)
    yield from links.bridged(here.links, here.rules, docker.of_docker(site, there))
    if here.links and not site.lab:
        yield from links.of_legs(site.topology, here.links)
    yield from docker.prefixes(site, there, here)
    yield from docker.ports(site, there, here.listeners)


def _left_out(api: DockerApi, told: daemon.Daemon | None, *, is_here: bool) -> Iterator[str]:
    if not is_here:
        yield f"{api.host}: its interfaces, routes, processes and dockerd's settings can't be read from here"
    elif told is None:
        yield "dockerd's settings: its process is not found, or only root may read it"


def _proxmox(site: PlannedSite, node: Reader, now: datetime, *, lab: bool) -> PreflightReport:
    answer = proxmox.read(site, node)
    if isinstance(answer, PreflightFinding):
        return PreflightReport(findings=(answer,))
    if lab and answer.ours:
        return PreflightReport(findings=(proxmox.state_lost(site, answer),))
    apart = [
        finding
        for host in site.topology.proxmox_hosts
        for finding in machine.clocks_apart(host.name, now, answer.of(host).clock)
    ]
    return PreflightReport(
        findings=(*apart, *proxmox.findings(site, answer)),
        in_the_way=tuple(proxmox.in_the_way(site, answer)),
    )


def _joined(reports: Sequence[PreflightReport]) -> PreflightReport:
    return PreflightReport(
        findings=tuple(each for report in reports for each in report.findings),
        engine="".join(report.engine for report in reports),
        left_out=tuple(each for report in reports for each in report.left_out),
        in_the_way=tuple(each for report in reports for each in report.in_the_way),
    )
