"""Time and memory of the whole lab: `up` against compose, a preview without changes, the live probe.

Each function yields lines of Markdown; it brings the lab up and takes it down.
Note: compose returns before its containers are healthy and Pulumi does not, so compose is timed until they
are.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bench.compose import compose
from bench.measure import Run, best, measured
from bench.project import project
from lab import apt, paths, tls, toolchain
from lab.__main__ import down, environment, lab_up, report, stack_file, up
from lab.stack import Stack
from resources import program
from resources.resource import Resource, from_state
from topology.config import from_file

UP_LIMIT, NO_CHANGE_LIMIT = 1.3, 2.0
"""Limit of `up` as a multiple of compose's time; limit of a preview without changes in seconds."""
ROUNDS = PREVIEWS = 3
_UNATTENDED = ("--stack", "dev", "--non-interactive", "--suppress-outputs")
_UP = ("pulumi", "up", "--yes", *_UNATTENDED)
_PREVIEW = ("pulumi", "preview", *_UNATTENDED)
_LAB = ("DOCKER_HOST", "PULUMI_PARALLEL")
_PACK = ("--policy-pack", "policies/serve")
_STARTING = "docker ps --quiet --filter label=com.docker.compose.project=bench --filter health="
_EMPTY = "import pulumi\n"
_PROVIDERS = f"{_EMPTY}import pulumi_command, pulumi_docker, pulumi_proxmoxve, pulumi_tls\n"


def site() -> Iterator[str]:
    """Yield the cost of preview and probe for the whole dev stack."""
    with lab():
        if up("dev"):
            raise SystemExit("bench: the lab did not come up")
        yield from _no_change()
        yield from _verify()


def docker_half() -> Iterator[str]:
    """Yield the cost of `up` for the Docker half, on the lab's hosts without any of the stack's resources."""
    with lab():
        lab_up(from_file(stack_file("dev")))
        yield from _against_compose()


@contextmanager
def lab() -> Iterator[None]:
    """Check that stack dev is not up, and take the lab down at the end."""
    os.environ["HOMELAB_STATE"] = str(paths.STATE)  # the stack file's certificates are below it
    toolchain.ensure(report)
    if Stack(name="dev", environment=_selected()).deployment().get("resources"):
        raise SystemExit("bench: stack dev is up; run `make down` first")
    try:
        yield
    finally:
        down("dev")


def _selected() -> Mapping[str, str]:
    """Return the dev stack's environment; the stack is created in the backend if missing."""
    (paths.STATE / ".pulumi").mkdir(parents=True, exist_ok=True)
    own = environment("dev")
    Stack(name="dev", environment=own).select()
    return own


def _no_change() -> Iterator[str]:
    own = dict(os.environ) | environment("dev")

    def fastest(words: Sequence[str], cwd: Path = paths.PROJECT) -> Run:
        return best([measured(words, cwd, own) for _ in range(PREVIEWS)])

    plain = fastest([*_PREVIEW, "--expect-no-changes"])
    pack = fastest([*_PREVIEW, "--expect-no-changes", *_PACK])
    refresh = fastest([*_PREVIEW, "--expect-no-changes", "--refresh", *_PACK])
    empty, imports = _preview_of(_EMPTY), _preview_of(_PROVIDERS)
    yield "## A preview that finds nothing to do"
    yield ""
    yield f"The whole dev stack, just created; the fastest of {PREVIEWS}. {_target(plain, NO_CHANGE_LIMIT)}"
    yield ""
    yield "| what | time | peak memory |"
    yield "|---|---|---|"
    for what, run in (
        ("`pulumi preview --expect-no-changes`", plain),
        ("with `--policy-pack policies/serve`", pack),
        ("with `--refresh` as well, which asks both hosts for every resource", refresh),
        ("for comparison: a program that does nothing", empty),
        ("for comparison: a program that imports the three providers and does nothing", imports),
    ):
        yield f"| {what} | {run.seconds:.2f} s | {run.memory:.0f} MiB |"
    yield ""
    yield (
        f"What costs it: the start of engine and Python {empty.seconds:.2f} s, the providers' Python "
        f"packages {imports.seconds - empty.seconds:.2f} s; the plugins and {_resources()} resources "
        f"{plain.seconds - imports.seconds:.2f} s. The pack adds {pack.seconds - plain.seconds:.2f} s."
    )
    yield ""


def _preview_of(text: str) -> Run:
    """Return the cost of previewing a program that makes no resources."""
    with tempfile.TemporaryDirectory() as name:
        main, folder = Path(name) / "main.py", Path(name) / "project"
        main.write_text(text, encoding="utf-8")
        folder.mkdir()
        its = project(folder, {}, main)
        return best([measured(_PREVIEW, folder, its) for _ in range(PREVIEWS)])


def _target(run: Run, limit: float) -> str:
    return f"Target: {limit:g} s; {_met(run, limit)}."


def _met(run: Run, limit: float) -> str:
    return "met" if run.seconds <= limit else "missed"


def _resources() -> int:
    return len(Stack(name="dev", environment=environment("dev")).deployment()["resources"])


def _verify() -> Iterator[str]:
    own = dict(os.environ) | environment("dev")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "verify.json"
        run = measured([sys.executable, "-m", "commands", "verify", "--json", str(file)], paths.PROJECT, own)
        cells = len(json.loads(file.read_text(encoding="utf-8"))["cells"])
    yield "## The live probe"
    yield ""
    yield "| `make verify` | cells | time | a cell | peak memory |"
    yield "|---|---|---|---|---|"
    each = f"{1000 * run.seconds / cells:.1f} ms"
    yield f"| dev stack | {cells:,} | {run.seconds:.1f} s | {each} | {run.memory:.0f} MiB |"
    yield ""
    yield "A denial takes 2 s of waiting; sources ask at the same time."
    yield ""


def _against_compose() -> Iterator[str]:
    words, version = _compose()
    created: list[Run] = []
    whole: list[Run] = []
    composed: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        folder.mkdir()
        its = project(folder, _config(), Path(__file__).with_name("docker_half") / "__main__.py")
        its |= {key: value for key, value in environment("dev").items() if key in _LAB}
        file = Path(name) / "compose.json"
        made = program.resources(_read(folder), program=folder)
        composing = [*words, "--file", str(file), "--project-name", "bench"]
        for _ in range(ROUNDS):
            for runs, more in ((created, ["--skip-preview"]), (whole, [])):
                runs.append(measured([*_UP, *more], folder, its))
                if not file.exists():
                    text = json.dumps(compose(_as_given(made, folder, its), Path(name) / "files"))
                    file.write_text(text, encoding="utf-8")
                measured(["pulumi", "destroy", "--yes", *_UNATTENDED], folder, its)
            composed.append(_compose_up(composing, Path(name), its))
            measured([*composing, "down", "--volumes"], Path(name), its)
    base, creation, with_preview = best(composed), best(created), best(whole)
    limit = UP_LIMIT * base.seconds
    kinds = [each.type for each in made]
    yield "## `up` of the Docker half against compose"
    yield ""
    yield (
        f"{kinds.count('docker:index/container:Container')} containers, "
        f"{kinds.count('docker:index/network:Network')} networks and "
        f"{kinds.count('docker:index/volume:Volume')} volumes, the same for both, until every container is "
        f"healthy; the fastest of {ROUNDS}. Compose: {version}. "
        f"Target: {UP_LIMIT} times compose; {_met(creation, limit)} without a preview, "
        f"{_met(with_preview, limit)} with one."
    )
    yield ""
    yield "| what | time | against compose | peak memory |"
    yield "|---|---|---|---|"
    for what, run in (
        ("compose, `up --detach`, then healthy", base),
        ("`pulumi up --skip-preview`", creation),
        ("`pulumi up`, which previews first", with_preview),
    ):
        against = f"{run.seconds / base.seconds:.2f}"
        yield f"| {what} | {run.seconds:.2f} s | {against} | {run.memory:.0f} MiB |"
    yield ""
    yield (
        "Docker asks a new container for its health after 5 s, which is the floor for both. Pulumi starts "
        "engine, Python and plugin first; its plugin lets a new network rest for 2 s, for which containers "
        "wait, looks at a container's health once a second, and copies files where compose mounts them."
    )
    yield ""


def _as_given(made: list[Resource], folder: Path, its: Mapping[str, str]) -> Iterator[Resource]:
    """Yield resources with their containers' files from the state: certificates exist only after an `up`."""
    state = folder / "state.json"
    measured(
        ["pulumi", "stack", "export", "--show-secrets", "--stack", "dev", "--file", str(state)], folder, its
    )
    given = {(each.type, each.name): each.inputs.get("uploads") for each in from_state(state)}
    for each in made:
        uploads = given.get((each.type, each.name))
        yield replace(each, inputs={**each.inputs, "uploads": uploads}) if uploads else each


def _config() -> dict[str, Any]:
    """Return the configuration that the Docker half needs, without real secrets."""
    certificate, key = tls.leaf("bench", ["localhost"])
    return {
        "homelab-network:tls": {"certificate": str(certificate), "key": str(key)},
        "grafana:adminPassword": "bench",
        "traefik:users": f"admin:$2b$10${'x' * 53}",
    }


def _read(folder: Path) -> dict[str, Any]:
    stack: dict[str, Any] = yaml.safe_load((folder / "Pulumi.dev.yaml").read_text(encoding="utf-8"))
    return dict(stack["config"])


def _compose() -> tuple[list[str], str]:
    """Return compose's command and version: the plugin's if installed, else Debian's, installed if needed."""
    words = ["docker", "compose"]
    if subprocess.run([*words, "version"], check=False, capture_output=True).returncode:
        apt.install("bench", {"docker-compose": "docker-compose"}, print)
        words = [shutil.which("docker-compose") or "docker-compose"]
    said = subprocess.run([*words, "version", "--short"], check=True, capture_output=True, text=True)
    return words, said.stdout.strip()


def _compose_up(words: Sequence[str], folder: Path, own: Mapping[str, str]) -> Run:
    script = (
        f'{shlex.join([*words, "up", "--detach"])}; while [ -n "$({_STARTING}starting)" ]; do sleep 0.1; done'
    )
    run = measured(["bash", "-euc", script], folder, own)
    sick = subprocess.run(
        ["bash", "-c", f"{_STARTING}unhealthy"], env=own, check=True, capture_output=True, text=True
    )
    if sick.stdout:
        raise SystemExit("bench: compose's containers are not healthy")
    return run
