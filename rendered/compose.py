"""What a container declares in the Compose specification's words, in the docker provider's spelling."""

from __future__ import annotations

from typing import Any, Final

from topology.limits import NO_FORWARDING
from topology.model import Container, Healthcheck, Mount, Scratch, Topology

_EVERY: Final = 30_000
"""Milliseconds that the engine waits between two checks, and for one, where nothing is declared."""
_RETRIES: Final = 3
_LEAST: Final = 120
"""Seconds that `up` waits for a new container's first passing health check, at least."""


def span(milliseconds: int | None) -> str | None:
    """Return a length of time as Go prints it, which is what the provider reads back: `1m30s`, `1h0m0s`."""
    if milliseconds is None:
        return None
    if milliseconds < 1000:  # noqa: PLR2004  # a second
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") if rest % 1000 else str(rest // 1000)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{before}{seconds}s"


def healthcheck(declared: Healthcheck) -> dict[str, Any]:
    """Return a declared health check; what is left out is the engine's own."""
    if declared.is_off:
        return {"tests": ["NONE"]}
    found = {
        "tests": list(declared.test),
        "interval": span(declared.interval),
        "timeout": span(declared.timeout),
        "retries": declared.retries,
        "startPeriod": span(declared.start_period),
        "startInterval": span(declared.start_interval),
    }
    return {key: value for key, value in found.items() if value is not None}


def healthy_within(declared: Healthcheck | None) -> int:
    """Return the seconds that a new container has until its first passing check."""
    if declared is None:
        return _LEAST
    tries = (declared.retries or _RETRIES) * ((declared.interval or _EVERY) + (declared.timeout or _EVERY))
    return max(_LEAST, ((declared.start_period or 0) + tries) // 1000)


def mount(topology: Topology, declared: Mount) -> dict[str, Any]:
    """Return a mount of a container."""
    place = (
        {"hostPath": declared.source}
        if declared.is_bind
        else {"volumeName": topology.named_volumes.name(declared.source)}
    )
    return {"containerPath": declared.target, **place, **({"readOnly": True} if declared.read_only else {})}


def volumes(topology: Topology, service: Container) -> dict[str, dict[str, str] | None]:
    """Return the volumes that the stack makes with a service: name in it -> options of the driver."""
    named = topology.named_volumes
    return {source: named.options(source) for source in named.made_with(service)}


def scratch(service: Container) -> dict[str, str]:
    """Return the folders in memory: /tmp, unless something else is there, and the declared ones."""
    mounted = {each.target for each in service.volumes}
    folders = (*(Scratch.model_validate(_TMP),), *service.tmpfs)
    return {
        each.target: f"rw,noexec,nosuid,nodev,size={_size(each.size)},mode={each.mode}"
        for each in folders
        if each.target not in mounted
    }


_TMP: Final = "/tmp:size=64m,mode=1777"  # noqa: S108  # a path in the container


def _size(count: int) -> str:
    return f"{count // 1024**2}m" if count % 1024**2 == 0 else f"{-(-count // 1024)}k"


def limits(topology: Topology, service: Container) -> dict[str, Any]:
    """Return limits, names and privileges; None for what is left out."""
    grace = service.stop_grace_period and -(-service.stop_grace_period // 1000)
    # Any machine on the VLAN could use a leg as its router.
    forwarding = NO_FORWARDING if topology.legs.of(service.name) else {}
    return {
        "workingDir": service.working_dir,
        "init": True if service.init else None,
        "tmpfs": scratch(service),
        "shmSize": service.shm_size,
        "ulimits": [
            {"name": name, "soft": limit.soft, "hard": limit.hard} for name, limit in service.ulimits.items()
        ]
        or None,
        "sysctls": {**service.sysctls, **forwarding} or None,
        "hosts": [{"host": name, "ip": str(ip)} for name, ip in service.extra_hosts.items()] or None,
        "stopSignal": service.stop_signal,
        "stopTimeout": grace,
        "destroyGraceSeconds": grace,
        "capabilities": {"drops": ["ALL"], **({"adds": list(service.cap_add)} if service.cap_add else {})},
        "devices": [
            {"hostPath": each.source, "containerPath": each.target, "permissions": each.permissions}
            for each in service.devices
        ]
        or None,
        "cpus": service.cpus,
    }
