"""The sound site with a second Docker host."""

from __future__ import annotations

from typing import Any

from tests.site import changed, configuration


def site() -> dict[str, Any]:
    """Return the keys of the site: the second host has a worker that leaves the site, and its database."""
    docker = [name for name, zone in configuration()["zones"].items() if zone["prefix"].startswith("172.")]
    image = "docker.io/library/busybox:1.37.0"
    values = changed(
        {
            **{f"zones.{name}.docker-host": "docker-srv" for name in docker},
            "hosts.docker-srv.address": "10.10.1.5",
            "hosts.docker-2": {
                "kind": "docker",
                "address": "10.10.1.8",
                "ssh": {"address": "10.10.1.8", "host-key": "ssh-ed25519 AAAA"},
                "closed": True,
                "ports": [22],
                "name-servers": ["9.9.9.9"],
            },
            "zones.data": {"role": "backend", "prefix": "172.31.1.0/24", "docker-host": "docker-2"},
            "zones.jobs": {"role": "egress", "prefix": "172.31.2.0/24", "docker-host": "docker-2"},
            "services.store": {"zones": ["data"], "image": image, "ports": [5432], "volumes": ["rows:/rows"]},
            "services.worker": {"zones": ["data", "jobs"], "image": image},
            "flows[+]": "management -> docker-2:22/tcp",
        }
    )
    flow = "worker -> store:5432/tcp"
    values["flows"] += [flow, "worker -> internet:443/tcp", "worker -> internet:53/udp"]
    values["unencrypted"].append({"flow": flow, "reason": "within one network of one host"})
    return values
