"""Builds Docker Engine 29 from Go modules, for tests against the newest engine.

Three builds: the engine with docker-proxy, containerd with its shim, and runc (Debian 12's runc 1.1.5 is too
old for this containerd). The engine finds all of them through PATH, so the folder must come first there.
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

NAME = "Docker 29"
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

    def build(self, target: Path, report: Report) -> None:
        """Build the programs into the folder `target`; raises LabError that names the program."""
        for program, package in self.programs.items():
            golang.build(
                f"building {NAME}: {program}",
                self.folder,
                package,
                target / program,
                flags=list(self.flags),
                report=report,
                cgo=self.cgo,
            )


_MOBY = "github.com/moby/moby/v2"
_CONTAINERD = "github.com/containerd/containerd/v2"
SOURCES = (
    Source(
        name="moby",
        programs={"dockerd": f"{_MOBY}/cmd/dockerd", "docker-proxy": f"{_MOBY}/cmd/docker-proxy"},
        flags=(
            "-tags=netgo osusergo no_systemd exclude_graphdriver_btrfs",
            f"-ldflags=-s -w -X {_MOBY}/dockerversion.Version=29.6.0-dev",
        ),
    ),
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


def programs(report: Report) -> Path:
    """Return a folder with dockerd, docker-proxy, containerd, containerd-shim-runc-v2 and runc.

    Builds them where the cache has no valid folder; raises LabError that names the failed build.
    """

    def build(part: Path) -> None:
        apt.install(NAME, COMPILER, report)
        for source in SOURCES:
            source.build(part, report)

    return cache.entry("docker29", material(), build)


def material() -> Any:
    """Return everything that the programs are built from."""
    recipes = [[source.name, dict(source.programs), source.flags, source.cgo] for source in SOURCES]
    sums = cache.digest(*(source.folder for source in SOURCES))
    return [recipes, sums, platform.machine(), platform.freedesktop_os_release().get("VERSION_CODENAME", "")]
