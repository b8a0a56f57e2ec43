"""Names as a stack file takes them, each given once."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Names:
    """Gives each thing a name of its own; `length` is the number of characters in which names must differ."""

    def __init__(self, taken: Iterable[str] = (), *, length: int = 63) -> None:
        self._length = length
        self._taken = {each[:length] for each in taken}

    def give(self, text: str, spare: str = "service") -> str:
        """Return a DNS label like `text` that no other has; `spare` stands for one without letters."""
        plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or spare
        plain = (plain if plain[0].isalpha() else f"{spare[0]}-{plain}")[:63].rstrip("-")
        name, number = plain, 1
        while name[: self._length] in self._taken:
            number += 1
            ending = f"-{number}"
            name = f"{plain[: self._length - len(ending)].rstrip('-')}{ending}"
        self._taken.add(name[: self._length])
        return name
