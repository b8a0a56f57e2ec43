"""What tests count, such as changes that were refused: the end of a run has the sums over all its tests."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Record = Callable[[str, object], None]
"""The type of pytest's fixture `record_property`."""
_NAME = "counted: "


def counted(record: Record, what: str, numbers: int | Mapping[str, int]) -> None:
    """Add a number, or several by their kind, to the sums of the run."""
    for kind, number in numbers.items() if isinstance(numbers, Mapping) else (("", numbers),):
        record(f"{_NAME}{what}{kind and ': '}{kind}", number)


def sums(reports: Iterable[Any]) -> Iterator[str]:
    """Yield a line for each thing that these tests counted."""
    found: Counter[str] = Counter()
    for report in reports:
        for name, number in report.user_properties:
            if name.startswith(_NAME):
                found[name.removeprefix(_NAME)] += number
    yield from (f"{number:>7,} {name}" for name, number in sorted(found.items()))
