"""What a container declares in the Compose specification's words, in the docker provider's spelling."""

from __future__ import annotations

from typing import Any, Final

from topology.model import Container, Healthcheck, Mount

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


def mount(declared: Mount, physical: str) -> dict[str, Any]:
    """Return a mount of a service's container; `physical` is the container's name."""
    place = (
        {"hostPath": declared.source} if declared.is_bind else {"volumeName": f"{physical}-{declared.source}"}
    )
    return {"containerPath": declared.target, **place, **({"readOnly": True} if declared.read_only else {})}


def volumes(service: Container) -> tuple[str, ...]:
    """Return the names of a service's declared volumes, without the container's name before them."""
    return tuple(dict.fromkeys(each.source for each in service.volumes if not each.is_bind))
