"""Adds unreachable routes for the lab's test ranges before anything else uses them.

A probe to a missing network then fails on this machine instead of leaving by the default route. The added
routes are recorded in `RUN/routes.json`, and only these are removed. Their metric is near the highest, so a
range's own connected route takes precedence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

from lab import paths
from lab.daemon import write
from lab.errors import LabError
from lab.process import run

# Below the kernel's 2**32 - 1, and unlikely to be used by another program.
METRIC = 4_278_255_360


def add(prefixes: Iterable[IPv4Network]) -> None:
    """Make each prefix unreachable unless a connected route exists; idempotent."""
    present = _present()
    fresh = sorted({str(prefix) for prefix in prefixes} - present)
    # Recorded before they are added, so that `remove` knows them even after a kill in between.
    write(_record(), json.dumps(sorted({*_recorded(), *fresh})))
    for prefix in fresh:
        run(
            ["ip", "route", "add", "unreachable", prefix, "metric", str(METRIC)],
            f"unreachable route {prefix}",
        )


def remove() -> None:
    """Remove the routes that `add` made and that still exist."""
    for prefix in _present() & _recorded():
        run(
            ["ip", "route", "del", "unreachable", prefix, "metric", str(METRIC)],
            f"unreachable route {prefix}",
        )
    _record().unlink(missing_ok=True)


def _record() -> Path:
    return paths.RUN / "routes.json"


def _recorded() -> set[str]:
    try:
        return {str(prefix) for prefix in json.loads(_record().read_text())}
    except FileNotFoundError:
        return set()
    except ValueError as fault:
        raise LabError(f"{_record()}: not JSON; remove it, and its routes with `ip route del`") from fault


def _present() -> set[str]:
    listed = json.loads(run(["ip", "-json", "route", "show", "type", "unreachable"], "routes") or "[]")
    # `ip` writes a /32 without its length.
    return {str(IPv4Network(route["dst"])) for route in listed if route.get("metric") == METRIC}
