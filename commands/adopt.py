"""Write how a running site becomes this stack's own: the import file, and a plan with the way back.

Writes adopt-<stack>.md and imports-<stack>.json beside the stack file, and says what would end the take-over
midway; changes nothing on a host. Exit status: 0 written, 2 not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adoption.plan import Plan
from commands.preflight import docker_host, import_file, look
from preflight.checks import PreflightReport
from preflight.finding import Check
from survey.docker_api import DEFAULT, DockerApi
from survey.errors import SurveyError
from topology.config import ConfigError, from_file, keys_of
from topology.model import Topology
from topology.project import PROJECT
from verify.driver import ProbeError

_NOT_IMPORTED: Final = {Check.NETWORK_TAKEN, Check.VOLUME_TAKEN, Check.NODE_BRIDGE_TAKEN}


def main(words: Sequence[str], folder: Path = PROJECT) -> int:
    """Write both files of one stack; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands adopt", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", required=True, help="the stack: Pulumi.<stack>.yaml")
    stack = parser.parse_args(words).stack
    file = folder / f"Pulumi.{stack}.yaml"
    try:
        topology = from_file(file)
        for_one_host(topology)
        host = docker_host(keys_of(file))
        report = answered(look(topology, folder, stack))
        rows = asked(host) if topology.docker_host else ([], [])
    except (ConfigError, ProbeError, SurveyError) as error:
        print(error, file=sys.stderr)
        return 2
    for line in written(folder, stack, topology, report, rows, host="" if host == DEFAULT else host):
        print(line)
    return 0


def for_one_host(topology: Topology) -> None:
    """Raise ProbeError for a site of several Docker hosts, whose engines no plan has."""
    if len(topology.docker_hosts) > 1:
        raise ProbeError(
            "hosts: a plan is for one Docker host, and there are several; adopt one first, alone."
        )


def answered(report: PreflightReport) -> PreflightReport:
    """Return a report if each host answered; raises ProbeError."""
    silent = [each for each in report.findings if each.check in {Check.ENGINE_SILENT, Check.PROXMOX_SILENT}]
    if silent:
        raise ProbeError(f"{silent[0]}.")
    return report


def asked(host: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the engine's containers and its networks, without environments; raises SurveyError."""
    with closing(DockerApi(host)) as api:
        rows = (api.find(f"/containers/{each['Id']}/json") for each in api.get("/containers/json?all=1"))
        return [row for row in rows if row is not None], list(api.get("/networks"))


def written(
    folder: Path,
    stack: str,
    topology: Topology,
    report: PreflightReport,
    rows: tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]],
    *,
    host: str = "",
) -> list[str]:
    """Write the import file and the plan; returns their paths, and what to mend before the plan.

    Neither a volume nor a node's bridge is imported: the way back would remove it. One that is `external` or
    has `existing-bridge` is not in the way. A network is made anew in any case.
    """
    others = [each for each in report.in_the_way if each.check is not Check.CONTAINER_TAKEN]
    keeps = [each for each in others if each.identity and each.check not in _NOT_IMPORTED]
    plan = Plan(
        stack=stack,
        topology=topology,
        containers=rows[0],
        networks=rows[1],
        host=host,
        faults=report.findings,
        guests={each.wanted.urn(stack): each.identity for each in keeps if each.check is Check.VM_TAKEN},
        kept=[f"{each.path}: {each.what}" for each in keeps],
        made_anew=[f"{each.path}: {each.what}" for each in others if each not in keeps],
    )
    imports, text = folder / f"imports-{stack}.json", folder / f"adopt-{stack}.md"
    imports.write_text(json.dumps(import_file(keeps), indent=2) + "\n", encoding="utf-8")
    text.write_text("\n".join((*plan.lines(datetime.now(UTC).date()), "")), encoding="utf-8")
    return [str(text), str(imports), *(f"mend before the outage: {each}" for each in plan.first)]
