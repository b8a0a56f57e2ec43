"""Builds Docker engines from Go modules, for tests: 29, and 28, which many machines still run.

An engine finds docker-proxy, containerd, its shim and runc through PATH, so their folders must come first
there. All engines share one containerd and one runc (Debian 12's runc 1.1.5 is too old for this containerd).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import apt, cache
from lab.toolchain import golang
from lab.toolchain.step import Report

HERE = Path(__file__).resolve().parent
COMPILER = {"gcc": "gcc", "pkg-config": "pkg-config", "/usr/include/seccomp.h": "libseccomp-dev"}
"""What runc's C code needs, and the Debian packages that provide it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A Go module of this repository in the folder `name`; `programs` maps file names to packages."""

    name: str
    programs: Mapping[str, str]
    flags: tuple[str, ...]
    cgo: bool = False

    @property
    def folder(self) -> Path:
        """Return the folder of go.mod and go.sum."""
        return HERE / "go" / self.name

    @property
    def material(self) -> Any:
        """Return everything that the programs are built from."""
        system = [platform.machine(), platform.freedesktop_os_release().get("VERSION_CODENAME", "")]
        return [dict(self.programs), self.flags, self.cgo, cache.digest(self.folder), system]

    def built(self, report: Report) -> Path:
        """Return a folder with the programs; raises LabError that names the failed build."""
        return cache.entry(f"docker-{self.name}", self.material, lambda part: self._build(part, report))

    def _build(self, part: Path, report: Report) -> None:
        if self.cgo:
            apt.install(f"Docker's {self.name}", COMPILER, report)
        for program, package in self.programs.items():
            golang.build(
                f"building Docker's {self.name}: {program}",
                self.folder,
                package,
                part / program,
                flags=list(self.flags),
                report=report,
                cgo=self.cgo,
            )


def _engine(name: str, module: str, version: str, *flags: str) -> Source:
    return Source(
        name=name,
        programs={program: f"{module}/cmd/{program}" for program in ("dockerd", "docker-proxy")},
        flags=(
            "-tags=netgo osusergo no_systemd exclude_graphdriver_btrfs",
            f"-ldflags=-s -w -X {module}/dockerversion.Version={version}",
            *flags,
        ),
    )


def _language(version: str) -> str:
    """Return the flag for the language version of an engine that is no Go module and so states none."""
    return f"-gcflags={_OLD}/...=-lang=go{version} -dwarf=false"


_OLD = "github.com/docker/docker"
_CONTAINERD = "github.com/containerd/containerd/v2"
ENGINES: Mapping[str, Source] = {
    source.name: source
    for source in (
        _engine("29", "github.com/moby/moby/v2", "29.6.0-dev"),
        _engine("28", _OLD, "28.5.2", _language("1.24")),
    )
}
RUNTIME = (
    Source(
        name="containerd",
        programs={
            "containerd": f"{_CONTAINERD}/cmd/containerd",
            "containerd-shim-runc-v2": f"{_CONTAINERD}/cmd/containerd-shim-runc-v2",
        },
        flags=("-tags=netgo osusergo urfave_cli_no_docs no_btrfs", "-ldflags=-s -w"),
    ),
    Source(
        name="runc",
        programs={"runc": "github.com/opencontainers/runc"},
        flags=("-tags=seccomp urfave_cli_no_docs", "-ldflags=-s -w"),
        cgo=True,
    ),
)


def path(engine: str, report: Report) -> str:
    """Return the folders of the engine's programs, as an entry of PATH; builds those that are not cached."""
    return ":".join(str(source.built(report)) for source in (ENGINES[engine], *RUNTIME))
