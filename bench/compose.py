"""A compose file of a stack's Docker resources, so that both tools make the same things.

The translation covers the properties that `components.container` and `components.docker_networks` set; any
other one raises KeyError, because both tools must make the same containers.
Note: compose has no uploads, so files are mounted, which saves compose the copying.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resources.resource import Resource

_PLAIN = {
    "cgroupParent": "cgroup_parent",
    "command": "command",
    "dns": "dns",
    "image": "image",
    "name": "container_name",
    "readOnly": "read_only",
    "restart": "restart",
    "securityOpts": "security_opt",
    "sysctls": "sysctls",
    "user": "user",
}
"""Properties that differ in compose only by name."""
_TRANSLATED = {
    *("capabilities", "envs", "healthcheck", "labels", "logDriver", "logOpts", "memory", "memorySwap"),
    *("networksAdvanced", "ports", "tmpfs", "uploads", "volumes"),
}
_DEFAULTS = {"networkMode", "wait", "waitTimeout"}
"""Properties that are compose's default behaviour, or that the bench handles itself."""


def compose(resources: Iterable[Resource], folder: Path) -> dict[str, Any]:
    """Return the compose file; files that containers are given are written below the folder."""
    made: dict[str, dict[str, Any]] = {"services": {}, "networks": {}, "volumes": {}}
    for each in resources:
        match each.type:
            case "docker:index/container:Container":
                made["services"][each.name] = _escaped(_service(each.inputs, folder / each.name))
            case "docker:index/network:Network":
                made["networks"][each.inputs["name"]] = _network(each.inputs)
            case "docker:index/volume:Volume":
                made["volumes"][each.inputs["name"]] = {"name": each.inputs["name"]}
    return made


def _service(inputs: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if unknown := inputs.keys() - _PLAIN.keys() - _TRANSLATED - _DEFAULTS:
        raise KeyError(*unknown)
    service = {_PLAIN[key]: value for key, value in inputs.items() if key in _PLAIN}
    if health := inputs.get("healthcheck"):
        service["healthcheck"] = {
            "test": health["tests"],
            "start_period": health["startPeriod"],
            "interval": health["interval"],
            "timeout": health["timeout"],
            "retries": int(health["retries"]),
        }
    return service | {
        "cap_drop": inputs["capabilities"]["drops"],
        "environment": inputs.get("envs") or [],
        "labels": _labels(inputs),
        "logging": {"driver": inputs["logDriver"], "options": inputs["logOpts"]},
        "mem_limit": f"{inputs['memory']:.0f}m",
        "memswap_limit": f"{inputs['memorySwap']:.0f}m",
        "networks": {
            leg["name"]: {"ipv4_address": leg["ipv4Address"]} if leg.get("ipv4Address") else {}
            for leg in inputs["networksAdvanced"]
        },
        "ports": [
            f"{port['ip']}:{port['external']:.0f}:{port['internal']:.0f}/{port['protocol']}"
            for port in inputs.get("ports") or ()
        ],
        "tmpfs": [f"{path}:{options}" for path, options in inputs["tmpfs"].items()],
        "volumes": [
            *(_mounted(upload, folder) for upload in inputs.get("uploads") or ()),
            *(_volume(volume) for volume in inputs.get("volumes") or ()),
        ],
    }


def _mounted(upload: Mapping[str, str], folder: Path) -> str:
    file = folder / upload["file"].lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(upload["content"], encoding="utf-8")
    return f"{file}:{upload['file']}:ro"


def _volume(volume: Mapping[str, Any]) -> str:
    source = volume.get("volumeName") or volume["hostPath"]
    return f"{source}:{volume['containerPath']}:{'ro' if volume.get('readOnly') else 'rw'}"


def _labels(inputs: Mapping[str, Any]) -> dict[str, str]:
    return {each["label"]: each["value"] for each in inputs.get("labels") or ()}


def _network(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": inputs["name"],
        "driver": inputs["driver"],
        "internal": inputs.get("internal", False),
        "driver_opts": inputs["options"],
        "labels": _labels(inputs),
        "ipam": {"config": [dict(each) for each in inputs["ipamConfigs"]]},
    }


def _escaped(value: Any) -> Any:
    """Return a value with each `$` doubled, since compose would expand a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return {key: _escaped(each) for key, each in value.items()} if isinstance(value, dict) else value
