"""Every misconfiguration of the sound stack is rejected with a message that names the cause."""

import re
from collections import Counter
from collections.abc import Iterable

import pytest

from policies.rule import Finding
from tests.counted import Record, counted
from tests.policies.mutations import SEED, Mutation, mutations, reads_the_same
from tests.policies.sound import sound

SHARES = 6
"""Tests that share the mutations, so that every core runs some."""


def _is_named(mutation: Mutation, findings: Iterable[Finding]) -> bool:
    cause = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in mutation.names))
    return any(cause.search(finding.message) for finding in findings)


@pytest.mark.timeout(1200)  # some hundred stacks, on a busy machine
@pytest.mark.parametrize("share", range(SHARES))
def test_every_mutation_is_rejected_by_a_rule_that_names_its_cause(
    share: int, record_property: Record
) -> None:
    """Adding, removing, widening, moving, renaming or hiding a property that carries traffic is refused."""
    survivors: list[str] = []
    told: Counter[str] = Counter()
    for place, (number, mutation) in enumerate([*enumerate(mutations())][share::SHARES]):
        stack = sound()
        mutation.apply(stack)
        if reads_the_same(mutation, stack):
            continue
        told[mutation.operator] += 1
        if place % 50 == 0:
            whole = stack.judge()
            assert stack.judge_changes() == whole, mutation
            assert {*stack.judge_alone()} <= {*whole.findings}, mutation
        if _is_named(mutation, stack.judge_alone()):
            continue
        if not _is_named(mutation, findings := stack.judge_changes().findings):
            messages = [finding.message for finding in findings]
            survivors.append(f"python -m tests.policies.mutations {number}  # {mutation}: {messages[:2]}")
    print(f"seed {SEED}: {sum(told.values())} mutations, {dict(told)}")
    assert survivors == []
    counted(record_property, "misconfigurations refused with their cause", sum(told.values()))
    assert sum(told.values()) >= 300 / SHARES
