"""One run of the probe: from endpoints to questions, from answers to findings.

Namespaces and the engine are the driver's concern. A connection that should be possible is retried for a
limited time; one that should not is tried once, so waiting can only help declared flows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from topology.certificates import PemError, read_pem
from topology.model import HTTP, HTTPS, INTERNET, Route, Topology
from verify import exposed, names
from verify.driver import Answers, Ask, Driver, ProbeError
from verify.expect import ICMP, OTHER, Cell, EndpointKind, Expected, alive, cells
from verify.verdicts import (
    LOST,
    NOT_THERE,
    OPEN,
    SILENT,
    ProbeFinding,
    Seen,
    judge,
    judge_host,
    judge_inventory,
    judge_routes,
    judge_unrouted,
    judge_vantages,
    undecided,
)

_PATIENCE = 8.0
"""Seconds during which a connection that should be possible is retried."""


def run(
    topology: Topology,
    driver: Driver,
    report: Callable[[str], object],
    note: Callable[[str], object] = lambda _: None,
) -> list[ProbeFinding]:
    """Ask all questions and return the findings; `note` gets what is shown and not judged."""
    questions, own = cells(topology, driver.endpoints), list(alive(driver.endpoints))
    asks: dict[str, list[Ask]] = defaultdict(list)
    for number, cell in enumerate([*questions, *own]):
        if cell.address.ip:
            asks[cell.source].append(_ask(str(number), cell, cell.address.ip))
    docker_host = next((p.docker_host_address for p in driver.endpoints if p.name == INTERNET), None)
    pages = _pages(topology, questions, docker_host) if docker_host else {}
    for source, more in pages.items():
        asks[source] += more
    more_asks = (*names.asks(topology, driver.endpoints), *exposed.asks(topology, driver.endpoints))
    for source, ask in more_asks:
        asks[source].append(ask)
    report(f"verify: {len(driver.endpoints)} endpoints, {len(questions)} cells")
    answers = driver.ask(asks)
    by_cell = {}
    for number, cell in enumerate([*questions, *own]):
        given = answers.get(cell.source)
        answer = str(given.by_id.get(str(number), NOT_THERE)) if given else NOT_THERE
        by_cell[cell] = _arrived(topology, cell, str(number), answers) if answer == SILENT else answer
    made = {
        endpoint.name
        for endpoint in driver.endpoints
        if endpoint.kind in {EndpointKind.MEMBER, EndpointKind.OUTSIDE}
    }
    arp_neighbours = {name: given.arp_neighbours for name, given in answers.items() if name in made}
    seen = Seen(answers=by_cell, arp_neighbours=arp_neighbours, changed_rules=driver.changed_rules)
    endpoints = driver.endpoints
    found = [*judge(questions, own, endpoints, seen), *judge_inventory(endpoints), *judge_vantages(endpoints)]
    found += names.judge(topology, endpoints, answers)
    found += exposed.judge(topology, endpoints, answers, driver.other)
    for line in exposed.notes(topology, endpoints, answers, driver.other):
        note(line)
    found += judge_host(topology.docker.name, seen) if topology.docker_host else []
    if pages:
        through = {name: answers[name].by_id if name in answers else {} for name in pages}
        outside, ingress = through[INTERNET], through.get(topology.ingress.name, {})
        asked = {endpoint.name for endpoint in endpoints}
        first, public = public_routes(topology)[0], [r for r in public_routes(topology) if r.service in asked]
        direct = {route.place: ingress.get(f"page:{route.place}") for route in public}
        served = {route.place: outside.get(f"page:{route.place}") for route in public}
        routes = judge_routes(public, served, direct)
        routes += judge_unrouted(outside.get("unknown"), outside.get("redirect"), first.host)
        found += undecided(routes, next((p.fault for p in endpoints if p.name in pages and p.fault), ""))
    return found


def _arrived(topology: Topology, cell: Cell, number: str, answers: Mapping[str, Answers]) -> str:
    """Return what silence means: over UDP, where the destination's agent saw what arrived, OPEN or LOST.

    What is sent to a port that Docker-SRV publishes arrives at the ingress. A closed port refuses, so a port
    at which a datagram arrives in silence is one that a program has.
    """
    host = topology.docker_host
    is_host = host is not None and host.name == cell.destination
    given = answers.get((topology.ingress_name or "") if is_host else cell.destination)
    if not cell.port.endswith("/udp") or given is None or given.arrived is None:
        return SILENT
    return OPEN if number in given.arrived else LOST


def public_routes(topology: Topology) -> tuple[Route, ...]:
    """Return the routes that the internet may use on port 443."""
    return tuple(r for r in topology.routes if INTERNET in r.audience and HTTPS.number in r.ports)


def fence(topology: Topology, own: set[IPv4Address], asks: list[Ask]) -> None:
    """Raise ProbeError, before packets are sent, for an address that is neither the site's nor the run's."""
    for ask in asks:
        if (
            ask.address in own
            or ask.address == names.ENGINES
            or any(ask.address in zone.prefix for zone in topology.zones.values())
        ):
            continue
        raise ProbeError(f"{ask.address}: not an address of the site; only those in its zones are probed")


def _ask(number: str, cell: Cell, ip: IPv4Address) -> Ask:
    name, _, protocol = cell.port.partition("/")
    return Ask(
        id=number,
        kind=ICMP if cell.port == ICMP else protocol,
        address=ip,
        port=int(name) if name.isdecimal() else None,
        within=_PATIENCE if cell.expected is Expected.ALLOWED and name != OTHER else 0,
    )


def _pages(topology: Topology, questions: list[Cell], docker_host: IPv4Address) -> dict[str, list[Ask]]:
    """Return questions on each public route, from the internet by name and from the ingress by address.

    There are none unless the internet may use 80 and 443 of the ingress.
    """
    if not {HTTP, HTTPS} <= set(topology.public) or not (routes := public_routes(topology)):
        return {}
    first = routes[0].host
    outside = [
        Ask(id="unknown", kind="page", address=docker_host, port=HTTPS.number, sni=first,
            host=f"nobody.{topology.domain}"),
        Ask(id="redirect", kind="page", address=docker_host, port=HTTP.number, host=first, within=_PATIENCE),
    ]  # fmt: skip
    inside = []
    for route in routes:
        mark = f"page:{route.place}"
        outside.append(
            Ask(id=mark, kind="page", address=docker_host, port=HTTPS.number, host=route.host, sni=route.host,
                path=route.path, within=_PATIENCE)
        )  # fmt: skip
        tls = _by_tls(topology, route)
        inside += [
            Ask(id=mark, kind="page", address=cell.address.ip, port=int(cell.port.partition("/")[0]),
                host=route.host, path="/" if route.strip else route.path, within=_PATIENCE, **tls)
            for cell in questions
            if str(cell) == f"{topology.ingress.name} -> {route.service}:{route.port}"
            and cell.expected is Expected.ALLOWED
            and cell.address.ip
        ][:1]  # fmt: skip
    return {INTERNET: outside, topology.ingress.name: inside}


def _by_tls(topology: Topology, route: Route) -> dict[str, str]:
    """Return the TLS options for a route with a CA of its own; raises ProbeError if the CA can't be read."""
    if not route.ca_file:
        return {}
    try:
        authorities = read_pem(f"services.{route.service}.ca-file", route.ca_file)
    except PemError as error:
        raise ProbeError(str(error)) from None
    return {"sni": topology.physical(route.service), "authorities": authorities}
