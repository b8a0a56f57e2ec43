"""The verdict on each cell: it agrees, disagrees or is inconclusive, with the likely cause.

This module sends no packets.
Note: a failed connection alone proves no rule. It counts as denied only if, in the same run, the destination
was seen to listen and the source was seen to get packets through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, TypedDict

from topology.model import Route
from verify.expect import ICMP, OTHER, Cell, Endpoint, EndpointKind, Expected

OPEN, REFUSED, SILENT, UNREACHABLE, NOT_THERE = "open", "refused", "silent", "unreachable", "not there"
LOST = "lost"
"""The destination's agent saw that a datagram did not arrive."""
_SHUT = {REFUSED, SILENT, UNREACHABLE, LOST}
"""Answers that count as denied; any other failure is the probe's own."""


class Verdict(StrEnum):
    """The verdict on a cell; FREE means that nothing was expected, see `Expected.EITHER`."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    INCONCLUSIVE = "inconclusive"
    FREE = "free"


class Page(TypedDict):
    """A web server's answer; `title` is the HTML page's."""

    status: int
    title: str
    location: str


@dataclass(frozen=True, kw_only=True)
class ProbeFinding:
    """One judged question.

    `control` is the evidence that the source's packets pass; `odd` is the one of live network, proof and
    declaration that differs from the other two.
    """

    source: str
    destination: str
    what: str
    """`source -> destination:port`, or the address that was opened."""
    where: str
    expected: str
    got: str
    verdict: Verdict
    cause: str = ""
    control: str = ""
    odd: str = ""

    def __str__(self) -> str:
        at = f" at {self.where}" if self.where else ""
        because = f" (likely cause: {self.cause})" if self.cause else ""
        alone = f"; {self.odd} differs from the other two" if self.odd else ""
        return f"{self.what}{at}: expected {self.expected}, got {self.got}{because}{alone}"

    @property
    def open(self) -> bool:
        """Whether the connection opened."""
        return self.got == Expected.ALLOWED


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run's answers to each cell, and which of Docker-SRV's own rules are missing or changed.

    `arp_neighbours` are those that answered ARP, only for namespaces made by the run, since older entries
    outlive their link.
    """

    answers: Mapping[Cell, str]
    arp_neighbours: Mapping[str, Iterable[str]] = field(default_factory=dict)
    changed_rules: Sequence[str] | None = ()
    """None if the rules can't be read from here."""


def controls(cells: Iterable[Cell], seen: Seen) -> dict[str, str]:
    """Return the best evidence that each source's packets leave and answers return; absent without any.

    Best first: a declared connection that the source opened; another that it opened; a declared one that it
    answered; a neighbour's ARP reply, which is evidence for the link only.
    """
    found = {
        source: f"ARP reply of {first}"
        for source, all_ in seen.arp_neighbours.items()
        for first in [*all_][:1]
    }
    opened = [cell for cell in [*cells][::-1] if seen.answers.get(cell) == OPEN]
    found |= {cell.destination: f"answered {cell}" for cell in opened if cell.expected is Expected.ALLOWED}
    for kind in (Expected.EITHER, Expected.ALLOWED):
        found |= {cell.source: f"opened {cell}" for cell in opened if cell.expected is kind}
    return found


def judge(
    cells: Iterable[Cell], own: Iterable[Cell], endpoints: Iterable[Endpoint], seen: Seen
) -> list[ProbeFinding]:
    """Return a finding for every cell; `own` are the questions of each endpoint about itself."""
    questions = tuple(cells)
    control = controls(questions, seen)
    by_name = {endpoint.name: endpoint for endpoint in endpoints}
    listening = {cell.target for cell in (*own, *questions) if seen.answers.get(cell) == OPEN}
    return [_one(cell, control.get(cell.source, ""), by_name, listening, seen) for cell in questions]


def _one(
    cell: Cell,
    control: str,
    by_name: Mapping[str, Endpoint],
    listening: set[tuple[str, str, IPv4Address | None]],
    seen: Seen,
) -> ProbeFinding:
    answer = seen.answers.get(cell, NOT_THERE)
    got = "ALLOWED" if answer == OPEN else f"DENIED ({answer})"
    ends, cause = (by_name[cell.source], by_name[cell.destination]), ""
    if ends[0].fault:
        verdict, cause = Verdict.INCONCLUSIVE, ends[0].fault
    elif cell.expected is Expected.EITHER:
        verdict = Verdict.FREE
    elif answer == SILENT and cell.expected is Expected.ALLOWED and cell.port.endswith("/udp"):
        verdict, cause = Verdict.FREE, "a listener on UDP may say nothing"
    elif (answer == OPEN) is (cell.expected is Expected.ALLOWED):
        verdict = Verdict.AGREES
    else:
        verdict = Verdict.DISAGREES
        cause = _why_open(cell, *ends, seen) if answer == OPEN else _why_shut(answer, *ends)
    if verdict is Verdict.AGREES and cell.expected is Expected.DENIED:
        if answer not in _SHUT:
            cause = _why_shut(answer, *ends)
        elif not control:
            cause = f"no packet of {cell.source} was seen to pass in this run"
        elif cell.target not in listening:
            cause = ends[1].fault or f"{cell.destination} does not listen there, so silence says nothing"
        elif cell.port.endswith("/udp") and answer not in {UNREACHABLE, LOST}:
            cause = "UDP without an answer can't be told from a listener that says nothing"
        verdict = Verdict.INCONCLUSIVE if cause else verdict
    return ProbeFinding(
        source=cell.source,
        destination=cell.destination,
        what=str(cell),
        where=f"{cell.address.ip or 'no address'} on {cell.address.network}",
        expected=str(cell.expected),
        got=got,
        verdict=verdict,
        cause=cause,
        control=control,
    )


def _why_shut(answer: str, source: Endpoint, destination: Endpoint) -> str:
    for endpoint in (source, destination):
        if not endpoint.there:
            return (
                f"{endpoint.name} {'runs, but on none of its networks' if endpoint.runs else 'does not run'}"
            )
    return {
        REFUSED: f"nothing listens on {destination.name}'s port: the service is stopped, or a rule rejects",
        UNREACHABLE: "no way there: a network, leg or route is missing",
        SILENT: "dropped on the way: a rule is missing or too narrow, or the address is not answered",
        LOST: "dropped on the way: a rule is missing or too narrow",
        NOT_THERE: f"{source.name} was not asked: it, or this address of {destination.name}, is missing",
    }.get(answer, "the question itself failed")


def _why_open(cell: Cell, source: Endpoint, destination: Endpoint, seen: Seen) -> str:
    network = cell.address.network
    for endpoint in (source, destination):
        strange = {address.network for address in endpoint.addresses} - endpoint.zones
        if endpoint.kind is EndpointKind.CONTAINER and strange & (
            {network} | source.zones | destination.zones
        ):
            return f"{endpoint.name} is on {', '.join(sorted(strange))}, which is not declared"
    if destination.kind in {EndpointKind.GUEST, EndpointKind.NODE}:
        where = (
            "datacenter, guest and card" if destination.kind is EndpointKind.GUEST else "datacenter and node"
        )
        what = "answers pings" if cell.port == ICMP else "lets in more than its flows name"
        port = "" if not cell.port.startswith(OTHER) else ", on any port"
        return f"{destination.name}'s firewall {what}{port}: is it on at {where}?"
    if source.kind is EndpointKind.GUEST:
        return f"{source.name}'s firewall lets out what no flow names: is its output policy DROP?"
    if any(cell.port == str(port) for port in destination.extra):
        return "a container publishes this port, and no flow of the internet names it"
    if seen.changed_rules is None or seen.changed_rules:
        state = "can't be seen from here; look whether they are" if seen.changed_rules is None else "are"
        return f"Docker-SRV's own rules {state} missing or changed; `make up` installs them"
    return (
        "Docker-SRV's input rules do not cover this bridge"
        if destination.kind is EndpointKind.HOST
        else "Docker-SRV forwards it: look for a rule, a masquerade or a published port"
    )


def judge_inventory(endpoints: Iterable[Endpoint]) -> list[ProbeFinding]:
    """Return a finding for each undeclared leg, name, address or listener."""
    found = []
    for endpoint in endpoints:
        if endpoint.kind is EndpointKind.CONTAINER:
            strange = sorted({address.network for address in endpoint.addresses} - endpoint.zones)
            cause = "it was joined to that network by hand" if endpoint.zones else "no declaration names it"
            found += [undeclared(endpoint, f"is on {network}", cause) for network in strange]
        found += [undeclared(endpoint, what, cause) for what, cause in endpoint.oddities]
        if endpoint.kind is EndpointKind.GUEST:
            cause = "a program in the guest that no port of the service declares"
            found += [undeclared(endpoint, f"listens on {port}", cause) for port in endpoint.extra]
    return found


def judge_vantages(endpoints: Iterable[Endpoint]) -> list[ProbeFinding]:
    """Return an inconclusive finding for each endpoint that could not be asked: the run is not good."""
    return [
        ProbeFinding(
            source=endpoint.name,
            destination=endpoint.name,
            what=f"{endpoint.name} as a vantage",
            where="",
            expected="answers",
            got="none",
            verdict=Verdict.INCONCLUSIVE,
            cause=endpoint.fault,
        )
        for endpoint in endpoints
        if endpoint.fault
    ]


def undecided(findings: Iterable[ProbeFinding], fault: str) -> list[ProbeFinding]:
    """Return the findings as inconclusive if a fault kept their questions from being asked."""
    return [replace(f, verdict=Verdict.INCONCLUSIVE, cause=fault) if fault else f for f in findings]


def undeclared(endpoint: Endpoint, what: str, cause: str) -> ProbeFinding:
    """Return the finding about something at an endpoint that no declaration names."""
    return ProbeFinding(
        source=endpoint.name,
        destination=endpoint.name,
        what=f"{endpoint.name} {what}",
        where="",
        expected="no such thing",
        got="one",
        verdict=Verdict.DISAGREES,
        cause=cause,
    )


def judge_host(name: str, seen: Seen) -> list[ProbeFinding]:
    """Return a finding for each of Docker-SRV's own rules that differs, even if no cell shows it."""
    return [
        ProbeFinding(
            source=name,
            destination=name,
            what=f"{name}'s {what}",
            where="",
            expected="as written",
            got="missing or changed",
            verdict=Verdict.DISAGREES,
            cause="`make up` puts them back",
        )
        for what in seen.changed_rules or ()
    ]


_NOT_YET: Final = (401, 302, 303, 307, 403)
"""Status of an answer that asks for a login (RFC 9110)."""


def judge_routes(
    routes: Iterable[Route], through: Mapping[str, object], direct: Mapping[str, object]
) -> list[ProbeFinding]:
    """Return findings that compare the ingress's page for each host name with the service's own page.

    Pages are the same if status and title are. If the route requires a login, the ingress must answer 401;
    with a service that answers for logins, which sends browsers to its page, one of `_NOT_YET`. A service
    that fails itself (5xx) agrees with nothing.
    """
    found = []
    for route in routes:
        got, own = through.get(route.place), direct.get(route.place)
        expected = f"its own page ({_page(own)})"
        page, right = isinstance(got, dict), got == own
        if isinstance(got, dict) and isinstance(own, dict):
            right = (got["status"], got["title"]) == (own["status"], own["title"])
        if route.login:
            wanted = _NOT_YET if route.login_url else _NOT_YET[:1]
            expected = f"{' or '.join(map(str, wanted))}, a login"
            right = isinstance(got, dict) and got["status"] in wanted
        cause = "the ingress routes this address elsewhere" if page else "the ingress does not serve it"
        if page and route.login:
            cause = "the ingress serves it without asking for a login"
        if not isinstance(own, dict):
            cause, right = f"{route.service} itself gave the ingress no page", False
        elif own["status"] >= 500:  # noqa: PLR2004  # where HTTP's server errors begin
            cause, right = f"{route.service} itself answers {own['status']}", False
        found.append(
            _route(
                f"https://{route.host}{route.path}",
                route.service,
                expected,
                _page(got),
                "" if right else cause,
            )
        )
    return found


def judge_unrouted(unknown: object, redirect: object, host: str) -> list[ProbeFinding]:
    """Return findings on the ingress's own answers: 404 for an unknown host name, and the HTTPS redirect."""
    told = redirect if isinstance(redirect, dict) else {}
    not_found = isinstance(unknown, dict) and unknown["status"] == 404  # noqa: PLR2004
    moved = told.get("location") == f"https://{host}/" and told.get("status") in {301, 308}
    return [
        _route(
            "https, a host name without a route",
            "",
            "404",
            _page(unknown),
            "" if not_found else "a route catches every host name",
        ),
        _route(
            f"http://{host}/",
            "",
            f"301 to https://{host}/",
            _page(redirect),
            "" if moved else "the entry point on 80 does more than redirect",
        ),
    ]


def _route(what: str, service: str, expected: str, got: str, cause: str) -> ProbeFinding:
    return ProbeFinding(
        source="internet",
        destination=service,
        what=what,
        where="",
        expected=expected,
        got=got,
        verdict=Verdict.DISAGREES if cause else Verdict.AGREES,
        cause=cause,
    )


def _page(answer: object) -> str:
    if not isinstance(answer, dict):
        return f"no page ({answer or NOT_THERE})"
    return " ".join(str(answer[key]) for key in ("status", "title", "location") if answer[key])
