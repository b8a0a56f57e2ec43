"""actionlint over the GitHub workflows, or over the files that are named.

The program is built once from the Go module beside this file and kept in the lab's cache.
"""

import platform
import subprocess
import sys
from pathlib import Path

from lab import cache, paths
from lab.errors import LabError
from lab.toolchain import golang

MODULE = Path(__file__).parent
PACKAGE = "github.com/rhysd/actionlint/cmd/actionlint"
ALONE = ("-shellcheck=", "-pyflakes=")
"""Programs that it would run where a machine has them; without them it says the same everywhere."""


def program() -> Path:
    """Return the program's path; builds it where the cache has none. Raises LabError."""

    def build(folder: Path) -> None:
        golang.build("actionlint", MODULE, PACKAGE, folder / "actionlint", flags=[], report=_report)

    sources = cache.digest(MODULE / "go.mod", MODULE / "go.sum")
    return cache.entry("actionlint", [sources, platform.system(), platform.machine()], build) / "actionlint"


def main(words: list[str]) -> int:
    """Return actionlint's status: 0 without a finding, 1 with one; 2 where it could not be built."""
    try:
        command = [str(program()), *ALONE, *(words or _workflows())]
    except LabError as fault:
        print(fault, file=sys.stderr)
        return 2
    return subprocess.run(command, check=False).returncode


def _workflows() -> list[str]:
    return sorted(str(path) for path in (paths.PROJECT / ".github/workflows").glob("*.y*ml"))


def _report(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
