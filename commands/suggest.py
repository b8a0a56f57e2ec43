"""Undeclared flows that were tried, each with the line that would declare it, and declared ones without use.

Reads what Docker-SRV's own rules saw (`verify.learned`); run it there, as root. Exit status: 0 nothing was
tried, 1 something was, 2 the rules can't be read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from topology.config import NAMESPACE, ConfigError, from_file, from_keys, keys_of
from topology.model import Flow, Topology
from topology.project import PROJECT
from verify import host, learned
from verify.driver import ProbeError
from verify.learned import Learned, Seen

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def main(words: Sequence[str]) -> int:
    """Print the suggestions; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands suggest", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    file = PROJECT / f"Pulumi.{parser.parse_args(words).stack}.yaml"
    try:
        site = from_file(file)
        topology = site.by_docker_host[0]
        found = learned.of_host(topology)
    except (ConfigError, ProbeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(
        *suggestions(file, topology, found), *(f"# not looked at: {e}" for e in host.unasked(site)), sep="\n"
    )
    return int(bool(_tried(topology, found)))


def suggestions(file: Path, topology: Topology, found: Learned) -> Iterator[str]:
    """Yield lines for `flows` of the stack file, and what else there is to know as comments."""
    since = f"in the last {_time(min(found.age, learned.PERIOD))}" if found.age else "since an unknown time"
    tried, keys = _tried(topology, found), keys_of(file)
    yield f"# undeclared flows that were tried and dropped {since}: {len(tried)}"
    for each in tried:
        yield from _line(keys, each)
    if found.full:
        yield "# The kernel remembers no more tries than these; others were dropped without a trace."
    if found.paused:
        yield "# A probe runs, or a killed one ran within ten minutes: what is tried now is not seen."
    idle, unseen = learned.unused(topology, found)
    yield f"# declared flows without use {since}: {len(idle)}"
    yield from (f"#   - {flow}" for flow in idle)
    yield f"# declared flows whose use can't be seen here, as they stay on no Docker network: {len(unseen)}"


def _tried(topology: Topology, found: Learned) -> list[Seen]:
    """Return what was tried by name, without flows that were declared since."""
    declared = {str(flow) for flow in topology.flows}
    return [each for each in learned.named(topology, found.tried) if str(each) not in declared]


def _line(keys: Mapping[str, Any], seen: Seen) -> Iterator[str]:
    """Yield the line that would declare a flow; where it can't be or needs more, a comment that says so."""
    times = f"{seen.packets} packet{'s' * (seen.packets != 1)}, the last {_time(seen.ago)} ago"
    try:
        Flow.parse(str(seen))
    except ValueError:
        yield f"#   {seen}: {times}; an end is no service of the stack"
        return
    flows = f"{NAMESPACE}:flows"
    try:
        from_keys({**keys, flows: [*keys[flows], str(seen)]})
    except ConfigError as refused:
        yield f"#   - {seen}  # {times}; with this line:"
        yield from (f"#       {re.sub(r'^flows.[0-9]+.: ', '', str(fault))}" for fault in refused.faults)
    else:
        yield f"    - {seen}  # {times}"


def _time(span: timedelta) -> str:
    """Return a span in its largest unit, as `3 h`."""
    seconds = max(int(span.total_seconds()), 0)
    return next((f"{seconds // size} {unit}" for unit, size in _UNITS if seconds >= size), "0 s")
