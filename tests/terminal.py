"""Writes docs/terminal.svg, what a terminal shows of an `up` and of a refused change.

`.venv/bin/python -m tests.terminal` makes it from the tests' sound site, by the code that prints these lines.
Note: times and the matrix of the probe are left out, since they are a machine's.
"""

import contextlib
import io
import json
import socket
from collections.abc import Iterator
from getpass import getuser
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any, Final

from commands import flows as command
from lab import ending, paths
from lab.progress import Progress
from resources.program import of_stack_file
from tests.site import FILE
from topology.config import from_file
from topology.outputs import outputs
from topology.project import PROJECT

PICTURE: Final = PROJECT / "docs" / "terminal.svg"
BAD: Final = "    - traefik -> loki:3100/tcp\n"
_COLUMNS, _LINE, _LETTER, _EDGE = 112, 18, 7.8, 16
"""Letters in a line; height of a line, width of a letter and margin in pixels."""
_STYLE: Final = (
    "text{font:13px ui-monospace,SFMono-Regular,Consolas,'DejaVu Sans Mono',monospace;fill:#d7dee7;"
    "white-space:pre}.typed{fill:#7ce8ff;font-weight:600}.refused{fill:#ff9a91}"
)


def lines() -> Iterator[tuple[str, str]]:
    """Yield each line with its class: typed by a person, refused, or empty."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "Pulumi.dev.yaml"
        file.write_bytes(FILE.read_bytes())
        yield "typed", "# make up"
        yield from (("", line) for line in _up(file))
        yield "", ""
        yield (
            "typed",
            "# sed -i '/grafana:3000/a\\    - traefik -> loki:3100/tcp' Pulumi.dev.yaml && make preview",
        )
        yield "refused", _refusal(file)


def _up(file: Path) -> Iterator[str]:
    topology = from_file(file)
    there: Any = outputs(topology)
    yield from _created(file)
    yield from ("", *ending.flows(topology, there), "")
    here = {
        str(paths.STATE): "~/.local/state/homelab-network",
        socket.gethostname(): "lab",
        getuser(): "root",
    }
    for line in ending.addresses("dev", topology, there, in_lab=True):
        for own, shown in here.items():
            line = line.replace(own, shown)  # noqa: PLW2901  # what remains of it is replaced, too
        yield line


def _created(file: Path) -> list[str]:
    """Return what an `up` that creates everything says it did."""
    events, screen = file.with_name("events.json"), io.StringIO()
    done = [
        {"resOutputsEvent": {"planning": False, "metadata": {"op": "create", "urn": each.urn}}}
        for each in of_stack_file(file).resources
    ]
    events.write_text("".join(f"{json.dumps(each)}\n" for each in done))
    Progress(label="pulumi up", events=events, screen=screen).end()
    return screen.getvalue().splitlines()


def _refusal(file: Path) -> str:
    """Return what a route to Loki is answered with."""
    first = "    - traefik -> grafana:3000/tcp\n"
    text = file.read_text(encoding="utf-8")
    assert first in text
    file.write_text(text.replace(first, first + BAD, 1), encoding="utf-8")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert command.main(["judge", str(file)]) != 0
    return said.getvalue().strip()


def svg() -> str:
    """Return the picture, which needs no font and no file."""
    rows = [
        (kind, row)
        for kind, text in lines()
        for row in wrap(text, _COLUMNS, subsequent_indent="    ", break_on_hyphens=False) or [""]
    ]
    width, height = _COLUMNS * _LETTER + 2 * _EDGE, len(rows) * _LINE + 2 * _EDGE
    texts = [
        f'<text class="{kind}" x="{_EDGE}" y="{_EDGE + 13 + row * _LINE}">{escape(text)}</text>'
        for row, (kind, text) in enumerate(rows)
        if text
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" role="img">',
            "<title>make up, and a refused change</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width:g}" height="{height}" rx="8" fill="#10151b"/>',
            *texts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
