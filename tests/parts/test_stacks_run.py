"""The stack files of examples/stacks, brought up from nothing with real programs on Docker 29."""

from pathlib import Path

import pytest

from lab import toolchain
from tests.parts import example_images
from tests.parts.users_engine import run
from topology.config import from_file
from topology.project import PROJECT

FOLDER = PROJECT / "examples/stacks"
STACKS = sorted(file.name.split(".")[1] for file in FOLDER.glob("Pulumi.*.yaml"))


@pytest.mark.matrix
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_runs(stack: str, tmp_path: Path) -> None:
    """The stack's test of `stacks_inside` passes: it comes, is judged cell by cell, serves and goes."""
    toolchain.ensure(print)
    example_images.get({each.image for each in from_file(FOLDER / f"Pulumi.{stack}.yaml").containers})
    run("29-nftables", "stacks_inside.py", tmp_path, "-k", f"[{stack}]")
