"""The import commands that the pre-flight prints, on a real engine, Pulumi and providers."""

from pathlib import Path

import pytest

from lab import toolchain
from tests.parts.users_engine import run


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_imports(tmp_path: Path) -> None:
    """Every test of `imports_inside` passes: what is in the way is imported as told."""
    toolchain.ensure(print)
    run("debian", "imports_inside.py", tmp_path)
