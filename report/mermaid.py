"""The declared site as a Mermaid flowchart, for Markdown viewers that render it.

Note: Mermaid puts a node into only one subgraph, so a service on several networks is drawn in its first and
names them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from report.drawing import described, listed
from topology.model import INTERNET, Guest, Port, Topology


def flowchart(topology: Topology) -> str:
    """Return the flowchart, without a code fence."""
    return "\n".join(_lines(topology)) + "\n"


def _lines(topology: Topology) -> Iterator[str]:
    yield "flowchart LR"
    yield f'  {_id(INTERNET)}(["{INTERNET}"])'
    for zone in topology.zones.values():
        inside = [s for s in topology.services.values() if s.zones[0] == zone.name]
        if zone.is_outside:
            yield f'  {_id(zone.name)}(["{" · ".join(described(zone))}"])'
        elif inside:
            yield f'  subgraph zone_{zone.name.replace("-", "_")}["{" · ".join(described(zone))}"]'
            for service in inside:
                more = [str(service.address)] if isinstance(service, Guest) else []
                more = [" + ".join(service.zones)] if len(service.zones) > 1 else more
                yield f'    {_id(service.name)}["{"<br/>".join([service.name, *more])}"]'
            yield "  end"
    ports: defaultdict[tuple[str, str], list[Port]] = defaultdict(list)
    for flow in topology.flows:
        ports[flow.source, flow.destination].append(flow.port)
    for host in topology.hosts:
        if any(host.name in pair for pair in ports):
            yield f'  {_id(host.name)}[["{host.name}"]]'
    for (source, destination), opened in ports.items():
        yield f'  {_id(source)} -->|"{listed(opened)}"| {_id(destination)}'


def _id(name: str) -> str:
    """Return a node's name that is not a Mermaid keyword such as `end`."""
    return f"at_{name.replace('-', '_')}"
