"""A stack file in the making: sections with comments, which the loader judges before they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from compose.keys import plain
from compose.lines import entry, flow
from compose.outcome import Noted
from survey.errors import SurveyError
from topology.config import NAMESPACE, ConfigError, Fault, load
from topology.model import Topology

_DAYS: Final = 30
"""How long what should not stay may stay."""
_NEEDED: Final = frozenset({"zones", "zone", "image", "vmid", "address", "kind", "ostemplate"})
"""Keys without which a service is none, so a fault in one leaves the service out."""
_ROUNDS: Final = 50


@dataclass
class Stack:
    """The sections of one file; each value may be Noted, which prints its comment."""

    today: date
    domain: str = "home.example"
    tls: dict[str, Any] | None = None
    endpoint: str = ""
    """URL of the Proxmox API; empty without one."""
    hosts: dict[str, Any] = field(default_factory=dict)
    zones: dict[str, Any] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, Any] = field(default_factory=dict)
    flows: list[Noted] = field(default_factory=list)
    proposed: list[str] = field(default_factory=list)
    """Lines of flows that are comments: nothing is known to need them."""
    unencrypted: list[dict[str, str]] = field(default_factory=list)
    exceptions: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What was found and is not declared, a line each."""
    commands: list[str] = field(default_factory=list)
    """What hands the secrets over, a command each."""

    @property
    def until(self) -> str:
        """The last day of what should not stay."""
        return (self.today + timedelta(days=_DAYS)).isoformat()

    def flow(self, text: str, why: str) -> None:
        """Propose a flow, once."""
        if not any(_text(each) == text for each in self.flows):
            self.flows.append(Noted(text, why))

    def passing(self, text: str, reason: str) -> None:
        """Propose a flow that ends, once."""
        if not any(_text(each) == text for each in self.flows):
            self.flows.append(Noted({"flow": text, "until": self.until, "reason": reason}, "should not stay"))

    def ends(self) -> set[tuple[str, str, str]]:
        """Return source, destination and port of each flow."""
        return {_split(_text(each)) for each in self.flows}

    def excepted(self, rule: str, resource: str, reason: str) -> None:
        """Declare an exception with a near end, one for a rule and a resource."""
        if not any((each["rule"], each["resource"]) == (rule, resource) for each in self.exceptions):
            each = {"rule": rule, "resource": resource, "reason": reason, "owner": "you"}
            self.exceptions.append({**each, "expires": self.until})

    def values(self) -> dict[str, Any]:
        """Return the sections as a stack file's keys, without those that are empty."""
        found = {
            "domain": self.domain,
            "hosts": self.hosts,
            "tls": self.tls,
            "zones": self.zones,
            "services": self.services,
            "volumes": self.volumes,
            "flows": self.flows,
            "unencrypted": self.unencrypted,
            "exceptions": self.exceptions,
        }
        needed = {"domain", "hosts", "zones", "services", "flows"}
        return {key: plain(value) for key, value in found.items() if value or key in needed}

    def mend(self) -> Topology:
        """Leave out each part that the loader refuses, with its message, and return what it takes.

        Raises SurveyError where what is left is refused, too.
        """
        for _ in range(_ROUNDS):
            try:
                return load(self.values())
            except ConfigError as error:
                gone = set[str]()
                for fault in sorted(error.faults, key=_order, reverse=True):
                    self._drop(fault, gone)
                if not gone:
                    raise SurveyError(f"what runs can't be declared:\n{error}") from None
        raise SurveyError("what runs can't be declared: leaving parts out does not end; report this.")

    def _drop(self, fault: Fault, gone: set[str]) -> None:
        """Leave out what a fault is about, once in a round, and add its path to what is `gone`."""
        found = re.match(r"([\w-]+)(?:\[(\d+)\]|\.([\w-]+)(?:\.([\w-]+))?)?", fault.path)
        section, index, name, key = found.groups() if found else ("", None, None, None)
        part: Any = getattr(self, section.replace("-", "_"), None)
        path = f"{section}.{index or name}"
        if isinstance(part, list) and index and path not in gone and int(index) < len(part):
            self._tell(flow(plain(part.pop(int(index)))), fault)
        elif section == "services" and name in part and key in part[name] and key not in _NEEDED:
            del part[name][key]
            self._tell(fault.path, fault)
            path = f"{path}.{key}"
        elif isinstance(part, dict) and name in part and section != "hosts" and f"{path}.{key}" not in gone:
            del part[name]
            self._tell(fault.path, fault)
        else:
            return
        gone.add(path)

    def _tell(self, what: str, fault: Fault) -> None:
        told = f"{what}: {fault.fault}; {fault.remedy}."
        if told not in self.left_out:
            self.left_out.append(told)

    def lines(self) -> Iterator[str]:
        """Yield the file's lines from `config:` on."""
        yield "config:"
        if self.endpoint:
            yield f"  proxmoxve:endpoint: {self.endpoint}"
        yield f"  {NAMESPACE}:domain: {self.domain}"
        for section in ("hosts", "tls", "zones", "services", "volumes"):
            value = getattr(self, section)
            if value:
                yield f"  {NAMESPACE}:{section}:"
                yield from (line for name, each in value.items() for line in _lines(section, name, each))
        yield f"  {NAMESPACE}:flows: # proposals; what is not here is refused. Read each reason" + (
            "" if self.flows else " []"
        )
        yield from (f"    - {flow(plain(each))} # {each.comment}" for each in self.flows)
        yield from (f"    # - {line}" for line in self.proposed)
        for section in ("unencrypted", "exceptions"):
            value = getattr(self, section)
            if value:
                yield f"  {NAMESPACE}:{section}:" + (
                    f" # what should not stay, until {self.until}: close each before then"
                    if section == "exceptions"
                    else " # nothing found sets up TLS between them"
                )
                yield from (f"    - {flow(each)}" for each in value)


def _lines(section: str, name: str, value: Any) -> Iterator[str]:
    if section in {"services", "hosts"}:
        yield f"    {name}:"
        for key, each in value.items():
            yield from entry(key, each, 6)
    else:
        yield from entry(name, value, 4)


def _text(each: Noted) -> str:
    return str(each.value["flow"] if isinstance(each.value, dict) else each.value)


def _split(text: str) -> tuple[str, str, str]:
    source, _, end = text.partition(" -> ")
    destination, _, port = end.partition(":")
    return source, destination, port


def _order(fault: Fault) -> tuple[str, int]:
    """Return what sorts faults of a list by their place, so that the last one is dropped first."""
    index = re.search(r"\[(\d+)\]", fault.path)
    return fault.path.partition("[")[0], int(index[1]) if index else -1
