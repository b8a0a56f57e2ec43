"""The command that updates expected messages: current ones stay, outdated ones are replaced."""

import ast
from dataclasses import replace

import yaml

from tests import findings, golden
from tests.policies import rejected
from tests.policies.sound import sound


def decorators(source: str) -> dict[str, str]:
    """Return the decorator of each function, parsed."""
    return {
        node.name: "".join(map(ast.dump, node.decorator_list))
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def test_current_refusals_stay_as_they_are() -> None:
    """Current messages of bad configurations stay, and so does the file's layout."""
    text = golden.CONFIGURATIONS.read_text(encoding="utf-8")
    assert golden.with_refusals(text) == text


def test_an_old_refusal_is_replaced() -> None:
    """An outdated message becomes the loader's current one, with positions by name."""
    text = golden.CONFIGURATIONS.read_text(encoding="utf-8")
    (refusal,) = (case["message"] for case in yaml.safe_load(text) if case["id"] == "flow from unknown")
    assert "flows[+]: " in refusal
    assert golden.with_refusals(text.replace(refusal, "flows[+]: is wrong.")) == text


def test_an_old_message_of_a_rule_is_replaced() -> None:
    """Only the decorator of an outdated case changes, for any number and length of messages."""
    source = golden.STACKS.read_text(encoding="utf-8")
    long = "loki: " + 'a word "quoted" ' * 20 + "end"
    other = golden.with_messages(source, {"a_swarm_service": ["web: one", long]})
    before, after = decorators(source), decorators(other)
    assert {name for name in before if before[name] != after[name]} == {"a_swarm_service"}
    wanted = ast.parse(f"@rejected('known-types', 'web: one', {long!r})\ndef a_swarm_service(): pass")
    assert after["a_swarm_service"] == decorators(ast.unparse(wanted))["a_swarm_service"]


def test_another_finding_is_seen() -> None:
    """A finding that is not in the file, with another message or missing, changes the digest of its case."""
    case = rejected.CASES[0]
    stack = sound()
    case.change(stack)
    found = stack.judge_changes().findings
    assert findings.changed(findings.of_case(case.name, found)) == []
    for other in ([replace(found[0], message="other"), *found[1:]], found[1:]):
        assert findings.changed(findings.of_case(case.name, other)) == [f"rejected/{case.name}"]
