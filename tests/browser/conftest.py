"""One browser for all page tests: Debian's Chromium, installed where it is missing."""

from collections.abc import Iterator

import pytest

from lab import apt
from tests.browser.chromium import Page, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Page]:
    """Yield a page in a headless Chromium."""
    apt.install("browser", {"chromium": "chromium"}, print)
    with chromium() as page:
        yield page
