"""The report's error for its operator, worded `path: fault; remedy`."""

from __future__ import annotations


class ReportError(Exception):
    """A file that can't be read or written as asked; printed without a traceback."""
