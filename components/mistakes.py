"""Ends the program at an operator's mistake with that message alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pulumi

_TOLD = 32
"""Exit status after an error that the user has seen; source: pulumi-language-python-exec."""


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Log a RunError to the engine and exit; without an engine, as on mocks, the error is the caller's.

    For a RunError that the program raises itself, Pulumi adds a second error, `an unhandled error occurred`.
    """
    try:
        yield
    except pulumi.RunError as error:
        if "PULUMI_CONFIG_SECRET_KEYS" not in os.environ:
            raise
        pulumi.log.error(str(error))
        raise SystemExit(_TOLD) from None
