"""Check, before the first change, for anything that would make `make up` fail or do harm.

Exit status: 0 no findings, 1 findings, 2 the checks could not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight import checks, machine
from preflight.docker_api import DockerApi
from preflight.found import Found
from preflight.state import PulumiState
from survey.docker_api import DEFAULT
from topology.config import ConfigError, from_file, keys_of
from topology.model import Topology
from topology.project import PROJECT
from verify import host
from verify.driver import ProbeError
from verify.inventory import Api
from verify.namespaces import run


def main(words: Sequence[str], folder: Path = PROJECT) -> int:
    """Print the engine and every finding; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands preflight", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    parser.add_argument("--lab", action="store_true", help="the lab stands in for the stack's hosts")
    parser.add_argument(
        "--no-hosts", action="store_true", help="the hosts are started later; look at the rest"
    )
    parser.add_argument("--imports", metavar="FILE", help="write what is in the way, for pulumi import")
    parser.add_argument(
        "--also",
        metavar="FINDING",
        action="append",
        default=[],
        help="a finding to tell with these",
    )
    given = parser.parse_args(words)
    if unknown := list(machine.stack_unknown(given.stack, folder)):
        return tell(checks.PreflightReport(findings=tuple(unknown)))
    try:
        topology = from_file(folder / f"Pulumi.{given.stack}.yaml")
        report = look(topology, folder, given.stack, lab=given.lab, no_hosts=given.no_hosts)
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.imports:
        Path(given.imports).write_text(json.dumps(import_file(report.in_the_way), indent=2), encoding="utf-8")
    return tell(report, given.also)


def tell(report: checks.PreflightReport, also: Sequence[str] = ()) -> int:
    """Print a report and the caller's findings; returns 1 if there are any, else 0."""
    lines = [report.engine] if report.engine else []
    findings = [*map(str, report.findings), *also]
    lines += findings
    lines += [f"not looked at: {each}" for each in report.left_out]
    number = len(findings)
    print(*lines, f"{number or 'no'} finding{'' if number == 1 else 's'}", sep="\n")
    return int(bool(findings))


def import_file(in_the_way: Sequence[Found]) -> dict[str, object]:
    """Return the input of `pulumi import --file`: each resource with the components that it belongs to."""
    can = [found for found in in_the_way if found.identity]
    entries = [entry for found in can for entry in found.wanted.import_entries(found.identity)]
    return {"resources": list({str(entry["name"]): entry for entry in entries}.values())}


def docker_host(config: Mapping[str, Any]) -> str:
    """Return the engine that Pulumi's plugin uses: the stack file's, DOCKER_HOST's, or the local one."""
    return str(config.get("docker:host") or os.environ.get("DOCKER_HOST") or DEFAULT)


def look(
    topology: Topology, folder: Path, stack: str, *, lab: bool = False, no_hosts: bool = False
) -> checks.PreflightReport:
    """Check the machine, and the hosts that are running; returns the report. Raises ProbeError."""
    state = exported_state(stack)
    config = keys_of(folder / f"Pulumi.{stack}.yaml")
    on_machine = checks.check_machine(
        topology,
        state,
        stack=stack,
        folder=folder,
        backend=os.environ.get("PULUMI_BACKEND_URL", ""),
        needs=needs(topology if lab else None, made=bool(state.resources)),
        updated_at=last_commit(stack),
    )
    if lab:
        on_machine += machine.root(os.geteuid(), "make up", "it starts what looks like the hosts")
    api = DockerApi(docker_host(config))
    report = checks.check_hosts(
        topology.by_docker_host[0],
        state,
        stack=stack,
        api=None if no_hosts and not api.answers() else api,
        node=node_of(stack, later=no_hosts) if topology.proxmox_host else None,
        lab=lab,
        resumes=lab and no_hosts,
    )
    left_out = (*report.left_out, *host.unasked(topology))
    return dataclasses.replace(report, findings=(*on_machine, *report.findings), left_out=left_out)


def node_of(stack: str, *, later: bool) -> Api | None:
    """Return the Proxmox API; None where it is started `later` and does not answer yet."""
    try:
        node = Api(stack)
        if later:
            node.get("version")
    except ProbeError:
        if not later:
            raise
        return None
    return node


def needs(lab: Topology | None, *, made: bool = False) -> list[machine.Need]:
    """Return the space needed for state and tool chain, and for the engine's images if the lab loads them.

    A stack that is `made` has its tool chain and images, and needs space for its state alone.
    """
    home = Path.home()
    cache = Path(os.environ.get("HOMELAB_CACHE", home / ".cache/homelab-network"))
    state = Path(os.environ.get("HOMELAB_STATE", home / ".local/state/homelab-network"))
    own = machine.Need(folder=state, mib=64, what="the state")
    if made:
        return [own]
    images = [machine.Need(folder=Path(lab.docker.data_root), mib=2048, what="images")] if lab else []
    return [machine.Need(folder=cache, mib=1024, what="the tool chain"), own, *images]


def exported_state(stack: str) -> PulumiState:
    """Return the stack's state, empty if the stack was never made; raises ProbeError."""
    return PulumiState.of(_asked("{}", "stack", "export", "--stack", stack, "--non-interactive"))


def _asked(absent: str, *words: str) -> Any:
    """Return Pulumi's JSON output, or `absent` if there is no such stack yet."""
    try:
        return json.loads(run("pulumi", *words))
    except ProbeError as fault:
        if "no stack named" not in str(fault):
            raise
        return json.loads(absent)


def last_commit(stack: str) -> str | None:
    """Return the git commit of the stack's last update; None if Pulumi recorded none."""
    words = ("stack", "history", "--json", "--page-size", "20", "--stack", stack, "--non-interactive")
    for update in _asked("[]", *words):
        if update["kind"] == "update":
            found: str | None = update["environment"].get("git.head")
            return found
    return None
