"""The findings of the corpus as digests: code that is made faster or simpler must not change a finding.

`.venv/bin/python -m tests.findings` writes `tests/policies/findings.txt`, in a minute of processor time;
with `--print` it prints each case with its findings instead, so that `diff` compares two commits.
The corpus: every rejected stack, every mutation of the sound stack, and the flows of the generated sites.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

from policies.rule import Finding
from resources.site import Graph
from resources.typed import view
from tests.policies import generate, rejected
from tests.policies.mutations import Mutation, mutations, reads_the_same
from tests.policies.sound import Stack, run, sound
from topology.config import load
from topology.index import TopologyIndex
from topology.project import PROJECT

FILE = PROJECT / "tests" / "policies" / "findings.txt"
SITES, SHARES = 150, 6
"""Generated sites, and the tests that share sites and mutations, so that every core runs some."""
Lines = Mapping[str, list[str]]
"""Name of a digest -> the lines that it is made of."""


class Judged(NamedTuple):
    """A mutated stack, whether a finding names the cause, and the findings up to there."""

    number: int
    mutation: Mutation
    stack: Stack
    named: bool
    findings: tuple[Finding, ...]


def judged(share: int) -> Iterator[Judged]:
    """Yield the mutations of a share that mean something: by single resources first, then by the stack."""
    for number, mutation in enumerate(mutations()):
        if crc32(str(mutation).encode()) % SHARES != share:
            continue
        stack = sound()
        mutation.apply(stack)
        if reads_the_same(mutation, stack):
            continue
        findings = stack.judge_alone()
        if not is_named(mutation, findings):
            findings = stack.judge_changes().findings
        yield Judged(number, mutation, stack, is_named(mutation, findings), findings)


def is_named(mutation: Mutation, findings: Iterable[Finding]) -> bool:
    """Whether some finding names what the mutation changed."""
    cause = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in mutation.names))
    return any(cause.search(finding.message) for finding in findings)


def of_mutation(share: int, each: Judged) -> Lines:
    """Return the lines of one mutation; those of an operator have one digest in each share."""
    name = f"mutation/{share}/{each.mutation.operator.replace(' ', '-')}"
    return {name: lines(str(each.mutation), each.findings)}


def of_case(name: str, findings: Iterable[Finding]) -> Lines:
    """Return the lines of one rejected stack."""
    return {f"rejected/{name}": lines(name, findings)}


def of_site(number: int, stack: Stack) -> Lines:
    """Return the lines of a generated site, which has no findings: its flows."""
    index = TopologyIndex.of(load(stack.config))
    flows = Graph(tuple(map(view, stack.resources)), index).reachability.flows()
    return {f"site/{number}": [f"{number}: {each} via {each.trace}" for each in flows]}


def lines(case: str, findings: Iterable[Finding]) -> list[str]:
    """Return a line for each finding of a case."""
    return [f"{case}: {each.rule} {each.subject} {each.urn} {each.message!r}" for each in findings]


def add(told: dict[str, list[str]], more: Lines) -> None:
    """Add lines to those of the same digest."""
    for name, found in more.items():
        told.setdefault(name, []).extend(found)


def changed(told: Lines) -> list[str]:
    """Return the names of those digests that are not in the file."""
    known = set(FILE.read_text(encoding="utf-8").splitlines())
    return [line.rpartition(" ")[0] for line in digests(told) if line not in known]


def digests(told: Lines) -> list[str]:
    """Return the lines of the file."""
    texts = {name: "\n".join(sorted(found)) for name, found in sorted(told.items())}
    return [f"{name} {sha256(text.encode()).hexdigest()[:12]}" for name, text in texts.items()]


def main() -> int:
    """Write the file, or print the lines."""
    told: dict[str, list[str]] = {}
    for case in rejected.CASES:
        stack = sound()
        case.change(stack)
        told |= of_case(case.name, stack.judge_changes().findings)
    for number in range(SITES):
        config = generate.topology(number)
        told |= of_site(number, Stack(resources=run(config), config=config))
    for share in range(SHARES):
        for each in judged(share):
            add(told, of_mutation(share, each))
    if sys.argv[1:] == ["--print"]:
        print(*(line for name in sorted(told) for line in sorted(told[name])), sep="\n")
    else:
        FILE.write_text("".join(f"{line}\n" for line in digests(told)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
