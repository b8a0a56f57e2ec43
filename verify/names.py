"""Whether containers learn names of the outside from the engine's name server, which they all have.

A container without name servers of its own is asked about two names: its own, which the engine knows, so
that its answers are known to arrive, and one that only a name server outside the site can know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from topology.model import INTERNET, NO_NAME_SERVER, Topology
from verify.driver import Answers, Ask
from verify.expect import NAME, Endpoint, EndpointKind, Expected
from verify.verdicts import NOT_THERE, OPEN, ProbeFinding, Verdict

ENGINES = IPv4Address("127.0.0.11")
"""Docker's name server, the same in each container's network."""
_OUTSIDE = "example.org"
"""Reserved for documentation (RFC 2606) and known to name servers on the internet."""


def asks(topology: Topology, endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, Ask]]:
    """Yield each question with the name of the endpoint that it goes to."""
    for endpoint in _without(topology, endpoints):
        for mark, name in (("own", topology.physical(endpoint.name)), ("outside", _OUTSIDE)):
            yield endpoint.name, Ask(id=f"name:{mark}", kind=NAME, address=ENGINES, port=53, host=name)


def judge(
    topology: Topology, endpoints: Iterable[Endpoint], answers: Mapping[str, Answers]
) -> list[ProbeFinding]:
    """Return a finding for each container that should learn no name of the outside."""
    return [
        _one(endpoint, answers[endpoint.name].by_id if endpoint.name in answers else {})
        for endpoint in _without(topology, endpoints)
    ]


def _one(endpoint: Endpoint, given: Mapping[str, object]) -> ProbeFinding:
    own, outside = (str(given.get(f"name:{mark}", NOT_THERE)) for mark in ("own", "outside"))
    verdict, cause = Verdict.AGREES, ""
    if endpoint.name_servers not in {None, (str(NO_NAME_SERVER),)}:
        servers = ", ".join(endpoint.name_servers or ()) or "its host's"
        verdict, cause = Verdict.DISAGREES, f"the engine asks {servers} for it; `make up` puts it right"
    elif outside == OPEN:
        verdict, cause = Verdict.DISAGREES, "the engine asks other name servers than the container's own"
    elif own != OPEN:
        verdict = Verdict.INCONCLUSIVE
        cause = endpoint.fault or f"the engine's name server does not know {endpoint.name} itself"
    return ProbeFinding(
        source=endpoint.name,
        destination=INTERNET,
        what=f"{endpoint.name} -> {INTERNET}:{NAME}",
        where=f"{ENGINES} on {endpoint.name}",
        expected=Expected.DENIED,
        got=Expected.ALLOWED if outside == OPEN else f"{Expected.DENIED} ({outside})",
        verdict=verdict,
        cause=cause,
        control="the engine answered about the container's own name" if own == OPEN else "",
    )


def _without(topology: Topology, endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """Yield the running containers that have no name server to ask."""
    services = {each.name for each in topology.containers if topology.name_servers(each) == (NO_NAME_SERVER,)}
    for endpoint in endpoints:
        if endpoint.kind is EndpointKind.CONTAINER and endpoint.runs and endpoint.name in services:
            yield endpoint
