"""One browser for all tests of pages; Debian's Chromium, installed where the machine has none."""

from collections.abc import Iterator

import pytest

from lab import apt
from tests.browser.chromium import Page, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Page]:
    """A page in a headless Chromium."""
    apt.install("browser", {"chromium": "chromium"}, print)
    with chromium() as page:
        yield page
