"""The rule type and the registry of all rules; one module per group has the checks.

Note: every rule is mandatory, and there is no level to lower. The only way around a rule is a declared
exception with a reason, an owner and a date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from policies.bounds import GaveUpError
from resources.inputs import Inputs
from resources.typed import TypedResource
from topology.index import TopologyIndex


class RuleScope(StrEnum):
    """The input that a rule needs."""

    RESOURCE = "resource"
    STACK = "stack"
    EXCEPTIONS = "exceptions"


class Severity(StrEnum):
    """The impact of a broken rule."""

    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, kw_only=True)
class Framework:
    """The source of an obligation."""

    name: str
    version: str = ""
    reference: str = ""
    specification: str = ""


DESIGN: Final = Framework(name="homelab-network", specification="Exactly the declared flows are possible.")


def cis_docker(reference: str, specification: str) -> Framework:
    """Return a recommendation of the CIS Docker Benchmark."""
    return Framework(
        name="CIS Docker Benchmark", version="1.6.0", reference=reference, specification=specification
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A broken rule. `subject` is what an exception names: a resource's name, or a flow."""

    rule: str
    subject: str
    message: str
    urn: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule and its check. `on` holds the kinds of inputs that a rule of scope RESOURCE applies to."""

    name: str
    obligation: str
    remedy: str
    severity: Severity
    framework: Framework
    scope: RuleScope
    on: tuple[type[Inputs], ...] = ()
    check: Callable[..., Iterator[Any]]


RULES: Final[dict[str, Rule]] = {}
"""Every rule by name, filled by the modules of `policies`."""

Message = str
Violation = tuple[TypedResource[Any] | str, Message]
"""A stack rule's result: the resource or flow, and its fault."""

_FAILED: Final = "can't be judged ({}), so nothing about it can be proved"

_Check = TypeVar("_Check", bound=Callable[..., Iterator[Any]])


def policy(
    *on: type[Inputs],
    obligation: str,
    remedy: str,
    severity: Severity = Severity.HIGH,
    framework: Framework = DESIGN,
    scope: RuleScope | None = None,
) -> Callable[[_Check], _Check]:
    """Register a check under its function's name.

    With `on` the check is called with a view and the topology and yields messages; without, it is called with
    the graph and yields violations; with scope EXCEPTIONS it is called with the ledger of
    `policies.exceptions`.
    """

    def register(check: _Check) -> _Check:
        name = check.__name__.replace("_", "-")
        RULES[name] = Rule(
            name=name,
            obligation=obligation,
            remedy=remedy,
            severity=severity,
            framework=framework,
            scope=scope or (RuleScope.RESOURCE if on else RuleScope.STACK),
            on=on,
            check=check,
        )
        return check

    return register


def of_resource(one: Rule, view: TypedResource[Any], topology: TopologyIndex) -> Iterator[Finding]:
    """Yield a rule's findings about one resource; a check that raises is a finding, too."""
    try:
        for text in one.check(view, topology):
            yield _finding(one, view, text)
    except GaveUpError as error:
        error.rule = one.name
        raise
    except Exception as error:  # noqa: BLE001  # any error's text may hold a secret
        yield _finding(one, view, _FAILED.format(type(error).__name__))


def of_stack(one: Rule, graph: object) -> Iterator[Finding]:
    """Yield a rule's findings about the stack or the exceptions; a check that raises is a finding, too."""
    try:
        for subject, text in one.check(graph):
            yield _finding(one, subject, text)
    except GaveUpError as error:
        error.rule = one.name
        raise
    except Exception as error:  # noqa: BLE001  # any error's text may hold a secret
        yield _finding(one, "stack", _FAILED.format(type(error).__name__))


def _finding(one: Rule, subject: TypedResource[Any] | str, text: Message) -> Finding:
    name, urn = (subject, "") if isinstance(subject, str) else (subject.name, subject.resource.urn)
    return Finding(rule=one.name, subject=name, message=f"{name}: {text}", urn=urn)
