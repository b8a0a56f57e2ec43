"""The dev stack on real parts: brought up once by the README's command and removed at the end.

It runs on Docker 29 unless HOMELAB_ENGINE names another; plain `make up` uses Debian's.
"""

import os
import sys
from collections.abc import Iterator

import pytest

from lab.engine.programs import VARIABLE
from tests.live.site import Site, Snapshot, environment, make

os.environ.setdefault(VARIABLE, "29")


@pytest.fixture(scope="session")
def before() -> Snapshot:
    """Return a snapshot of the machine before the lab."""
    return Snapshot.take()


@pytest.fixture(scope="session")
def site(before: Snapshot) -> Iterator[Site]:
    """Run `make up`, yield the site, and run `make down` even after a failure."""
    try:
        done = make("up")
        sys.stdout.write(done.stdout)
        assert done.returncode == 0, done.stdout[-4000:]
        assert before is not None
        yield Site(said=done.stdout, environment=environment())
    finally:
        make("down")
