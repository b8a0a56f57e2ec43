"""Flows and zones that follow from variables, arguments, labels and the order of the services."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Final

from compose.known import ASKS, SCHEMES, known
from compose.outcome import Draft, Link, Outcome
from topology.versions import software

_HOST_LIKE: Final = re.compile(
    r"(^|_)(HOST|HOSTNAME|SERVER|ADDR|ADDRESS|ENDPOINT|URL|URI|BROKER|DBHOST|NODES?)$|HOST$", re.IGNORECASE
)
_PORT_LIKE: Final = re.compile(r"(HOSTNAME|HOST|SERVER|ADDRESS|ADDR|ENDPOINT)$", re.IGNORECASE)


def renamed(text: str, drafts: Iterable[Draft], variable: str) -> str:
    """Return a variable's text in which services have the names that they have here."""
    for alias, name in old_names(text, drafts, variable):
        text = _at(alias).sub(partial(_replaced, name), text)
    return text


def old_names(text: str, drafts: Iterable[Draft], variable: str) -> list[tuple[str, str]]:
    """Return the host names in a variable's text that services do not have here, each with the one they have.

    A text that is a name alone is a host's only in a variable of such a name: a user or a database often has
    the name of its service.
    """
    return [
        (alias, draft.name)
        for draft in drafts
        for alias in sorted(draft.aliases - {draft.name})
        if (text.strip() != alias or _HOST_LIKE.search(variable)) and _at(alias).search(text)
    ]


def _replaced(name: str, found: re.Match[str]) -> str:
    return f"{found[1] or ''}{name}"


def _at(alias: str) -> re.Pattern[str]:
    """Return the pattern of a host name: whole, behind :// or @, after a comma, or before a port."""
    name = re.escape(alias)
    return re.compile(
        rf"(^|(?<=,)|[a-zA-Z][\w+.-]*://(?:[^\s/@]*@)?|@){name}(?=$|[:/?#,\s])|(?<![\w./-]){name}(?=:\d)"
    )


def links(drafts: list[Draft], outcome: Outcome) -> list[Link]:
    """Return the flows between services, each once, certain ones first."""
    found: dict[str, Link] = {}
    for source in drafts:
        for other in drafts:
            if other is source:
                continue
            for link in _between(source, other):
                before = found.get(link.flow)
                if before is None or (link.is_certain and not before.is_certain):
                    found[link.flow] = link
                _open(other, link.port)
        found |= {link.flow: link for link in _by_default(source, drafts) if link.flow not in found}
        for name in source.waits:
            other_one = next((each for each in drafts if name in each.aliases), None)
            if other_one is None or other_one is source or _joined(found, source, other_one):
                continue
            port = _likely(other_one)
            if port is None:
                told = (
                    f"services.{source.name}.depends_on: nothing says on which port {other_one.name} listens"
                )
                outcome.note(f"{told}; if {source.name} asks it, write ports there, and a flow")
                continue
            _open(other_one, port)
            link = Link(
                source.name, other_one.name, port, False, f"depends_on {name}, which says order alone"
            )
            found[link.flow] = link
    return [*found.values()]


def _by_default(source: Draft, drafts: list[Draft]) -> Iterator[Link]:
    """Yield flows to services that an image asks by default, without a variable."""
    for image in ASKS.get(software(source.image), ()):
        for other in drafts:
            if software(other.image) == image and (port := _likely(other)):
                why = f"{software(source.image)} asks {image} by default"
                yield Link(source.name, other.name, port, False, why)


def _joined(found: dict[str, Link], one: Draft, other: Draft) -> bool:
    return any({link.source, link.destination} == {one.name, other.name} for link in found.values())


def _open(draft: Draft, port: str) -> None:
    draft.ports.setdefault(port, None)


def _likely(draft: Draft) -> str | None:
    found = known(draft.image)
    first = next((port for port in draft.ports if port.endswith("/tcp")), None)
    return found.port if found else first


def _between(source: Draft, other: Draft) -> Iterator[Link]:
    texts = {name: text for _, name, text in source.texts if name}
    for place, name, text in source.texts:
        for alias in other.aliases:
            for port, is_certain, how in _ports(text, name, alias, texts, other):
                yield Link(source.name, other.name, port, is_certain, f"{place} {how}")


def _ports(
    text: str, name: str, alias: str, texts: dict[str, str], other: Draft
) -> Iterator[tuple[str, bool, str]]:
    host = re.escape(alias)
    likely = _likely(other)
    url = (
        rf"\b([a-zA-Z][a-zA-Z0-9+.]*)://(?:[^\s/@]*@)?(?:[^\s/@]*,)?{host}(?::(\d{{1,5}}))?(?=$|[/?#,\s\"'])"
    )
    seen = False
    for scheme, number in re.findall(url, text):
        seen = True
        known_port = SCHEMES.get(scheme.lower().partition("+")[0])
        if number:
            yield f"{number}/tcp", True, f"is a URL of {other.name}"
        elif known_port:
            yield f"{known_port}/tcp", True, f"is a URL of {other.name}"
        elif likely:
            yield likely, False, f"is a URL of {other.name} without a port"
    for number in re.findall(rf"(?<![\w./@-]){host}:(\d{{1,5}})(?=$|[/?#,;\s\"'])", text):
        seen = True
        yield f"{number}/tcp", True, f"names {other.name} with its port"
    if seen or text.strip() != alias or not name or not _HOST_LIKE.search(name):
        return
    beside = texts.get(_PORT_LIKE.sub("PORT", name), "")
    if _PORT_LIKE.search(name) and beside.isdecimal() and 0 < int(beside) <= 65535:  # noqa: PLR2004
        yield f"{beside}/tcp", True, f"names {other.name}, and the port stands beside it"
    elif likely:
        yield likely, known(other.image) is not None, f"names {other.name}"


def shared(drafts: list[Draft], found: list[Link], outcome: Outcome) -> list[Link]:
    """Return flows that secrets need which two services hold, since no others may share one.

    A secret of a file that several services name is taken from those that have no flow for it.
    """
    made: list[Link] = []
    for one, other in combinations(drafts, 2):
        if any({link.source, link.destination} == {one.name, other.name} for link in (*found, *made)):
            continue
        for key in sorted(one.held.keys() & other.held.keys()):
            if not (_drop(other, key, one, outcome) or _drop(one, key, other, outcome)):
                made += _for_secret(one, other, key, outcome)
                break
    return made


def _drop(draft: Draft, key: str, other: Draft, outcome: Outcome) -> bool:
    """Take a file's variable from a service; returns whether it was one."""
    variable = draft.held[key].removeprefix("environment.")
    if variable not in draft.from_files:
        return False
    del draft.keys["environment"][variable], draft.held[key]
    told = f"services.{draft.name}.environment: {variable} is left out, since {draft.name} has no flow with"
    outcome.note(f"{told} {other.name}, which holds it, too")
    return True


def _for_secret(one: Draft, other: Draft, key: str, outcome: Outcome) -> list[Link]:
    source, destination = (one, other) if other.ports and not one.ports else (other, one)
    port = _likely(destination)
    if port is None:
        remedy = "give each a secret of its own"
        outcome.refuse(f"services.{other.name}", f"holds {key}, as {one.name} does", remedy)
        return []
    why = f"both hold {key}, which only the ends of a flow share"
    return [Link(source.name, destination.name, port, False, why)]


def place(drafts: list[Draft], found: list[Link], egress: Iterable[str]) -> None:
    """Give each service its zones: pages on frontend, what these ask on query, the rest on backend."""
    for draft in drafts:
        draft.zones = ["frontend"] if draft.is_front else []
    by_name = {draft.name: draft for draft in drafts}
    for link in found:
        ends = by_name[link.source], by_name[link.destination]
        routed = [end for end in ends if end.is_front]
        zone = None if len(routed) == 2 else "query" if routed else "backend"  # noqa: PLR2004
        for end in ends if zone else ():
            if zone not in end.zones:
                end.zones.append(str(zone))
    for draft in drafts:
        if not draft.zones:
            draft.zones.append("backend")
        if draft.name in egress:
            draft.zones.append("egress")


def unencrypted(drafts: list[Draft], found: list[Link]) -> list[Link]:
    """Return the flows that end at a service that is on no frontend zone: they are not encrypted."""
    front = {draft.name for draft in drafts if draft.is_front}
    return [link for link in found if link.destination not in front]


_URL_OUT: Final = re.compile(
    r"\bhttps?://(?:[^\s/@]*@)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?=$|[:/?#\s])", re.IGNORECASE
)


def going_out(draft: Draft, own: Iterable[str]) -> str | None:
    """Return the place of the first URL of another machine in a service; None where there is none."""
    inside = (".local", ".lan", ".home", ".internal", ".localhost", ".example", "example.com", "example.org")
    for place_, _, text in draft.texts:
        for host in _URL_OUT.findall(text):
            if host not in own and not host.endswith(inside):
                return place_
    return None
