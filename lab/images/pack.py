"""An image's root folder as a tar: its parts, its own files and links, the users they belong to.

Where several bring the same path, the image's own file wins, then the parts in their order. Times and
owners are fixed, so the same parts give the same bytes.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from lab import cache
from lab.images.catalogue import USERS, Image


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file where it has content, else a link where it has one, else a folder."""

    name: str
    content: bytes | None = None
    link: str = ""
    owner: int = 0
    mode: int = 0o755


def pack(image: Image, parts: list[Path], tar: tarfile.TarFile) -> None:
    """Write the root folder of `image`, made of the folders `parts`, to `tar`."""
    seen: set[str] = set()

    def add(entry: _Entry) -> None:
        # Docker's import refuses a path that comes twice.
        if entry.name in seen:
            return
        seen.add(entry.name)
        for parent in reversed(PurePath(entry.name).parents[:-1]):
            add(_Entry(name=str(parent)))
        told = tarfile.TarInfo(entry.name)
        told.uid = told.gid = entry.owner
        told.mode, told.linkname, told.size = entry.mode, entry.link, len(entry.content or b"")
        kind = tarfile.REGTYPE if entry.content is not None else tarfile.DIRTYPE
        told.type = tarfile.SYMTYPE if entry.link else kind
        tar.addfile(told, io.BytesIO(entry.content or b""))

    for entry in _own(image):
        add(entry)
    for part in parts:
        for path in sorted(part.rglob("*")):
            if path != part / cache.SUMS:
                add(_found(path, str(path.relative_to(part))))


def _own(image: Image) -> Iterator[_Entry]:
    passwd = "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in USERS.items())
    group = "".join(f"{name}:x:{number}:\n" for name, number in USERS.items())
    yield _Entry(name="tmp", mode=0o1777)
    yield _Entry(name="run")
    for name, owner in image.folders.items():
        yield _Entry(name=name, owner=owner)
    for name, target in image.links.items():
        yield _Entry(name=name, link=target)
    for name, text in {"etc/passwd": passwd, "etc/group": group, **image.files}.items():
        yield _Entry(name=name, content=text.encode(), mode=0o755 if text.startswith("#!") else 0o644)


def _found(path: Path, name: str) -> _Entry:
    if path.is_symlink():
        return _Entry(name=name, link=str(path.readlink()))
    if path.is_dir():
        return _Entry(name=name)
    return _Entry(name=name, content=path.read_bytes(), mode=0o755 if os.access(path, os.X_OK) else 0o644)
