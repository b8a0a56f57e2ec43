"""The drift of each resource, from `pulumi preview --refresh --json`, which writes nothing.

Note: the preview has two steps for a resource that differs. `refresh` holds the stored state; the other step
goes from the live resource to the declared one. Only both together distinguish a change made by hand from a
change in the stack file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Step = Mapping[str, Any]

ABSENT: Final = "-"
_VERBS: Final = {"create": "creates it", "delete": "deletes it", "update": "changes it back"}
_LONGEST: Final = 40


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One difference; `remedy` is what `up` does about it."""

    what: str
    declared: str
    state: str
    live: str
    remedy: str


def drifts(preview: Mapping[str, Any]) -> Iterator[Drift]:
    """Yield each difference between declaration, state and live network; components exist in none of them."""
    real = [step for step in preview["steps"] if _is_real(step)]
    stored = {step["urn"]: step["oldState"] for step in real if step["op"] == "refresh"}
    for step in real:
        if step["op"] not in {"refresh", "same"}:
            yield from _of(step, stored.get(step["urn"]))


def is_empty(preview: Mapping[str, Any]) -> bool:
    """Whether the state holds no resource that could differ."""
    return not any(step["op"] == "refresh" and _is_real(step) for step in preview["steps"])


def _is_real(step: Step) -> bool:
    resource = step.get("newState") or step.get("oldState") or {}
    return bool(resource.get("custom")) and not resource["type"].startswith("pulumi:providers:")


def _of(step: Step, stored: Step | None) -> Iterator[Drift]:
    kind, name = step["urn"].split("::")[-2:]
    what = f"{name} ({kind.rpartition(':')[2].removesuffix('Legacy')})"
    declared, live = step.get("newState"), step.get("oldState")
    remedy = _VERBS.get(step["op"], "replaces it")
    if not (declared and live):
        there = ["there" if one else ABSENT for one in (declared, stored, live)]
        yield Drift(what=what, declared=there[0], state=there[1], live=there[2], remedy=remedy)
        return
    set_by_program = {*declared.get("inputs", {}), *live.get("inputs", {})}
    for path in step.get("detailedDiff") or step.get("diffReasons") or ["somewhere"]:
        # Pulumi also lists properties that are known only after the update, such as an address.
        if path in step.get("detailedDiff", {}) and re.split(r"[.\[]", path)[0] not in set_by_program:
            continue
        yield Drift(
            what=f"{what} {path}",
            declared=_value(declared, path, "inputs"),
            state=_value(stored or {}, path, "outputs"),
            live=_value(live, path, "outputs"),
            remedy=remedy,
        )


def _value(resource: Step, path: str, part: str) -> str:
    """Return the value at a path like `rules[0].source`; secrets arrive as `[secret]`."""
    value: Any = resource.get(part)
    for key in re.findall(r"[^.\[\]\"]+", path):
        if isinstance(value, list):
            value = value[int(key)] if key.isdecimal() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    text = " ".join(str("" if value is None else value).split()) or ABSENT
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
