"""Mends two hot spots of Pulumi's SDK for this program: a third of a large preview's processor time.

docs/sdk-hot-spots.md is the report for upstream; `tests/unit/test_sdk.py` fails when the SDK's functions
change, so that this module is looked at again, or removed.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any, Final

import pulumi
from pulumi.runtime import stack

_DEBUG: Final = re.compile(r"-[a-uw-z]*d[a-z]*(=.*)?|--debug(=.*)?|-v.*|--verbose.*|--logtostderr.*")
"""Options of `pulumi` that show debug lines."""
_PARENTS: Final = 4
"""The program's language host, the engine, and shells between them."""


class _Asyncio:
    """asyncio, but that a wait for the first of many outputs is one for all of them, or for an exception.

    The SDK waits again after each output, and each wait registers with all that are left.
    """

    FIRST_COMPLETED = asyncio.FIRST_EXCEPTION

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


def mend() -> None:
    """Wait once for all outputs, and send debug lines only where `pulumi` shows them; needs an engine."""
    if "PULUMI_CONFIG_SECRET_KEYS" not in os.environ:  # an engine tells which keys are encrypted
        return
    vars(stack)["asyncio"] = _Asyncio()
    if not _debugs(os.getppid()):
        pulumi.log.debug = lambda *_, **__: None


def _debugs(process: int) -> bool:
    """Whether a process or one above it is `pulumi` with an option for debug lines; True where unknown."""
    try:
        for _ in range(_PARENTS):
            folder = Path("/proc", str(process))
            program, *words = (folder / "cmdline").read_text(encoding="utf-8").split("\0")
            if program.rpartition("/")[2] == "pulumi":
                return any(_DEBUG.fullmatch(word) for word in words)
            process = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return True
    return True
