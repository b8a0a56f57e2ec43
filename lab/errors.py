"""The lab's one error class for its operator."""

from __future__ import annotations


class LabError(Exception):
    """A fault that the operator can fix, worded `path: fault; remedy`; printed without a traceback."""
