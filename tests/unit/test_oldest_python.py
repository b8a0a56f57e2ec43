"""The oldest supported Python, Debian 12's 3.11.2."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.clone import environment

DEBIANS = Path("/usr/bin/python3")


def _version() -> str:
    words = [str(DEBIANS), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(
    not DEBIANS.exists() or _version() not in {"3.11.0", "3.11.1", "3.11.2", "3.11.3"},
    reason="no Python 3.11.0 to 3.11.3 here; Debian 12 has one",
)
@pytest.mark.skipif(sysconfig.get_python_version() != "3.11", reason="the environment is another Python's")
def test_a_change_is_compared_by_the_oldest_python(tree: Path) -> None:
    """The review runs on the oldest Python."""
    made = tree.parent / "venv"
    subprocess.run([str(DEBIANS), "-m", "venv", "--without-pip", made], check=True)
    packages = made / "lib/python3.11/site-packages/packages.pth"
    packages.write_text(f"{sysconfig.get_path('purelib')}\n")
    words = [str(made / "bin/python"), "-m", "commands", "review", "--", "main", "Pulumi.dev.yaml"]
    done = subprocess.run(words, cwd=tree, env=environment(tree), check=False, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (
        "**dev:** No flow opens or closes.\n",
        0,
    ), done.stderr
