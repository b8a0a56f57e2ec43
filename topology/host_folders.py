"""Folders' paths, and Docker-SRV's folders not for a container: the engine's, the system's, and secrets."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

SENSITIVE: Final = ("/boot", "/dev", "/etc", "/home", "/root", "/tmp")  # noqa: S108  # folders of the host
_SYSTEM: Final = ("/proc", "/run", "/sys", "/bin", "/lib", "/sbin", "/usr")


def rooted(path: str) -> str:
    """Return a path from the root without detours, as Docker takes it."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def within(path: str, folder: str) -> bool:
    """Whether a normalised absolute path is a folder or lies below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def meets(path: str, folders: Iterable[str]) -> bool:
    """Whether a folder is one of some folders, or lies above or below one."""
    return any(within(path, one) or within(one, path) for one in folders)


def as_run(path: str) -> str:
    """Return a path below /var/run by its own name, below /run; any other as it is."""
    return path.removeprefix("/var") if within(path, "/var/run") else path


def is_state(path: str) -> bool:
    """Whether a folder is below /var and not below /var/log: it holds data of programs."""
    return within(path, "/var") and not within(path, "/var/log")


def is_private(path: str, data_root: str) -> bool:
    """Whether a folder, one above it or one below it holds what no container may be given by the stack file.

    `path` is normalised; `data_root` is the engine's folder.
    """
    folders = (*SENSITIVE, *_SYSTEM, data_root)
    return meets(path, folders) or path.endswith((".sock", ".socket")) or is_state(path)
