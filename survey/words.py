"""A survey as lines for people, and as JSON for machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from reachability.result import Connection
from survey.finding import SurveyFinding
from survey.site import RunningSite

SCHEMA: Final = 1


def lines(site: RunningSite, findings: Sequence[SurveyFinding]) -> Iterator[str]:
    """Yield what was seen, the findings worst first, who reaches whom, and what was not seen."""
    docker = site.docker
    yield f"{docker.engine}, {len(docker.containers)} containers, {len(docker.networks)} networks"
    if site.proxmox:
        nodes, guests = len(site.proxmox.nodes), len(site.proxmox.guests)
        yield f"Proxmox at {site.proxmox.url}, {nodes} nodes, {guests} guests"
    for each in findings:
        yield ""
        yield f"{each.severity!s:<9}{', '.join(each.sources) or '-'} -> {each.destination}:{each.port}"
        yield f"{'':<9}path: {each.path}"
        yield f"{'':<9}{each.rule}: {each.why}"
        yield f"{'':<9}close: {each.change}"
    yield ""
    yield f"{len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}"
    yield ""
    yield "who reaches whom (* is any port that the destination does not name):"
    yield from (f"  {line}" for line in _table(site))
    yield ""
    yield "not seen:" if site.unseen else "not seen: nothing that this survey knows of"
    yield from (f"  {each}" for each in site.unseen)


def data(site: RunningSite, findings: Sequence[SurveyFinding]) -> dict[str, Any]:
    """Return the survey for JSON; `schema` rises when a field changes its meaning or goes."""
    return {
        "schema": SCHEMA,
        "docker": {
            "name": site.host,
            "version": site.docker.engine.version,
            "endpoint": site.docker.engine.endpoint,
            "firewall": site.docker.engine.backend,
        },
        "proxmox": {"url": site.proxmox.url} if site.proxmox else None,
        "findings": [{**asdict(each), "severity": str(each.severity)} for each in findings],
        "flows": [_flow(flow) for flow in site.reachability.flows()],
        "notSeen": list(site.unseen),
    }


def _flow(flow: Connection) -> dict[str, Any]:
    return {
        "source": flow.source,
        "destination": flow.destination,
        "port": str(flow.port or "*"),
        "how": str(flow.how),
        "path": list(flow.trace.hops),
    }


def _table(site: RunningSite) -> Iterator[str]:
    """Yield a line for each destination and set of sources, with all ports that these sources reach."""
    sources: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for flow in site.reachability.flows():
        sources[flow.destination, str(flow.port or "*")][flow.source] = None
    ports: defaultdict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (destination, port), names in sources.items():
        ports[destination, tuple(names)].append(port)
    for (destination, those), found in ports.items():
        yield f"{destination}:{', '.join(found)} <- {', '.join(those)}"
