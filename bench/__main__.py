"""`python -m bench [PART…]`: measure the named of PARTS, or all, and write docs/performance.md.

Parts that are not measured stay as they are.
Note: seconds are from one machine on one day; only ratios within one run can be compared.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence

from bench import commands, lines, policies, tofu, up, within
from lab.errors import LabError
from topology.project import PROJECT

DOCUMENT = PROJECT / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench`. Each part is measured within one run: its ratios can be compared, its seconds can't.
"""
PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "up": up.docker_half,
    "site": up.site,
    "preview": policies.previews,
    "tofu": tofu.plans,
    "proof": policies.proofs,
    "within": within.neighbours,
    "commands": commands.commands,
    "lines": lines.printed,
}


def main(words: Sequence[str]) -> int:
    """Measure the named parts, or all; returns the exit status, 2 for an unknown part."""
    if unknown := [word for word in words if word not in PARTS]:
        print(f"bench: {unknown[0]} can't be measured; name some of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in words or PARTS:
        try:
            told = list(PARTS[name]())
        except LabError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        print("\n".join(told))
        text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else HEAD
        text = replaced(text, name, f"{_machine()}\n\n" + "\n".join(told))
        DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def replaced(text: str, name: str, body: str) -> str:
    """Return the text with a part's lines between its marks, appended if it has none yet."""
    part = f"<!-- {name} -->\n{body.strip()}\n<!-- /{name} -->\n"
    marks = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->\n", re.DOTALL)
    return marks.sub(lambda _: part, text) if marks.search(text) else f"{text}\n{part}"


def _machine() -> str:
    return f"Measured on {os.cpu_count()} cores, {platform.freedesktop_os_release()['PRETTY_NAME']}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
