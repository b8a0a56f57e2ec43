"""Shows one run of Pulumi in a few lines: what it waits for, what it changed, what went wrong.

Pulumi writes its events, one JSON object a line, to the file of `--event-log`, as it does for the Automation
API. Its own output is kept in a log file.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

_VERBS: Final = {
    "create": ("to create", "created"),
    "import": ("to import", "imported"),
    "update": ("to update", "updated"),
    "replace": ("to replace", "replaced"),
    "create-replacement": ("to replace", "replaced"),
    "delete": ("to delete", "deleted"),
}
"""An operation of Pulumi's -> its name in a preview and after an update; other operations are not counted."""
_OWN: Final = ("pulumi:", "homelab-network:")
"""Types that stand for no real object: the stack, providers and components."""
_NAMED: Final = 8
"""A summary names up to as many resources of one kind of change, and counts more of them by type."""
_WAITED_FOR: Final = 3
"""How many resources a line about waiting names."""
_LINES: Final = 15
"""How many of the last lines are shown that a failed resource printed."""
_QUIET_SECONDS: Final = 30
"""How often a run without a terminal says what it waits for."""


@dataclass(kw_only=True)
class Progress:
    """The events of one run so far; `label` begins each of its lines, as in `pulumi up`."""

    label: str
    events: Path
    screen: TextIO = field(default_factory=lambda: sys.stdout)
    changed: dict[str, list[str]] = field(default_factory=dict)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)
    _at_work: dict[str, float] = field(default_factory=dict)
    _output: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _head: bytes = b""
    _read: int = 0
    _told: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Read the events that came since the last look, and show what the run waits for."""
        for event in self._new():
            self._take(event)
        waiting = self._waiting()
        if self.screen.isatty():
            self.screen.write(f"\r\033[K{waiting[: shutil.get_terminal_size().columns - 1]}")
            self.screen.flush()
        elif self._at_work and time.monotonic() - self._told > _QUIET_SECONDS:
            self._told = time.monotonic()
            print(waiting, file=self.screen, flush=True)

    def end(self) -> None:
        """Read the remaining events and print what changed and what went wrong."""
        for event in self._new():
            self._take(event)
        if self.screen.isatty():
            self.screen.write("\r\033[K")
        for line in (*self.summary(), *self.problems):
            print(line, file=self.screen, flush=True)

    def summary(self) -> Iterator[str]:
        """Yield a line for each kind of change, and one for what stayed."""
        for verb, urns in self.changed.items():
            named = len(urns) <= _NAMED
            what = sorted(map(_title, urns)) if named else list(_counted(urns))
            yield f"  {verb} {len(urns)}: {', '.join(what)}"
        if self.unchanged:
            yield f"  unchanged {self.unchanged}"

    def _new(self) -> Iterator[Mapping[str, Any]]:
        """Yield events that are written whole; an unfinished last line waits for the next look."""
        if not self.events.exists():
            return
        with self.events.open("rb") as file:
            if (head := file.readline()) != self._head:
                # `up` writes the file anew when it has previewed.
                self._head, self._read = head, 0
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event.get("preludeEvent"):
            # `up` previews first, and what that planned is not what is done.
            self.changed, self.unchanged, self._at_work = {}, 0, {}
        elif step := event.get("resourcePreEvent"):
            if step["metadata"]["op"] != "same":
                self._at_work[step["metadata"]["urn"]] = time.monotonic()
        elif step := event.get("resOutputsEvent") or event.get("resOpFailedEvent"):
            planned, failed = bool(step.get("planning")), "resOpFailedEvent" in event
            self._ended(step["metadata"], planned=planned, failed=failed)
        elif (said := event.get("diagnosticEvent")) and not said.get("ephemeral"):
            if said["severity"] in {"error", "warning"}:
                self._tell(said.get("urn", ""), said["severity"], said["message"])
            elif said["severity"] == "info":
                self._output[said.get("urn", "")].append(said["message"])
        elif said := event.get("policyEvent"):
            self._tell(said.get("resourceUrn", ""), said["policyName"], said["message"])

    def _ended(self, step: Mapping[str, Any], *, planned: bool, failed: bool) -> None:
        urn, operation = step["urn"], step["op"]
        self._at_work.pop(urn, None)
        if failed:
            self._tell(urn, "output", "".join(self._output[urn][-_LINES:]))
        if failed or _type(urn).startswith(_OWN):
            return
        if operation == "same":
            self.unchanged += 1
        elif verbs := _VERBS.get(operation):
            urns = self.changed.setdefault(verbs[not planned], [])
            if urn not in urns:
                urns.append(urn)

    def _tell(self, urn: str, what: str, message: str) -> None:
        text = re.sub(r"<\{%.*?%\}>", "", message).strip()
        where = f"{_title(urn)}: " if urn and not _type(urn).startswith(_OWN) else ""
        line = f"  {what}: {where}{text}".replace("\n", "\n    ")
        if text and line not in self.problems:
            self.problems.append(line)

    def _waiting(self) -> str:
        done = sum(map(len, self.changed.values())) + self.unchanged
        line = f"  {self.label}: {done} done"
        if not self._at_work:
            return line
        longest = sorted(self._at_work, key=self._at_work.__getitem__)
        names = [urn.rpartition("::")[2] for urn in longest[:_WAITED_FOR]]
        more = f" and {len(longest) - len(names)} more" if longest[_WAITED_FOR:] else ""
        seconds = time.monotonic() - self._at_work[longest[0]]
        return f"{line}; waiting for {', '.join(names)}{more} ({seconds:.0f} s)"


def _counted(urns: list[str]) -> Iterator[str]:
    for kind, count in sorted(Counter(map(_kind, urns)).items(), key=lambda each: (-each[1], each[0])):
        yield f"{count} {kind}"


def _title(urn: str) -> str:
    return f"{_kind(urn)} {urn.rpartition('::')[2]}"


def _type(urn: str) -> str:
    """Return a resource's own type from `urn:pulumi:stack::project::parent type$type::name`."""
    return urn.split("::", 3)[2].rpartition("$")[2]


def _kind(urn: str) -> str:
    """Return a type in words: `proxmoxve:firewall/rulesLegacy:RulesLegacy` is `firewall rules`."""
    package, _, rest = _type(urn).partition(":")
    folder, _, name = rest.rpartition(":")
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", name.removesuffix("Legacy")).lower()
    folder = folder.partition("/")[0]
    return words if folder in {"index", ""} or package != "proxmoxve" else f"{folder} {words}"
