"""Sites of any size: half of the services are containers, half guests, each with a declared flow.

Note: names are short because Pulumi passes a Python program its configuration in one environment variable,
which Linux limits to 128 KiB.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from topology.project import PROJECT

_GUESTS_A_ZONE = 50


def containers(count: int) -> dict[str, Any]:
    """Return the dev stack's keys with the given number of containers added."""
    config = keys(0)
    _add_containers(config, count)
    return config


def keys(services: int, stack: Path = PROJECT / "Pulumi.dev.yaml") -> dict[str, Any]:
    """Return a stack file's keys, by default the dev stack's, with the given number of services added."""
    file = yaml.safe_load(stack.read_text(encoding="utf-8"))["config"]
    config = {
        key.partition(":")[2]: value for key, value in file.items() if key.startswith("homelab-network:")
    }
    config["zones"]["frontend"]["prefix"] = "172.16.0.0/16"
    for name in ("site-1", "site-2"):
        config["services"][name]["ca-file"] = os.devnull
    _add_containers(config, services // 2)
    for index in range(services - services // 2):
        tag, place = divmod(index, _GUESTS_A_ZONE)
        zone, prefix = f"z{tag}", IPv4Network(((10 << 24) + (100 << 16) + (tag << 8), 24))
        config["zones"].setdefault(
            zone, {"role": "tenant", "vlan": 100 + tag, "prefix": str(prefix), "ingress": str(prefix[2])}
        )
        config["services"][f"g{index}"] = {
            "zone": zone,
            "vmid": 1000 + index,
            "address": str(prefix[10 + place]),
            "ports": [80],
            "ca-file": os.devnull,
        }
        config["flows"].append(f"traefik -> g{index}:80")
    return config


def _add_containers(config: dict[str, Any], count: int) -> None:
    for index in range(count):
        config["services"][f"e{index}"] = {"zones": ["frontend"], "image": "e:1", "ports": [9]}
        config["flows"].append(f"grafana -> e{index}:9")
