"""The cost of the policy pack: previews with and without it in one run, and the proof alone.

Each function yields lines of Markdown.
Note: the proof alone is timed without the program, whose resources are made before the clock starts.
"""

from __future__ import annotations

import gc
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from bench.project import project
from bench.sites import keys
from lab import toolchain
from policies.evaluate import evaluate_resource, evaluate_stack, evaluate_together
from resources import program
from resources.site import Graph
from resources.typed import view
from topology.config import load
from topology.index import TopologyIndex
from topology.project import PROJECT

PREVIEWS = {10: 9, 100: 6, 1000: 2}
"""Services -> runs of each kind, of which the fastest counts."""
RUNS = 7
"""Evaluations of the dev stack, of which the fastest counts."""
PROOFS = (100, 1000, 10_000)
PREVIEW_LIMIT, PROOF_LIMIT = 1.25, 5.0
BEFORE = "0.18 ms and 0.13 ms"
"""The same times of commit 7aeef73, measured in turn with 0.38 ms and 0.31 ms on one machine."""


def previews() -> Iterator[str]:
    """Yield a comparison of previews with and without the pack."""
    yield "## Previews with the policy pack"
    yield ""
    yield (
        "The fastest of several runs; in the tool chain's Pulumi home, where the engine keeps no automatic "
        "log, which would add to both."
    )
    yield ""
    yield f"| services | without | with the pack | ratio (limit {PREVIEW_LIMIT}) |"
    yield "|---|---|---|---|"
    toolchain.ensure(lambda _: None)
    for services, runs in PREVIEWS.items():
        with tempfile.TemporaryDirectory() as folder:
            config = {f"homelab-network:{key}": value for key, value in keys(services).items()}
            nothing = {"certificate": os.devnull, "key": os.devnull}
            environment = project(Path(folder), config | {"homelab-network:tls": nothing})
            plain, packed = [], []
            for _ in range(runs):
                plain.append(_preview(Path(folder), environment))
                packed.append(_preview(Path(folder), environment, "--policy-pack", "policies/serve"))
            without, with_pack = min(plain), min(packed)
            yield f"| {services:,} | {without:.2f} s | {with_pack:.2f} s | {with_pack / without:.3f} |"
    yield ""
    yield from _each_resource()


def proofs() -> Iterator[str]:
    """Yield the time of the proof alone: facts, reachability and every rule over the whole stack."""
    yield "## The proof alone"
    yield ""
    yield "Processor time: it is one thread, and a busy machine changes nothing about it."
    yield ""
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
        topology = TopologyIndex.of(load(config))
        gc.collect()
        gc.disable()
        started = time.process_time()
        findings = evaluate_stack(Graph(tuple(map(view, resources)), topology))
        took = time.process_time() - started
        gc.enable()
        if findings:
            raise SystemExit(f"the bench's own site has findings: {findings[0]}")
        growth = f"{took / before:.1f} times" if before else ""
        each = f"{1000 * took / services:.2f} ms"
        yield f"| {services:,} | {len(resources):,} | {took:.2f} s | {each} | {growth} |"
        before = took


def _each_resource() -> Iterator[str]:
    """Yield the pack's time a resource of the dev stack: its rules alone, and with those of the stack."""
    file = PROJECT / "Pulumi.dev.yaml"
    _, topology, resources = program.of_stack_file(file)
    index = TopologyIndex.of(topology)
    alone, whole = [], []
    for _ in range(RUNS):
        started = time.process_time()
        judged = [evaluate_resource(each, index) for each in resources]
        alone.append(time.process_time() - started)
        evaluate_together(judged, index, date.min)
        whole.append(time.process_time() - started)
    least, all_ = (f"{1000 * min(times) / len(resources):.2f} ms" for times in (alone, whole))
    yield (
        f"The rules take {all_} of processor time a resource of the dev stack, those of one resource "
        f"{least}. Before every container was compared whole with the stack file it was {BEFORE}."
    )


def _preview(folder: Path, environment: dict[str, str], *words: str) -> float:
    """Return the seconds that one preview takes."""
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
