"""Every misconfiguration of the sound stack is rejected with a message that names the cause."""

from collections import Counter

import pytest

from tests import findings
from tests.counted import Record, counted
from tests.policies.mutations import SEED


@pytest.mark.timeout(1200)  # some hundred stacks, on a busy machine
@pytest.mark.parametrize("share", range(findings.SHARES))
def test_every_mutation_is_rejected_by_a_rule_that_names_its_cause(
    share: int, record_property: Record
) -> None:
    """Adding, removing, widening, moving, renaming or hiding a property that carries traffic is refused.

    The findings are those of the last commit.
    """
    survivors: list[str] = []
    told: Counter[str] = Counter()
    lines: dict[str, list[str]] = {}
    for place, each in enumerate(findings.judged(share)):
        told[each.mutation.operator] += 1
        if place % 50 == 0:
            whole = each.stack.judge()
            assert each.stack.judge_changes() == whole, each.mutation
            assert {*each.stack.judge_alone()} <= {*whole.findings}, each.mutation
        findings.add(lines, findings.of_mutation(share, each))
        if not each.named:
            messages = [finding.message for finding in each.findings]
            survivors.append(
                f"python -m tests.policies.mutations {each.number}  # {each.mutation}: {messages[:2]}"
            )
    print(f"seed {SEED}: {sum(told.values())} mutations, {dict(told)}")
    assert survivors == []
    counted(record_property, "misconfigurations refused with their cause", sum(told.values()))
    assert sum(told.values()) >= 300 / findings.SHARES
    assert findings.changed(lines) == []
