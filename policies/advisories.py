"""The rule for images with known faults, and the table of these faults.

The table has what matters for images that a stack file may name, with the source and the day of its review.
It is no scanner. A fault that must stay for a while is an exception with a reason, an owner and a date.

Note: the lab builds its images from package registries, which lag behind the publishers', and serves them
under a name that leads to the machine itself alone. So its images are judged only where the domain is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from policies.rule import Severity, Violation, policy
from resources.docker import DockerContainer
from resources.site import Graph
from topology.index import TopologyIndex
from topology.model import INTERNET
from topology.versions import Version, software, version, written

_LAB: Final = "homelab-lab/"
_LOOPBACK: Final = "localhost"
"""Top-level domain that resolves to the machine itself (RFC 6761)."""
REVIEWED: Final = date(2026, 11, 30)
"""Day on which every row was last compared with its source."""


@dataclass(frozen=True, kw_only=True)
class Advisory:
    """A known fault of some software. `fixed` is the first version without it; None: no version is fixed."""

    software: str
    fixed: Version | None
    name: str
    text: str
    source: str


ADVISORIES: Final = (
    Advisory(
        software="traefik",
        fixed=(3, 7, 18),
        name="CVE-2026-137481",
        text="sanitizePath leaves /..;x/, so a path can pass a router's rule",
        source="the CVE list's record of 2026-11-26",
    ),
    Advisory(
        software="traefik",
        fixed=(3, 7, 13),
        name="CVE-2026-114656",
        text="a rule with !Host() can skip the check of client certificates",
        source="the CVE list's record of 2026-10-22",
    ),
    Advisory(
        software="traefik",
        fixed=(3, 7, 12),
        name="CVE-2026-88879",
        text="X.Auth.User passes as X-Auth-User",
        source="the CVE list's record of 2026-09-10",
    ),
    Advisory(
        software="promtail",
        fixed=None,
        name="its end of life on 2026-03-02",
        text="gets no fixes any more",
        source="the publisher's page, as docs/hardening.md quotes it",
    ),
)


@policy(
    obligation="No image may have a known fault, nor software that gets no fixes any more.",
    remedy="Name the fixed version or the software that replaces it, or declare an exception until a day.",
    severity=Severity.CRITICAL,
)
def images_not_known_broken(graph: Graph) -> Iterator[Violation]:
    """Yield images with a known fault, and whether the internet reaches the container."""
    for view in graph.of(DockerContainer):
        image = view.inputs.image
        if image.startswith(_LAB) and graph.topology.domain.rpartition(".")[2] == _LOOPBACK:
            continue
        for each in ADVISORIES:
            if each.software in software(image) and (fault := _fault(each, image)):
                yield view, f"{fault}; {_reached(graph, graph.called(view.inputs.name), graph.topology)}"


def _fault(advisory: Advisory, image: str) -> str:
    """Return why an image has an advisory's fault; empty if it does not."""
    given = version(image)
    if advisory.fixed is None:
        return f"image {image} has {advisory.name}: {advisory.text}"
    if given is None:
        return f"image {image} names no version, so it may have {advisory.name}"
    if given >= advisory.fixed:
        return ""
    return f"image {image} has {advisory.name} ({advisory.text}), fixed in {written(advisory.fixed)}"


def _reached(graph: Graph, name: str, topology: TopologyIndex) -> str:
    """Return whether the internet reaches a container, in the fewest hops."""
    service = topology.services.get(name)
    ports = service.ports if service else ()
    verdicts = [graph.reachability.evaluate(INTERNET, name, port) for port in (*ports, None)]
    traces = [verdict.trace for verdict in verdicts if verdict.trace]
    if not traces:
        return "the internet does not reach it"
    trace = min(traces, key=lambda each: len(each.hops))
    hops = len(trace.hops) - 1
    return f"the internet reaches it in {hops} hop{'s' * (hops != 1)}, via {trace}"
