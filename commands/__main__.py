"""The project's commands: `python -m commands` lists them, and `--help` explains each.

Exit status: that of the command, 2 for an unknown command, 130 after Ctrl-C. Only the chosen command's
module is imported, since most commands need only some of the packages.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final

from commands.arguments import parser

_FLOWS: Final = "flows"

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "list": (_FLOWS, "every flow that is possible"),
    "describe": (_FLOWS, "every flow, and what else a reviewer compares, as JSON"),
    "eval": (_FLOWS, "whether one flow is possible"),
    "explain": (_FLOWS, "the way of a flow, or what denies it"),
    "diff": (_FLOWS, "flows that one site opens and closes against another"),
    "changes": (_FLOWS, "the declared flows that a stack file opens and closes against another"),
    "review": (_FLOWS, "a change for its reviewer: flows opened and closed against a commit, findings"),
    "judge": (_FLOWS, "what the rules say"),
    "rules": ("rules", "the table of rules"),
    "report": ("report", "one HTML page, or a Mermaid flowchart"),
    "preflight": ("preflight", "what would make `make up` fail or do harm, before the first change"),
    "survey": ("survey", "who can reach whom on a running engine today, worst first; no stack file needed"),
    "adopt": ("adopt", "the plan by which what runs becomes a stack's own, and the import file"),
    "compose": ("compose", "a Compose file in a stack file's words, with zones and flows; writes nothing"),
    "verify": ("verify", "probe the live network, every source to every destination"),
    "drift": ("drift", "what differs between stack file, state and live network"),
    "suggest": (
        "suggest",
        "undeclared flows that were tried, as lines to declare them; declared ones without use",
    ),
    "stale": ("stale", "resources of Docker-SRV that have to be made anew, as the ends of their URNs"),
    "foothold": ("foothold", "what a shell in each container connects to, and which secrets its files hold"),
    "cloud-init": ("cloud_init", "the files by which guests with an app, or a router, set themselves up"),
    "router": ("router", "the rules of the site's router, from the flows that cross it"),
    "schema": ("schema", "write docs/*.schema.json from the model"),
}
"""Command -> its module here, and what it does."""


def main(words: Sequence[str]) -> int:
    """Run one command; returns its exit status."""
    if not words or words[0] in {"-h", "--help"}:
        print("usage: python -m commands <command> [--help]\n", *_listed(), sep="\n")
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        near = next(iter(get_close_matches(name, COMMANDS, 1)), None)
        remedy = f"write {near}" if near else "`python -m commands` lists them"
        print(f"{name}: is no command; {remedy}.", file=sys.stderr)
        return 2
    if name in {"eval", "explain"}:  # a flow may be written as everywhere else, with its arrow
        words = [part for word in words for part in word.split(" -> ") if part != "->"]
    module, _ = COMMANDS[name]
    if module in {_FLOWS, "report"}:
        parser().parse_args(words)  # ends a usage error before the import
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it reads every package's metadata
    gc.disable()  # an import leaves little garbage, and looking for it is an eighth of the import's time
    run = import_module(f"commands.{module}").main
    gc.enable()
    return int(run(words if module == _FLOWS else rest))


def _listed() -> list[str]:
    width = max(map(len, COMMANDS))
    return [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
