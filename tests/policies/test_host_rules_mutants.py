"""Every change of one line of the host's own rules, and of one field of a declared pair, is refused."""

import re
from collections.abc import Iterator
from dataclasses import replace

from policies.evaluate import evaluate_resource
from tests.conformance import keys, site
from tests.policies.sound import KINDS, run
from topology.index import TopologyIndex

_ELEMENT = re.compile(r"^ +[\d.]+ \. .*,$")
_OTHERS = {"ip": "172.30.3.200", "tcp": "udp", "udp": "tcp", "port": "1"}
_OPPOSITE = {" accept": " drop", " drop": " accept"}


def changes(line: str) -> Iterator[str]:
    """Yield lines in place of one: none, the opposite verdict, a pair with another field, a port more."""
    yield ""
    yield from (line.removesuffix(end) + other for end, other in _OPPOSITE.items() if line.endswith(end))
    if not _ELEMENT.match(line):
        return
    fields = line.strip(" ,").split(" . ")
    for index, field in enumerate(fields):
        kind = "ip" if "." in field else "port" if field.isdecimal() else field
        yield "      " + " . ".join((*fields[:index], _OTHERS[kind], *fields[index + 1 :])) + ","
    yield f"{line}\n      {' . '.join((*fields[:-1], '1'))},"


def mutants(text: str) -> Iterator[str]:
    """Yield the text with one line changed; a line of nothing but a bracket is left alone."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        for other in changes(line) if line.strip(" }") else ():
            yield "\n".join((*lines[:index], other, *lines[index + 1 :])) + "\n"


def test_every_change_of_one_line_is_refused() -> None:
    """As they are the rules are a command of the project; with any of over 100 changes they are none."""
    declared = TopologyIndex.of(site())
    (sound,) = (r for r in run(keys()) if (r.type, r.name) == (KINDS["command"], "host-rules"))

    def messages(text: str) -> list[str]:
        made = replace(sound, inputs={**sound.inputs, "stdin": text})
        return [finding.message for finding in evaluate_resource(made, declared).findings]

    text = sound.inputs["stdin"]
    why = "its stdin is not that of the project's host rules"
    refused = [f"host-rules: command:local:Command runs a command that can't be judged: {why}"]
    made = [*mutants(text)]
    assert messages(text) == []
    assert [mutant for mutant in made if messages(mutant) != refused] == []
    assert len({*made}) >= 100
