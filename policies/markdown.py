"""Renders a review: as Markdown, one paragraph first, then flows and all else; as lines for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from policies.changes import code, plain
from policies.review import DECLARED, EXCEPTED, FOLLOWS, LABEL, OBSERVED, REFUSED, FlowChange, Review
from policies.rule import RULES
from reachability.result import EdgeKind
from topology.model import INTERNET
from topology.project import stack_name

_NAMED: Final = 4
"""How many names or flows a sentence lists; it counts the rest."""
_WORDS: Final = {
    DECLARED: "the stack file names the flow",
    FOLLOWS: "it needs no declaration: a proxy passes it on by a declared flow, or it starts at a host",
    OBSERVED: "an observed guest's firewall lets it pass and logs it, until the guest's day",
    EXCEPTED: "an exception of the stack file lets it pass, until its day",
    REFUSED: "a rule refuses it; see the findings",
    "sensitive": f"to or from a zone that few may reach: a reviewer sets the label `{LABEL}` first",
}
"""Word of the tables -> its meaning, told below them where it occurs."""


def markdown(review: Review) -> Iterator[str]:
    """Yield the lines of a review, the most important first."""
    yield f"**{stack_name(review.file)}:** {' '.join(sentences(review))}"
    if review.new:
        yield from ("", "The base has no such stack, so all of its flows are new.")
    if any(each.sensitive for each in review.opened):
        yield from ("", f"**A sensitive flow opens**: a reviewer sets the label `{LABEL}`.")
    own = [each for each in _all(review) if each[1].standing != FOLLOWS]
    if own:
        yield from ("", "### Flows", *_table(own))
    if review.findings:
        yield from ("", "### Findings", "", "| rule | severity | finding | remedy |", "|---|---|---|---|")
    for finding in review.findings:
        rule = RULES[finding.rule]
        yield f"| {rule.name} | {rule.severity} | {code(finding)} | {rule.remedy} |"
    if follows := [each for each in _all(review) if each[1].standing == FOLLOWS]:
        yield from ("", f"<details><summary>What follows: {_count(follows, 'flow')}</summary>")
        yield from (*_table(follows), "", "</details>")
    if review.other is None:
        yield from (
            "",
            "The base is too old to tell more than flows: compare moves, images and data by hand.",
        )
    elif review.other:
        yield from ("", "### What else changes", "", *(f"- {each.text}" for each in review.other))
    if words := [*_words(review)]:
        yield from ("", f"Words: {'; '.join(words)}.")


def refused(file: str, error: str) -> Iterator[str]:
    """Yield the lines for a change that can't be reviewed, with each of its faults."""
    faults = [line for line in error.splitlines() if line.strip()]
    yield f"**{stack_name(file)}: refused**, nothing was judged. To mend:"
    yield from ("", *(f"- {code(line)}" for line in faults))


def brief(review: Review) -> Iterator[str]:
    """Yield plain lines for a terminal: declared flows that open and close, and what else is told first."""
    for verb, flows in (("opens", review.opened), ("closes", review.closed)):
        routed = {(each.flow.trace.hops[0], each.flow.destination) for each in flows if _is_routed(each)}
        for each in flows:
            why = f" (sensitive: {each.sensitive})" if each.sensitive else ""
            if each.standing != FOLLOWS and (each.flow.source, each.flow.destination) in routed:
                way = f"by {each.flow.source} ({each.flow})"
                yield f"{verb}: {INTERNET} -> {each.flow.destination}, {way}{why}"
            elif each.standing != FOLLOWS:
                yield f"{verb}: {each.flow}{why}"
    if not review.opened and not review.closed:
        yield "no flow opens or closes"
    yield from (each.leading.replace("`", "") for each in review.other or () if each.leading)


def sentences(review: Review) -> Iterator[str]:
    """Yield the sentences of the first paragraph; at least one."""
    found = [*_sentences(review)]
    if not review.opened and not review.closed:
        rest = " What else changes is below." if review.other and not found else ""
        found.append(f"No flow opens or closes.{rest}")
    yield from found


def _sentences(review: Review) -> Iterator[str]:
    if review.findings:
        yield f"**Refused** by {_count(review.findings, 'finding')}."
    yield from _internet(review)
    told = {each.flow.trace.hops[0] for each in review.opened if _is_routed(each)}
    closed = {each.flow.trace.hops[0] for each in review.closed if _is_routed(each)}
    ways_out = [
        each for each in review.opened if each.standing != FOLLOWS and each.flow.destination == INTERNET
    ]
    if ways_out:
        yield f"New way out to the internet: {_some(_way_out(each) for each in ways_out)}."
    for verb, flows, proxies in (("Opens", review.opened, told), ("Closes", review.closed, closed)):
        own = [
            each
            for each in flows
            if each.standing != FOLLOWS
            and each.flow.source not in {INTERNET, *proxies}
            and each not in ways_out
        ]
        if own:
            yield f"{verb}: {_some(code(each.flow) for each in own)}."
    for each in review.other or ():
        if each.leading:
            first, _, rest = each.leading.partition(" ")
            yield f"{first.capitalize() if first in _WORDS_FIRST else first} {rest}."


def _internet(review: Review) -> Iterator[str]:
    """Yield what the internet newly reaches, and no longer reaches, by the way to it."""
    for text, flows in (
        ("New from the internet", review.opened),
        ("No longer from the internet", review.closed),
    ):
        ways: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for each in flows:
            if each.flow.source == INTERNET:
                way = f"through {plain(each.flow.trace.hops[0])}" if _is_routed(each) else "directly"
                port = "" if _is_routed(each) else f" ({each.flow.port or 'every port'})"
                ways[way][f"{plain(each.flow.destination)}{port}"] = None
        if ways:
            yield f"{text}: {'; '.join(f'{_some(names)}, {way}' for way, names in ways.items())}."


def _way_out(each: FlowChange) -> str:
    why = f" ({each.sensitive})" if each.sensitive else ""
    return f"{plain(each.flow.source)} on {each.flow.port or 'every port'}{why}"


def _is_routed(each: FlowChange) -> bool:
    return each.flow.source == INTERNET and each.flow.how is EdgeKind.PROXIED


_WORDS_FIRST: Final = frozenset(
    {"the", "new", "no", "data", "exception", "zone", "admin", "app", "volume", "observation"}
)
"""First words of effects that are no names; a name stays as it is."""


def _all(review: Review) -> list[tuple[str, FlowChange]]:
    return [*(("opens", each) for each in review.opened), *(("closes", each) for each in review.closed)]


def _table(rows: Iterable[tuple[str, FlowChange]]) -> Iterator[str]:
    yield from ("", "| | flow | path | standing | sensitive |", "|---|---|---|---|---|")
    for verb, each in rows:
        yield (
            f"| {verb} | {code(each.flow)} | {code(each.flow.trace)} | {each.standing} | {each.sensitive} |"
        )


def _words(review: Review) -> Iterator[str]:
    rows = [each for _, each in _all(review)]
    used = {"declared" if each.standing.startswith(DECLARED) else each.standing for each in rows}
    used |= {"sensitive" for each in rows if each.sensitive}
    for word, meaning in _WORDS.items():
        if word in used:
            yield f"*{word.strip('*')}*: {meaning}"


def _some(names: Iterable[str]) -> str:
    found = [*names]
    rest = f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""
    return f"{', '.join(found[:_NAMED])}{rest}"


def _count(things: Iterable[object], noun: str) -> str:
    number = len([*things])
    return f"{number} {noun}{'' if number == 1 else 's'}"
