"""The lab's one error for its operator; owns the wording (what fails, why, what to do) and nothing else."""

from __future__ import annotations


class LabError(Exception):
    """A fault that the operator can act on, worded `path: fault; remedy`; printed without a traceback."""
