"""Say a Compose file in a stack file's words, each flow certain or guessed; writes nothing.

What would weaken the site is refused with the better way, as a comment and on stderr. Exit status: 0 all
could be said, 1 something was refused, 2 a file cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compose.fragment import Choices, fragment
from compose.outcome import ComposeError


def main(arguments: Sequence[str]) -> int:
    """Print the fragment of one Compose file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands compose", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="docker-compose.yml; .env and other files are beside it")
    parser.add_argument(
        "--egress",
        metavar="SERVICE",
        action="append",
        default=[],
        help="a service that goes out to the internet",
    )
    parser.add_argument(
        "--profile", metavar="NAME", action="append", default=[], help="take the services of a profile, too"
    )
    parser.add_argument("--prefix", default="", help="put this before each service's name, like wiki-")
    parser.add_argument(
        "--ingress", default="traefik", help="name of the stack's ingress; traefik if left out"
    )
    given = parser.parse_args(arguments)
    try:
        made = fragment(given.file, Choices(given.egress, given.profile, given.prefix, given.ingress))
    except ComposeError as error:
        print(error, file=sys.stderr)
        return 2
    print(*made.lines, sep="\n")
    for line in made.refused:
        print(line, file=sys.stderr)
    return 1 if made.refused else 0
