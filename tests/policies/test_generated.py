"""Sound sites of many shapes pass the pack without a finding, so the rules are not specific to dev."""

import pytest

from tests.counted import Record, counted
from tests.policies.generate import topology
from tests.policies.sound import Stack, run

SITES, SHARES = 150, 6


@pytest.mark.timeout(1200)  # the program runs once for each site
@pytest.mark.parametrize("share", range(SHARES))
def test_sound_sites_have_no_finding(share: int, record_property: Record) -> None:
    """For any number of zones, services, guests and flows, the pack accepts the program's resources."""
    wrong = []
    shapes = set()
    for number in range(share, SITES, SHARES):
        config = topology(number)
        shapes.add((len(config["zones"]), len(config["services"]), len(config["flows"])))
        findings = Stack(resources=run(config), config=config).judge().findings
        wrong += [f"python -m tests.policies.generate {number}  # {finding}" for finding in findings]
    assert wrong == []
    counted(record_property, "generated sound stacks without a finding", len(range(share, SITES, SHARES)))
    assert len(shapes) > SITES // SHARES // 2
