"""Say who can reach whom on a running Docker engine and Proxmox node today, worst first; read-only.

The engine is that of DOCKER_HOST, else that of the `docker` command's context. No stack file is needed, and
nothing is changed or sent elsewhere. Exit status: 0 surveyed, 2 not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from adoption import source, stack_file
from survey import docker, machine, proxmox, words
from survey.docker_api import DEFAULT, DockerApi
from survey.errors import SurveyError
from survey.findings import Findings
from survey.proxmox_api import ProxmoxApi
from survey.site import RunningSite


def main(arguments: Sequence[str]) -> int:
    """Survey once and print the result; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands survey", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--docker", metavar="ENDPOINT", help="the engine, as in DOCKER_HOST")
    parser.add_argument(
        "--proxmox",
        metavar="URL",
        default=os.environ.get("PROXMOX_VE_ENDPOINT"),
        help="a Proxmox API, too; PROXMOX_VE_API_TOKEN holds its token",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--write", metavar="FILE", help="write Pulumi.<name>.yaml, a stack file that declares what runs"
    )
    given = parser.parse_args(arguments)
    try:
        path = stack_file.path_of(given.write) if given.write else None
        site = look(given.docker or endpoint(), given.proxmox)
        if path:
            return write(path, site)
    except SurveyError as error:
        print(error, file=sys.stderr)
        return 2
    findings = Findings(site).sorted()
    if given.json:
        print(json.dumps(words.data(site, findings), indent=2))
    else:
        print(*words.lines(site, findings), sep="\n")
    return 0


def write(path: Path, site: RunningSite) -> int:
    """Write the stack file of a survey and say what to read first; raises SurveyError."""
    with closing(DockerApi(site.docker.engine.endpoint, environment=True)) as api:
        today, name = datetime.now(UTC).date(), stack_file.name_of(path)
        text = stack_file.written(site, source.read(api), today, name)
    path.write_text(text, encoding="utf-8")
    guesses, left = text.count("guessed:"), text.count("\n# left out: ")
    print(f"{path}: {guesses} guesses to read, {left} parts left out; docs/from-a-running-site.md goes on")
    return 0


def look(host: str, node: str | None = None) -> RunningSite:
    """Return what runs on an engine and a Proxmox node, and this machine if it has the engine.

    Raises SurveyError.
    """
    with closing(DockerApi(host)) as api:
        found = docker.read(api)
    here = machine.read_if_here(found) if api.is_local else None
    return RunningSite(found, here, guests(node) if node else None)


def guests(url: str) -> proxmox.RunningProxmox:
    """Return what a Proxmox API knows; raises SurveyError."""
    with closing(ProxmoxApi(url, os.environ.get("PROXMOX_VE_API_TOKEN", ""))) as api:
        return proxmox.read(api)


def endpoint() -> str:
    """Return the engine's endpoint: DOCKER_HOST, else the `docker` command's context, else the default."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    words = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() or DEFAULT
    except (OSError, subprocess.CalledProcessError):
        return DEFAULT
