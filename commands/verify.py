"""The live probe: whether the network does what the declared flows say, and nothing else.

Run it while the stack is up, in the environment of `make env`, as `make verify` does. It needs root, unless
the file declares vantages for every endpoint that it would enter here. Exit status: 0 every cell agrees,
1 some cells disagree or are inconclusive, 2 the run can't begin.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from rendered.verify_timer import metrics_file
from topology.config import ConfigError, from_file, keys_of
from verify import host, probe, proof, report, since, slots, vantages
from verify.driver import ProbeError

PROJECT = Path(__file__).resolve().parent.parent
_SIGNALLED = 128


def main(words: Sequence[str]) -> int:
    """Probe once and report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands verify", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole run as JSON")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the cells as JUnit test cases")
    parser.add_argument(
        "--metrics", nargs="?", const=Path(), type=Path, metavar="FILE",
        help="write what Prometheus reads; without FILE where the stack's Node Exporter looks",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=16, help="endpoints that are asked at a time (default: 16)"
    )
    given = parser.parse_args(words)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _terminate)
    try:
        done = _probed(given.stack, given.jobs)
        print(report.text(done))
        if given.json:
            earlier = since.read(given.json, given.stack)
            for line in earlier.told(done.findings, given.json):
                print(line)
            given.json.write_text(report.as_json(done, earlier), encoding="utf-8")
        if given.junit:
            given.junit.write_text(report.as_junit(done), encoding="utf-8")
        # `make verify` asks for metrics on every machine, but Node Exporter reads them on Docker-SRV.
        if given.metrics is not None and (given.metrics != Path() or _is_docker_srv(given.stack)):
            _replace(_metrics_file(given.metrics, given.stack), report.as_metrics(done, time.time()))
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name a file that can be written", file=sys.stderr)
        return 2
    return 0 if done.good else 1


def _probed(stack: str, jobs: int) -> report.ProbeReport:
    file = PROJECT / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        raise ProbeError(f"{file.name}: no such stack file; name another with --stack, or write it")
    if jobs < 1:
        raise ProbeError(f"--jobs: {jobs} is not a number of endpoints; use 1 or more")
    site = from_file(file)
    topology = site.by_docker_host[0]
    started = time.monotonic()
    with vantages.vantages(topology, stack, proxmox_host(file), jobs) as driver:
        notes: list[str] = []
        findings = probe.run(topology, driver, lambda line: print(line, file=sys.stderr), notes.append)
        left_out = [*driver.left_out, *host.unasked(site)]
    try:
        findings, pairs = proof.compared(findings, proof.of_stack(stack, site), topology)
    except ProbeError as fault:
        # Without Pulumi, as in the timer on Docker-SRV, only declaration and live network are compared.
        left_out.append(f"the proof: {fault}")
        pairs = 0
    return report.ProbeReport(
        stack=stack,
        seconds=time.monotonic() - started,
        findings=findings,
        left_out=left_out,
        notes=[
            *notes,
            *host.notes(),
            *host.others(topology, there := host.containers()),
            *slots.states(topology, there),
        ]
        if topology.docker_host
        else [],
        pairs=pairs,
        published=topology.answered,
    )


def _is_docker_srv(stack: str) -> bool:
    """Whether this machine is the stack's Docker-SRV."""
    return bool(from_file(PROJECT / f"Pulumi.{stack}.yaml").docker_host) and not host.elsewhere()


def _metrics_file(given: Path, stack: str) -> Path:
    """Return the given file, else the one in the stack's own folder, which is created if missing."""
    if given != Path():
        return given
    file = Path(metrics_file(from_file(PROJECT / f"Pulumi.{stack}.yaml")))
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _replace(file: Path, text: str) -> None:
    """Replace a file atomically, so that no scrape reads half of it."""
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(file)


def proxmox_host(file: Path) -> str:
    """Return the host in the URL of the stack's Proxmox API."""
    endpoint = keys_of(file).get("proxmoxve:endpoint", "")
    try:
        return urlsplit(str(endpoint)).hostname or ""
    except ValueError:
        raise ProbeError(
            f"{file.name}: proxmoxve:endpoint is no URL; write it like https://pve.lan:8006/"
        ) from None


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Exit through the cleanup and ignore further signals."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, signal.SIG_IGN)
    raise SystemExit(_SIGNALLED + number)
