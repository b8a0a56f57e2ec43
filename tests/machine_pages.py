"""Sites with the page of a machine that is there already: the sound site's keys with a NAS."""

from __future__ import annotations

from typing import Any

from tests.egress import ZONE, with_egress
from tests.site import configuration

FLOWS = ("traefik -> nas-page:8080/tcp", "nas-page -> nas:5001/tcp")
NAS = {
    "role": "external",
    "prefix": "192.168.30.9/32",
    "ports": [5001, 22],
    "host": "nas.lan",
    "ca-file": "$HOMELAB_STATE/tls/ca.crt",
}
PAGE: dict[str, Any] = {
    "app": "machine-page",
    "zones": ["frontend", "egress"],
    "image": "nginx:1.29.1",
    "ports": [8080],
    "host": "nas",
    "memory": 32,
}


def keys(zone: dict[str, Any] | None = None, **page: Any) -> dict[str, Any]:
    """Return the sound site's keys with the page of a NAS, for management alone unless told otherwise."""
    config = with_egress(configuration(), *FLOWS, "management -> traefik:8443/tcp")
    config["services"]["traefik"] = {**config["services"]["traefik"], "ports": [80, 443, 8443]}
    for flow in config["flows"]:
        name = f"{flow}".partition(" -> ")[2].partition(":")[0]
        if f"{flow}".startswith("traefik -> ") and name in config["services"]:
            config["services"][name] = {"audience": ["internet"], **config["services"][name]}
    config["zones"] = {**config["zones"], "egress": ZONE, "nas": {**NAS, **(zone or {})}}
    config["services"]["nas-page"] = {**PAGE, "audience": ["management"], **page}
    return config
