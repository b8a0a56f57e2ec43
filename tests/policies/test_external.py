"""Machines that are there already: a NAS on a guests' VLAN, and the household's network beyond the router."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

from reachability.engine import Reachability
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import Stack, run
from tests.site import changed
from topology.config import load
from topology.index import TopologyIndex

PUBLIC = ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")
FLOWS = (
    "lan -> traefik:8443/tcp",
    "lan -> jellyfin:8096/tcp",
    "jellyfin -> nas:2049/tcp",
    "stirling-pdf -> printer:631/tcp",
)


def keys() -> dict[str, Any]:
    """Return the sound site with external machines, and its tools for the household alone."""
    values = changed(
        {
            "zones.lan": {"role": "external", "prefix": "192.168.20.0/24"},
            "zones.nas": {"role": "external", "prefix": "10.10.20.16/32", "ports": [2049]},
            "zones.printer": {"role": "external", "prefix": "192.168.30.9/32", "ports": [631]},
            "services.traefik.ports": [80, 443, 8443],
            "services.grafana.audience": ["lan"],
            "services.prometheus-ui.audience": ["internet"],
            **{f"services.{name}.audience": ["internet"] for name in PUBLIC},
        }
    )
    values["flows"] += FLOWS
    values["unencrypted"] += [
        {"flow": flow, "reason": "its machines speak no TLS"} for flow in FLOWS if "jellyfin:" in flow
    ]
    return values


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources."""
    return tuple(run(keys()))


def stack() -> Stack:
    """Return a fresh copy of the sound stack."""
    return Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=keys())


@cache
def reachability() -> Reachability:
    """Return the engine on the sound stack's facts."""
    return Graph(tuple(map(view, made())), TopologyIndex.of(load(keys()))).reachability
