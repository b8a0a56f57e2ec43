"""Undeclared flows that were tried, each with the line that would declare it, and declared ones without use.

Reads what Docker-SRV's own rules saw (`verify.learned`); run it there, as root. Where guests are observed it
reads the nodes' firewall logs as well (`verify.guest_log`), by Proxmox's API. Exit status: 0 nothing was
tried, 1 something was, 2 the rules or a log can't be read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from survey.errors import SurveyError
from survey.proxmox_api import ProxmoxApi
from topology.config import NAMESPACE, ConfigError, from_file, from_keys, keys_of
from topology.model import Flow, Topology
from topology.project import PROJECT
from verify import guest_log, host, inventory, learned
from verify.driver import ProbeError
from verify.guest_log import GuestLog
from verify.learned import Learned, Seen

_PAGE: Final = 5000
"""Lines of a log in one answer, more than the one line by which Proxmox says that there are none."""
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def main(words: Sequence[str]) -> int:
    """Print the suggestions; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands suggest", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    file = PROJECT / f"Pulumi.{parser.parse_args(words).stack}.yaml"
    try:
        topology = from_file(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    parts = [_of_guests] if topology.observed_guests else []
    if topology.docker_host or not parts:
        parts.insert(0, _of_host)
    status = 0
    for part in parts:
        try:
            tried, lines = part(file, topology)
        except (ProbeError, SurveyError) as error:
            print(error, file=sys.stderr)
            status = 2
        else:
            print(*lines, sep="\n")
            status = max(status, int(bool(tried)))
    return status


def _of_host(file: Path, topology: Topology) -> tuple[list[Seen], Iterator[str]]:
    """Return what was tried on Docker-SRV, and the lines about it; raises ProbeError."""
    first = topology.by_docker_host[0]
    found = learned.of_host(first)
    others = (f"# not looked at: {each}" for each in host.unasked(topology))
    return _tried(first, found.tried), chain(suggestions(file, first, found), others)


def _of_guests(file: Path, topology: Topology) -> tuple[list[Seen], Iterator[str]]:
    """Return what observed guests tried, and the lines about it; raises ProbeError or SurveyError."""
    try:
        url, token = inventory.login(file.stem.removeprefix("Pulumi."))
    except ProbeError as fault:
        both = "PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN"
        raise ProbeError(
            f"{fault}\nGuests are observed, and their log needs {both}, or the stack's."
        ) from None
    with closing(ProxmoxApi(url, token)) as api:
        now = datetime.now(UTC)
        found = guest_log.read(topology, [*logged(api, topology, now - learned.PERIOD)], now)
    return _tried(topology, found.tried), of_guests(file, topology, found)


def logged(api: ProxmoxApi, topology: Topology, since: datetime) -> Iterator[str]:
    """Yield the lines of the firewall's log on each node with an observed guest; raises ProbeError."""
    for node in sorted({topology.node_of(guest).node for guest in topology.observed_guests}):
        for start in count(0, _PAGE):
            asked = f"since={int(since.timestamp())}&start={start}&limit={_PAGE}"
            rows = api.get(f"nodes/{node}/firewall/log?{asked}", [])
            yield from (str(row["t"]) for row in rows)
            if len(rows) < _PAGE:
                break
        if api.refused or api.unanswered:
            raise ProbeError(
                f"{node}: gives no log of its firewall; grant the token Sys.Syslog on /nodes/{node}, beside "
                "what it has on / (docs/suggest.md)"
            )


def of_guests(file: Path, topology: Topology, found: GuestLog) -> Iterator[str]:
    """Yield lines for `flows` of the stack file about observed guests."""
    since = f"logged in the last {_time(found.age)}" if found.age else "logged"
    tried = _tried(topology, found.tried)
    yield f"# undeclared flows of observed guests that passed and were {since}: {len(tried)}"
    yield from _lines(file, tried)
    if found.others:
        yield f"# other packets of theirs, which no flow is (pings, IPv6, old connections): {found.others}"


def suggestions(file: Path, topology: Topology, found: Learned) -> Iterator[str]:
    """Yield lines for `flows` of the stack file, and what else there is to know as comments."""
    since = f"in the last {_time(min(found.age, learned.PERIOD))}" if found.age else "since an unknown time"
    tried = _tried(topology, found.tried)
    yield f"# undeclared flows that were tried and dropped {since}: {len(tried)}"
    yield from _lines(file, tried)
    if found.full:
        yield "# The kernel remembers no more tries than these; others were dropped without a trace."
    if found.paused:
        yield "# A probe runs, or a killed one ran within ten minutes: what is tried now is not seen."
    idle, unseen = learned.unused(topology, found)
    yield f"# declared flows without use {since}: {len(idle)}"
    yield from (f"#   - {flow}" for flow in idle)
    yield f"# declared flows whose use can't be seen here, as they stay on no Docker network: {len(unseen)}"


def _tried(topology: Topology, seen: tuple[Seen, ...]) -> list[Seen]:
    """Return what was tried by name, without flows that were declared since."""
    declared = {str(flow) for flow in topology.flows}
    return [each for each in learned.named(topology, seen) if str(each) not in declared]


def _lines(file: Path, tried: Iterable[Seen]) -> Iterator[str]:
    keys = keys_of(file)
    for each in tried:
        yield from _line(keys, each)


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
