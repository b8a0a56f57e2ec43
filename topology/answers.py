"""Answers of other programs, which may be of a form that no version of them is known to give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def understood(what: str, error: type[Exception]) -> Iterator[None]:
    """Raise `error` with one line in place of the exceptions by which Python tells a wrong form."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as fault:
        reason = f"answers in a form that is not known ({type(fault).__name__})"
        raise error(f"{what}: {reason}; see that it is the program that it should be.") from None
