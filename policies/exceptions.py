"""Applies declared exceptions to findings, and reports what is past its declared end.

Note: an exception names exactly one rule and one resource or flow; patterns are not supported. An exception
that matches no finding is a violation, because readers would assume that the finding exists.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from policies.rule import RULES, Finding, RuleScope, Severity, Violation, policy
from topology.model import PolicyException, Topology


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All findings before exceptions, and the date that decides which exceptions are in force."""

    findings: Sequence[Finding]
    topology: Topology
    today: date

    @cached_property
    def in_force(self) -> tuple[PolicyException, ...]:
        """Valid exceptions that match a finding."""
        found = {(finding.rule, finding.subject) for finding in self.findings}
        return tuple(e for e in self._valid if (e.rule, e.resource) in found)

    @cached_property
    def kept(self) -> list[Finding]:
        """Findings that no valid exception matches."""
        aside = {(exemption.rule, exemption.resource) for exemption in self._valid}
        return [finding for finding in self.findings if (finding.rule, finding.subject) not in aside]

    @cached_property
    def _valid(self) -> tuple[PolicyException, ...]:
        return tuple(
            e
            for e in self.topology.exceptions
            if e.expires >= self.today and e.rule in RULES and RULES[e.rule].scope is not RuleScope.EXCEPTIONS
        )


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="An exception must not have expired.",
    remedy="Follow the rule now, or renew the exception with a new reason.",
)
def exceptions_current(ledger: Ledger) -> Iterator[Violation]:
    """Yield expired exceptions."""
    for exemption in ledger.topology.exceptions:
        if exemption.expires < ledger.today:
            yield _name(exemption), f"expired on {exemption.expires}"


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="An exception must apply to a finding.",
    remedy="Remove it.",
)
def exceptions_used(ledger: Ledger) -> Iterator[Violation]:
    """Yield exceptions that match no finding: they would hide a future one."""
    for exemption in ledger.topology.exceptions:
        if exemption.expires >= ledger.today and exemption.rule in RULES and exemption not in ledger.in_force:
            yield _name(exemption), "sets nothing aside"


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="An exception must name one rule and one resource or flow, exactly.",
    remedy="Name the rule and the resource as the finding does.",
)
def exceptions_exact(ledger: Ledger) -> Iterator[Violation]:
    """Yield exceptions with an unknown rule, a pattern or several resources of the name.

    These would also match findings that were not reviewed.
    """
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for each in ledger.findings:
        found[each.rule, each.subject] |= {each.urn} if each.urn else set()
    for exemption in ledger.topology.exceptions:
        if len(several := found[exemption.rule, exemption.resource]) > 1:
            kinds = " and ".join(sorted(re.split(r"::|\$", urn)[-2] for urn in several))
            yield _name(exemption), f"is for {len(several)} resources of that name ({kinds})"
        if exemption.rule not in RULES:
            yield _name(exemption), f"rule {exemption.rule} does not exist"
        # The name of a flow to any other port ends in `:*`, which is not a pattern.
        if any(sign in exemption.resource.removesuffix(":*") for sign in "*?["):
            yield _name(exemption), "is a pattern"


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="A flow with an end must not have ended.",
    remedy="Take the flow out of the stack file, or give it a later day and the reason.",
)
def flows_current(ledger: Ledger) -> Iterator[Violation]:
    """Yield temporary flows past their last day."""
    for each in ledger.topology.temporary:
        if each.until < ledger.today:
            yield str(each.flow), f"ended on {each.until}"


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="An admin page that is passed for a while must not have ended.",
    remedy="Take admin-page out of the stack file, or give it a later day and the reason.",
)
def admin_pages_current(ledger: Ledger) -> Iterator[Violation]:
    """Yield admin pages past their last day."""
    for guest in ledger.topology.guests:
        if guest.admin_page and guest.admin_page.until < ledger.today:
            yield guest.name, f"its admin page ended on {guest.admin_page.until}"


@policy(
    scope=RuleScope.EXCEPTIONS,
    obligation="A guest that is observed for a while must be enforced then.",
    remedy="Take observed-until out of the stack file, or give it a later day and the reason.",
    severity=Severity.CRITICAL,
)
def observed_guests_current(ledger: Ledger) -> Iterator[Violation]:
    """Yield guests that are observed past their last day; Proxmox's rules have no end of their own."""
    for guest in ledger.topology.observed_guests:
        if guest.observed_until and guest.observed_until < ledger.today:
            yield guest.name, f"was observed through {guest.observed_until}, and is open until `make up`"


def _name(exemption: PolicyException) -> str:
    return f"exception {exemption.rule} for {exemption.resource}"
