"""The report's one error for its operator; owns the wording (`path: fault; remedy`) and nothing else."""

from __future__ import annotations


class ReportError(Exception):
    """A file that can't be read or written as asked; printed without a traceback."""
