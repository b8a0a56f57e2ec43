"""Rewrites the messages of bad configurations and rejected stacks beside their cases, and a router's rules.

`.venv/bin/python -m tests.golden` changes `tests/unit/bad_configurations.yaml`, `tests/policies/rejected.py`
and `tests/unit/router/rules.*`; `git diff` then shows each changed message and rule.
"""

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rendered.router_rules import rules
from tests.policies import rejected
from tests.policies.sound import sound
from tests.routers import routed
from tests.site import changed, named, unlisted
from topology.config import ConfigError, load
from topology.model import RouterSystem
from topology.project import PROJECT

CONFIGURATIONS = PROJECT / "tests" / "unit" / "bad_configurations.yaml"
ROUTERS = PROJECT / "tests" / "unit" / "router"
STACKS = PROJECT / "tests" / "policies" / "rejected.py"
_WIDTH = 90


def refused(change: Mapping[str, Any]) -> str:
    """Return the loader's message for a change of the sound site; empty where the loader accepts it."""
    values = changed(dict(change))
    try:
        load(values)
    except ConfigError as error:
        return unlisted(named(str(error), values))
    return ""


def with_refusals(text: str) -> str:
    """Return the table of bad configurations with the current messages."""
    head, *cases = re.split(r"^(?=- id: )", text, flags=re.MULTILINE)
    return head + "".join(map(_with_refusal, cases))


def _with_refusal(case: str) -> str:
    (read,) = yaml.safe_load(case)
    message = refused(read["change"])
    if message == read["message"]:
        return case
    start, end = case.index("  message: "), len(case.rstrip("\n"))
    return f"{case[:start]}  message: |-\n{textwrap.indent(message, '    ')}{case[end:]}"


def told() -> dict[str, list[str]]:
    """Return the current messages of each rejected stack's rule, by the name of the case."""
    found = {}
    for case in rejected.CASES:
        stack = sound()
        case.change(stack)
        messages = [each.message for each in stack.judge().findings if each.rule == case.rule]
        found[case.name] = [*case.messages] if sorted(messages) == sorted(case.messages) else messages
    return found


def with_messages(source: str, messages: Mapping[str, Iterable[str]]) -> str:
    """Return the source of the rejected stacks with other messages in the decorators of some cases."""
    lines = source.splitlines(keepends=True)
    for function in reversed(ast.parse(source).body):
        if isinstance(function, ast.FunctionDef) and function.name in messages:
            (decorator,) = function.decorator_list
            assert isinstance(decorator, ast.Call)
            assert decorator.end_lineno
            texts = (ast.literal_eval(decorator.args[0]), *messages[function.name])
            written = ", ".join(map(_literal, texts))
            lines[decorator.lineno - 1 : decorator.end_lineno] = [f"@rejected({written})\n"]
    return "".join(lines)


def _literal(text: str) -> str:
    """Return a text as literals that fit into a line."""
    parts = textwrap.wrap(text, _WIDTH, drop_whitespace=False, break_long_words=False)
    return "\n".join(json.dumps(part, ensure_ascii=False) for part in parts)


def main() -> int:
    """Write the files."""
    for system in RouterSystem:
        (ROUTERS / f"rules.{system}").write_text(rules(load(routed(system))), encoding="utf-8")
    CONFIGURATIONS.write_text(with_refusals(CONFIGURATIONS.read_text(encoding="utf-8")), encoding="utf-8")
    written = {case.name: [*case.messages] for case in rejected.CASES}
    other = {name: messages for name, messages in told().items() if messages != written[name]}
    if other:
        STACKS.write_text(with_messages(STACKS.read_text(encoding="utf-8"), other), encoding="utf-8")
        subprocess.run([Path(sys.executable).with_name("ruff"), "format", "--quiet", STACKS], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
