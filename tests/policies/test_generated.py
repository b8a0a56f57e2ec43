"""Sound sites of many shapes pass the pack without a finding, so the rules are not specific to dev."""

import pytest

from tests import findings
from tests.counted import Record, counted
from tests.findings import SHARES, SITES
from tests.policies.generate import topology
from tests.policies.sound import Stack, run


@pytest.mark.timeout(1200)  # the program runs once for each site
@pytest.mark.parametrize("share", range(SHARES))
def test_sound_sites_have_no_finding(share: int, record_property: Record) -> None:
    """For any number of zones, services, guests and flows, the pack accepts the program's resources.

    Their flows are those of the last commit.
    """
    wrong = []
    shapes = set()
    told: dict[str, list[str]] = {}
    for number in range(share, SITES, SHARES):
        config = topology(number)
        shapes.add((len(config["zones"]), len(config["services"]), len(config["flows"])))
        stack = Stack(resources=run(config), config=config)
        wrong += [f"python -m tests.policies.generate {number}  # {each}" for each in stack.judge().findings]
        told |= findings.of_site(number, stack)
    assert wrong == []
    counted(record_property, "generated sound stacks without a finding", len(range(share, SITES, SHARES)))
    assert len(shapes) > SITES // SHARES // 2
    assert findings.changed(told) == []
