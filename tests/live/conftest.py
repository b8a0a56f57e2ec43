"""The dev stack on real parts: brought up once by the README's own command, taken away at the end.

It runs on Docker 29 unless HOMELAB_ENGINE says otherwise; `make up` by itself takes Debian's, if any.
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
    """The machine as it is before the lab."""
    return Snapshot.take()


@pytest.fixture(scope="session")
def site(before: Snapshot) -> Iterator[Site]:
    """`make up`, and `make down` whatever happened in between."""
    try:
        done = make("up")
        sys.stdout.write(done.stdout)
        assert done.returncode == 0, done.stdout[-4000:]
        assert before is not None
        yield Site(said=done.stdout, environment=environment())
    finally:
        make("down")
