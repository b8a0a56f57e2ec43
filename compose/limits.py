"""Limits, privileges, names and labels of a service."""

from __future__ import annotations

import re
from typing import Any, Final

from compose.outcome import Draft, Noted, Outcome, is_tainted, listed
from compose.secrecy import is_secret
from compose.words import if_valid, pairs
from topology.compose_words import REFUSED
from topology.host_folders import within
from topology.limits import HARMLESS_CAPABILITIES, HARMLESS_SYSCTL
from topology.scratch import SOCKETS
from topology.versions import software

TAKEN: Final = ("init", "shm_size", "ulimits", "stop_signal", "stop_grace_period", "working_dir", "cpus")
HOST_MODES: Final = {
    "pid": "let it ask what it watches over the network, like an exporter",
    "ipc": "write shm_size, or let it talk over the network",
    "uts": "leave it out",
    "userns_mode": "leave it out",
    "cgroup": "leave it out",
}
_SIZES: Final = {
    "": 1,
    "b": 1,
    "k": 1024,
    "kb": 1024,
    "m": 1024**2,
    "mb": 1024**2,
    "g": 1024**3,
    "gb": 1024**3,
}


def limits(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Take memory, processors and what a stack file takes as it is; MiB where the file sets no limit."""
    deploy = service.get("deploy") if isinstance(service.get("deploy"), dict) else {}
    resources = deploy.get("resources") or {} if isinstance(deploy, dict) else {}
    limits = resources.get("limits") or {}
    size = re.fullmatch(
        r"(\d+(?:\.\d+)?) ?([a-z]*)", str(service.get("mem_limit") or limits.get("memory") or "").lower()
    )
    if size and size[2] in _SIZES:
        draft.keys["memory"] = max(16, int(float(size[1]) * _SIZES[size[2]]) // 1024**2)
    else:
        draft.keys["memory"] = Noted(512, "guessed: the file sets no limit; MiB")
    if limits.get("cpus"):
        if_valid(draft, "cpus", limits["cpus"], outcome)
    for key in TAKEN:
        if service.get(key) not in (None, False, [], {}):
            if_valid(draft, key, service[key], outcome)
    if service.get("read_only") is True and not draft.keys.keys() & {"files", "secrets"}:
        draft.keys["read_only"] = True
    for each in listed(service.get("tmpfs")):
        kept = [
            part for part in str(each).partition(":")[2].split(",") if part.startswith(("size=", "mode="))
        ]
        draft.keys.setdefault("tmpfs", []).append(
            f"{str(each).partition(':')[0]}{':' if kept else ''}{','.join(kept)}"
        )
    if socket := SOCKETS.get(software(draft.image)):
        _let_write(draft, socket)
    path = f"services.{draft.name}"
    devices = (resources.get("reservations") or {}).get("devices")
    if devices or service.get("gpus"):
        outcome.refuse(f"{path}.gpus", "would give it devices by request", "name each device in devices")
    count = service.get("scale") or (deploy or {}).get("replicas")
    if count not in (None, 1, "1"):
        outcome.refuse(f"{path}.scale", *REFUSED["scale"])


def _let_write(draft: Draft, folder: str) -> None:
    """Give a program a folder in memory, unless the file has a place for it there."""
    mounts = [str(getattr(each, "value", each)).split(":") for each in draft.keys.get("volumes", ())]
    there = [str(each).partition(":")[0] for each in draft.keys.get("tmpfs", ())]
    if not any(within(folder, place) for place in (*there, *(target for _, target, *_ in mounts))):
        draft.keys.setdefault("tmpfs", []).append(Noted(folder, "certain: its socket is there"))


def privileges(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:  # noqa: C901  # a list
    """Take harmless capabilities; refuse what weakens, with the exception that it would need."""
    path = f"services.{draft.name}"
    if service.get("privileged"):
        outcome.refuse(f"{path}.privileged", *REFUSED["privileged"])
    for key, remedy in HOST_MODES.items():
        if str(service.get(key) or "") == "host" or str(service.get(key) or "").startswith(
            ("container:", "service:")
        ):
            outcome.refuse(f"{path}.{key}", "would share a namespace of the host or of another", remedy)
    adds = []
    for each in listed(service.get("cap_add")):
        name = str(each).upper().removeprefix("CAP_")
        if name in HARMLESS_CAPABILITIES:
            adds.append(name)
            continue
        remedy = (
            "leave it out" if name == "ALL" else "run it in a guest, or add the exception below and the line"
        )
        refusal = (f"{path}.cap_add", f"CAP_{name} reaches beyond the container", remedy)
        if name == "ALL":
            outcome.refuse(*refusal)
        elif outcome.takes(refusal, "no-privileges", draft.name, f"it needs CAP_{name}, because …"):
            adds.append(name)
    if adds:
        draft.keys["cap_add"] = adds
    for each in listed(service.get("devices")):
        text = str(each.get("source", "")) if isinstance(each, dict) else str(each)
        source = text.partition(":")[0]
        remedy = "put it into a guest, or add the exception below and the line"
        refusal = (f"{path}.devices", f"{source} is a device of the host", remedy)
        if outcome.takes(refusal, "no-devices", draft.name, f"it uses {source}"):
            draft.keys.setdefault("devices", []).append(text)
    for option in listed(service.get("security_opt")):
        if not str(option).startswith("no-new-privileges") or str(option).endswith("false"):
            outcome.refuse(f"{path}.security_opt", "would change a protection", "leave it out")


def names_and_labels(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Take further hosts, kernel settings and labels that lead nowhere else."""
    path = f"services.{draft.name}"
    hosts = {}
    given = service.get("extra_hosts")
    entries = (
        given.items()
        if isinstance(given, dict)
        else (tuple(re.split("[:=]", str(each), maxsplit=1)) for each in listed(given))
    )
    for name, *rest in entries:
        address = str(rest[0]) if rest else ""
        if address == "host-gateway":
            remedy = "declare a flow to the service instead, or put both on Docker networks"
            outcome.refuse(f"{path}.extra_hosts", f"{name} would be the host", remedy)
        else:
            hosts[str(name)] = address
    if hosts:
        if_valid(draft, "extra_hosts", hosts, outcome)
    if service.get("dns"):
        remedy = "write name-servers of the Docker host, which containers in an egress zone ask"
        outcome.refuse(f"{path}.dns", "would ask a name server of its own", remedy)
    sysctls = pairs(service.get("sysctls"))
    for name in sysctls:
        if not HARMLESS_SYSCTL.fullmatch(name):
            outcome.refuse(f"{path}.sysctls", f"{name} may open a path", "leave it out, or use a guest")
    kept = {name: str(value) for name, value in sysctls.items() if HARMLESS_SYSCTL.fullmatch(name)}
    if kept:
        draft.keys["sysctls"] = kept
    labels = {
        name: str(value)
        for name, value in pairs(service.get("labels")).items()
        if not name.lower().startswith(("traefik.", "com.docker.", "homelab-network.", "org.opencontainers."))
    }
    clear = {
        name: text for name, text in labels.items() if not is_secret(name, text) and not is_tainted(text)
    }
    if len(clear) < len(labels):
        outcome.refuse(
            f"{path}.labels", "holds a secret, which every inspection shows", "leave that label out"
        )
    if clear:
        draft.keys["labels"] = clear
