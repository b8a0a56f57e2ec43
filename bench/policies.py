"""What the policy pack costs: previews with and without it in one run, and the proof alone.

`python -m bench.policies [preview] [proof]` prints Markdown with ratios. Owns the measuring. What a reader
would get wrong: the proof alone is timed without the program, whose resources are made before the clock
starts.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.sites import keys
from lab import toolchain
from lab.__main__ import PASSPHRASE
from policies import program
from policies.declared import Declared
from policies.graph.site import Graph
from policies.graph.view import view
from policies.judge import judge_stack
from topology.config import load

PREVIEWS = {10: 5, 100: 3, 1000: 1}
"""Services -> runs of each kind, of which the fastest counts."""
PROOFS = (100, 1000, 10_000)
PREVIEW_LIMIT, PROOF_LIMIT = 1.25, 5.0


def main() -> None:
    """Measure what is asked for, or everything."""
    wanted = set(sys.argv[1:]) or {"preview", "proof"}
    for name, lines in (("preview", previews), ("proof", proofs)):
        if name in wanted:
            for line in lines():
                print(line, flush=True)
            print()


def previews() -> Iterator[str]:
    """Preview with the pack against preview without it."""
    yield f"| services | without | with the pack | ratio (limit {PREVIEW_LIMIT}) |"
    yield "|---|---|---|---|"
    toolchain.ensure(lambda _: None)
    for services, runs in PREVIEWS.items():
        with tempfile.TemporaryDirectory() as folder:
            environment = _project(Path(folder), services)
            plain, packed = [], []
            for _ in range(runs):
                plain.append(_preview(Path(folder), environment))
                packed.append(_preview(Path(folder), environment, "--policy-pack", "policies"))
            without, with_pack = min(plain), min(packed)
            yield f"| {services:,} | {without:.2f} s | {with_pack:.2f} s | {with_pack / without:.3f} |"


def proofs() -> Iterator[str]:
    """The proof alone: facts, reachability and every rule over the whole stack."""
    yield f"| services | resources | proof (limit {PROOF_LIMIT} s) | per service | against the row above |"
    yield "|---|---|---|---|---|"
    before = None
    for services in PROOFS:
        config = keys(services)
        resources = program.resources(
            {f"homelab-network:{key}": value for key, value in config.items()}
            | {
                "homelab-network:tls": {"certificate": os.devnull, "key": os.devnull},
                "grafana:adminPassword": "x",
                "traefik:users": "[secret]",
            }
        )
        topology = Declared.of(load(config))
        gc.collect()
        gc.disable()
        started = time.perf_counter()
        findings = judge_stack(Graph(tuple(map(view, resources)), topology))
        took = time.perf_counter() - started
        gc.enable()
        if findings:
            raise SystemExit(f"the bench's own site has findings: {findings[0]}")
        growth = f"{took / before:.1f} times" if before else ""
        each = f"{1000 * took / services:.2f} ms"
        yield f"| {services:,} | {len(resources):,} | {took:.2f} s | {each} | {growth} |"
        before = took


def _project(folder: Path, services: int) -> dict[str, str]:
    """Copy the project with a stack of so many services; the environment to run Pulumi in."""
    for part in ("__main__.py", "components", "topology", "policies", "Pulumi.yaml", "Pulumi.dev.yaml"):
        source = program.PROJECT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    (folder / ".venv").symlink_to(program.PROJECT / ".venv")
    file = folder / "Pulumi.dev.yaml"
    stack = yaml.safe_load(file.read_text(encoding="utf-8"))
    stack["config"] |= {f"homelab-network:{key}": value for key, value in keys(services).items()}
    stack["config"]["homelab-network:tls"] = {"certificate": os.devnull, "key": os.devnull}
    file.write_text(yaml.safe_dump(stack, sort_keys=False), encoding="utf-8")
    (folder / "state").mkdir()
    environment = dict(os.environ) | toolchain.environment()
    environment |= {
        "PULUMI_BACKEND_URL": f"file://{folder}/state",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PROXMOX_VE_API_TOKEN": "root@pam!bench=00000000-0000-0000-0000-000000000000",
    }
    subprocess.run(
        ["pulumi", "stack", "init", "dev"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return environment


def _preview(folder: Path, environment: dict[str, str], *words: str) -> float:
    """Seconds that one preview takes."""
    started = time.perf_counter()
    done = subprocess.run(
        ["pulumi", "preview", "--stack", "dev", "--suppress-outputs", "--suppress-progress", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"preview failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
