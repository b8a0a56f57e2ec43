"""Commands that write files of a stack: the arguments, and a folder of the stack's name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from topology.config import ConfigError, Fault, from_file
from topology.model import Topology


def write(
    name: str,
    description: str,
    arguments: Sequence[str] | None,
    texts: Callable[[Topology], Mapping[str, str]],
    missing: tuple[str, str],
) -> int:
    """Write texts by file name into `<name>-<stack>/`; `missing` has the fault and remedy where none is made.

    Returns the exit status: 0 written, 2 bad input and nothing written.
    """
    parser = argparse.ArgumentParser(prog=f"python -m commands {name}", description=description)
    parser.add_argument("file", type=Path, help="Pulumi.<stack>.yaml")
    file = parser.parse_args(arguments).file
    try:
        found = texts(from_file(file))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if not found:
        print(Fault(file.name, *missing), file=sys.stderr)
        return 2
    folder = Path(f"{name}-{file.name.removeprefix('Pulumi.').removesuffix('.yaml')}")
    folder.mkdir(exist_ok=True)
    for path, text in ((folder / each, text) for each, text in found.items()):
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0
