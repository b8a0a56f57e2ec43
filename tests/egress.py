"""Sites with containers that reach the internet: the sound site's keys with an egress zone and flows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ZONE = {"role": "egress", "prefix": "172.30.9.0/24"}
PAPERLESS: Mapping[str, Any] = {
    "zones": ["frontend", "egress"],
    "image": "paperless:2.20.0",
    "ports": [8000],
}
"""A service that the ingress reaches and that goes out."""
CRAWLER: Mapping[str, Any] = {"zones": ["backend", "egress"], "image": "crawler:1.4.0"}
"""A service behind the frontend that goes out; nothing reaches it."""
FLOWS = (
    "traefik -> paperless:8000/tcp",
    "paperless -> internet:443/tcp",
    "paperless -> internet:53/udp",
    "crawler -> internet:80/tcp",
    "crawler -> internet:53/udp",
)


def with_egress(config: Mapping[str, Any], *flows: object) -> dict[str, Any]:
    """Return a site's keys with two containers that go out, each on its own ports, and further flows."""
    hosts = dict(config["hosts"])
    hosts["docker-srv"] = {**hosts["docker-srv"], "name-servers": ["9.9.9.9"]}
    return {
        **config,
        "hosts": hosts,
        "zones": {**config["zones"], "egress": ZONE},
        "services": {**config["services"], "paperless": {**PAPERLESS}, "crawler": {**CRAWLER}},
        "flows": [*config["flows"], *FLOWS, *flows],
    }


MACHINES: Mapping[str, Any] = {"role": "external", "prefix": "192.168.77.0/24", "ports": [444]}


def with_machines(config: Mapping[str, Any], *flows: object) -> dict[str, Any]:
    """Return the same keys with external machines that the crawler asks, and nothing else outside."""
    found = with_egress(config, "crawler -> machines:444/tcp", *flows)
    found["flows"] = [flow for flow in found["flows"] if not f"{flow}".startswith("crawler -> internet:")]
    return {**found, "zones": {**found["zones"], "machines": MACHINES}}
