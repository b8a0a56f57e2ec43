"""Folders of Docker-SRV that hold what is not for a container: the engine's, the system's, and secrets."""

from __future__ import annotations

from typing import Final

SENSITIVE: Final = ("/boot", "/dev", "/etc", "/home", "/root", "/tmp")  # noqa: S108  # folders of the host
_SYSTEM: Final = ("/proc", "/run", "/sys", "/bin", "/lib", "/sbin", "/usr")


def within(path: str, folder: str) -> bool:
    """Whether a normalised absolute path is a folder or lies below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def is_private(path: str, data_root: str) -> bool:
    """Whether a folder, one above it or one below it holds what no container may be given by the stack file.

    `path` is normalised; `data_root` is the engine's folder.
    """
    folders = (*SENSITIVE, *_SYSTEM, data_root)
    if any(within(path, one) or within(one, path) for one in folders) or path.endswith((".sock", ".socket")):
        return True
    return within(path, "/var") and not within(path, "/var/log")
