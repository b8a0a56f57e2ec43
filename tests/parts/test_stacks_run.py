"""The stack files of examples/stacks, brought up from nothing with real programs on Docker 29."""

from pathlib import Path

import pytest

from lab import toolchain
from tests.parts import example_images
from tests.parts.users_engine import run


@pytest.mark.matrix
@pytest.mark.timeout(2400)
def test_the_stacks_run(tmp_path: Path) -> None:
    """Every test of `stacks_inside` passes: each stack comes, is judged cell by cell, serves and goes."""
    toolchain.ensure(print)
    example_images.get()
    run("29-nftables", "stacks_inside.py", tmp_path)
