"""A cache of things that are slow to make, keyed by what they are made from.

An entry is built in a temporary folder, listed with SHA-256 sums, and renamed. `entry` checks every file
against the sums on each use and rebuilds an entry that fails. Old entries stay; the folder is safe to delete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import paths
from lab.errors import LabError

SUMS = "SHA256SUMS"


def key(material: Any) -> str:
    """Return 16 hex digits of the SHA-256 of `material` (anything JSON can hold, key order ignored)."""
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()[:16]


def digest(*roots: Path) -> str:
    """Return one SHA-256 over the names and contents of the files below `roots`, for use as key material."""
    return key([_sums(root) for root in roots])


def entry(name: str, material: Any, build: Callable[[Path], None]) -> Path:
    """Return the folder of `name` made from `material`, calling `build(folder)` where no valid entry exists.

    Raises LabError when the disk is full. An exception in `build` leaves no entry behind.
    """
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    place = paths.CACHE / f"{name}-{key(material)}"
    with Path(f"{place}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if whole(place):
            return place
        part = Path(f"{place}.part")
        for stale in (place, part):
            shutil.rmtree(stale, ignore_errors=True)
        part.mkdir()
        try:
            build(part)
            (part / SUMS).write_text(_listing(part))
            part.rename(place)
        except OSError as fault:
            if fault.errno != errno.ENOSPC:
                raise
            raise LabError(f"{paths.CACHE}: no space left for {name}; free some and run it again") from fault
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return place


def whole(place: Path) -> bool:
    """Whether `place` holds exactly the files it was finished with."""
    try:
        return (place / SUMS).read_text() == _listing(place)
    except OSError:
        return False


def _listing(root: Path) -> str:
    return "".join(f"{value}  {path}\n" for path, value in _sums(root).items())


def _sums(root: Path) -> dict[str, str]:
    """Map each file and link below `root` (or `root` itself) to its SHA-256; a link counts as its target."""
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path != root / SUMS)
    sums = {}
    for path in files:
        if path.is_symlink():
            sums[str(path.relative_to(root))] = hashlib.sha256(str(path.readlink()).encode()).hexdigest()
        elif path.is_file():
            with path.open("rb") as stream:
                sums[str(path.relative_to(root))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums
