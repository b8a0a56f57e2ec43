"""What the engine says of each resource: as declared, as the state has it, as it is live, and what `up` does.

Owns the reading of `pulumi preview --refresh --json`, which writes nothing. What a reader would get wrong: a
resource that differs has two steps in there. `refresh` holds the state as it is stored; the other leads from
what was found live to what is declared. Only both together tell a change by hand from one in the stack file.
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
    """Every difference between any two of the three; components are nowhere, so they can't differ."""
    real = [step for step in preview["steps"] if _is_real(step)]
    stored = {step["urn"]: step["oldState"] for step in real if step["op"] == "refresh"}
    for step in real:
        if step["op"] not in {"refresh", "same"}:
            yield from _of(step, stored.get(step["urn"]))


def is_empty(preview: Mapping[str, Any]) -> bool:
    """Whether the state holds nothing that could differ."""
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
        # The engine also names what it will only know afterwards, an address say.
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
    """The value at a path like `rules[0].source`; secrets arrive as `[secret]`."""
    value: Any = resource.get(part)
    for key in re.findall(r"[^.\[\]\"]+", path):
        if isinstance(value, list):
            value = value[int(key)] if key.isdecimal() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    text = " ".join(str("" if value is None else value).split()) or ABSENT
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
