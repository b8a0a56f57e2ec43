"""Arguments of commands on sites, without the modules that these need: a usage error waits for none."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_COMMANDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "list": ("every flow that is possible", ("site", "--source", "--zone", "--json")),
    "describe": ("every flow, and what else a reviewer compares, as JSON", ("file",)),
    "eval": ("whether one flow is possible", ("site", "source", "destination")),
    "explain": ("the way of a flow, or what denies it", ("site", "source", "destination")),
    "diff": ("flows that one site opens and closes against another", ("before", "after")),
    "changes": ("the declared flows that a stack file opens and closes against another", ("before", "after")),
    "review": (
        "a change for its reviewer: flows opened and closed against a commit, findings",
        ("base", "file", "--markdown", "--sarif"),
    ),
    "judge": ("what the rules say", ("site",)),
    "report": (
        "write a stack as one HTML page, or as a Mermaid flowchart",
        ("site", "--verification", "--output", "--mermaid"),
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of these commands; its `command` is the chosen one."""
    made = argparse.ArgumentParser(prog="python -m commands", description="Who can reach whom, and why.")
    commands = made.add_subparsers(required=True, dest="command", metavar="command")
    for name, (text, places) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(config=None)
        for place in places:
            kind: dict[str, Any] = {"type": str if place in {"source", "destination", "base"} else Path}
            if place in {"--source", "--zone"}:
                kind = {"metavar": "NAME"}
            elif place in {"--json", "--mermaid"}:
                kind = {"action": "store_true"}
            elif place in {"--verification", "--output"}:
                kind["metavar"] = "FILE"
            command.add_argument(place, help=_HELP[place], **kind)
        if {"site", "before"} & set(places):
            command.add_argument(
                "--config", type=Path, help="stack file with the intent of an exported state"
            )
    return made


_HELP: Final = {
    "site": "Pulumi.<stack>.yaml, or a .json file that `pulumi stack export` wrote",
    "before": "a site, as a stack file or an exported state",
    "after": "the site to compare with it",
    "base": "a branch, a tag or a commit of this project",
    "file": "Pulumi.<stack>.yaml",
    "--source": "only flows that begin there: a service, a host, a zone of machines, or internet",
    "--zone": "only flows that begin or end in this zone",
    "--json": "write JSON instead, each flow with its trace",
    "--markdown": "write the review there too",
    "--verification": "what `verify --json` wrote",
    "--output": "default: report-<stack>.html",
    "--mermaid": "print a Mermaid flowchart instead",
    "--sarif": "write the findings there, for code scanning",
    "source": "internet, a management zone, a service or a host",
    "destination": "what to reach, as service:port/protocol",
}
