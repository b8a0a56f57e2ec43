"""Sites with a router: the sound site behind one, and small ones drawn at random."""

from __future__ import annotations

from typing import Any

from tests.site import configuration

DOCKER, NODE, WAN = "10.10.1.4", "10.10.1.5", "192.168.1.2"


def routed(system: str = "linux") -> dict[str, Any]:
    """Return the keys of the sound site behind a router, with flows that cross it in every direction."""
    config = configuration()
    config["hosts"]["docker-srv"]["address"] = DOCKER
    config["hosts"]["router"] = {
        "kind": "router",
        "system": system,
        "legs": {
            "management": "eth1",
            "wordpress": "eth1.10",
            "apps": {"interface": "eth1.20", "address": "10.10.20.254"},
            "vault": "eth1.30",
        },
        "wan": {"interface": "eth0", "address": WAN},
        "ports": [22, "53/udp"],
    }
    config["zones"]["household"] = {"role": "external", "prefix": "192.168.1.0/24", "ports": [631]}
    config["services"]["jellyfin"]["ports"] = [8096, 22]
    config["services"]["site-1"]["ports"] = [443]
    config["flows"] += [
        "management -> router:22/tcp",
        "site-1 -> router:53/udp",
        "site-1 -> internet:443/tcp",
        "site-2 -> household:631/tcp",
        "jellyfin -> site-1:443/tcp",
        "management -> jellyfin:22/tcp",
        "household -> jellyfin:8096/tcp",
    ]
    return config
