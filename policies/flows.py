"""Rules that compare the declared flows with those that the resources make possible, and enforce roles.

Note: of an observed guest they judge what its firewall will be. `guests_enforced` says that it is open until
then, and assertions are about what is possible today.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies.rule import Severity, Violation, policy
from reachability.intent import Intent, missing, surplus
from reachability.result import ConnectionSet, EdgeKind, UnknownNameError
from resources.site import Graph
from topology.index import TopologyIndex
from topology.model import INTERNET, Container, Flow, Guest


@policy(
    obligation="Every flow that is possible must be declared.",
    remedy="Close the way that the trace names, or declare the flow.",
    severity=Severity.CRITICAL,
)
def undeclared_flows(graph: Graph) -> Iterator[Violation]:
    """Yield flows that are possible but not declared, except those that `roles_hold` reports."""
    forbidden = _Roles(graph.topology)
    for flow in surplus(graph.enforced, Intent.of(graph.topology)):
        if not forbidden.by(flow.source, flow.destination, flow.how, flow.trace.hops[0]):
            yield str(flow), f"expected DENIED, got ALLOWED via {flow.trace}"


@policy(
    obligation="Every declared flow must be possible.",
    remedy="Open the way that is missing, or remove the flow.",
)
def unreachable_flows(graph: Graph) -> Iterator[Violation]:
    """Yield declared flows that are not possible."""
    present = set(graph.reachability.names)
    topology = graph.topology
    known = topology.model_copy(
        update={"flows": tuple(f for f in topology.flows if {f.source, f.destination} <= present)}
    )
    for flow in topology.flows:
        for name in sorted({flow.source, flow.destination} - present):
            yield str(flow), f"expected ALLOWED, got DENIED: {name} is not in the stack"
    for denied in missing(graph.enforced, Intent.of(known)):
        yield str(denied), f"expected ALLOWED, got DENIED: {'; '.join(denied.reasons)}"


@policy(
    obligation="What a zone's role forbids must be impossible, even where it is declared.",
    remedy="Close the way that the trace names; a declaration does not help.",
    severity=Severity.CRITICAL,
)
def roles_hold(graph: Graph) -> Iterator[Violation]:
    """Yield flows that a role forbids even if declared, for example from the ingress to the backend."""
    forbidden = _Roles(graph.topology)
    seen: set[tuple[str, str]] = set()
    for bundle in graph.enforced.connection_sets():
        for source in forbidden.sources(bundle):
            flow = bundle.one(source)
            if (str(flow), bundle.destination) not in seen:
                seen.add((str(flow), bundle.destination))
                yield str(flow), f"expected DENIED, got ALLOWED via {flow.trace}"


@policy(
    obligation="Every assertion beside the stack must hold.",
    remedy="Close or open the way, or correct the assertion.",
)
def assertions_hold(graph: Graph) -> Iterator[Violation]:
    """Yield assertions (accept and deny tests as data) that do not hold."""
    for assertion in graph.topology.assertions:
        for wanted, targets in ((True, assertion.accept), (False, assertion.deny)):
            for target in targets:
                flow = Flow.parse(f"{assertion.src} -> {target}")
                try:
                    verdict = graph.reachability.evaluate(
                        flow.source, flow.destination, flow.port, directly=assertion.directly
                    )
                except UnknownNameError:
                    yield str(flow), "is asserted, but one of its ends is not in the stack"
                    continue
                if verdict.allowed and not wanted:
                    yield str(flow), f"expected DENIED, got ALLOWED via {verdict.trace}"
                elif wanted and not verdict.allowed:
                    yield str(flow), f"expected ALLOWED, got DENIED: {'; '.join(verdict.reasons)}"


class _Roles:
    """Flows that the roles of the destination's zones forbid."""

    def __init__(self, topology: TopologyIndex) -> None:
        self._topology = topology
        self._outsides = {zone.name for zone in topology.outsides}
        self._hosts = {host.name for host in topology.hosts}
        self._ingress = topology.ingress_name or ""

    def sources(self, bundle: ConnectionSet) -> Iterator[str]:
        """Yield the forbidden sources of a bundle, without a look at each neighbour."""
        candidates: Iterable[str] = bundle.sources
        if bundle.how is EdgeKind.NEIGHBOUR:
            candidates = [self._ingress] if self._ingress in bundle.sources else []
        hop = bundle.trace.hops[0]
        yield from (source for source in candidates if self.by(source, bundle.destination, bundle.how, hop))

    def by(self, source: str, destination: str, how: EdgeKind, hop: str) -> bool:
        """Whether a role forbids the flow; `hop` is the first hop of its trace.

        Among neighbours only the ingress can be forbidden.
        """
        topology = self._topology
        service = topology.services.get(destination)
        if service is None or destination in {source, self._ingress}:
            return False
        traits = [topology.zones[name].traits for name in service.zones]
        through_ingress = how is EdgeKind.PROXIED and hop == self._ingress
        if source in self._hosts or (how is EdgeKind.NEIGHBOUR and source != self._ingress):
            return False
        if any(each.inner for each in traits) and not any(each.routable for each in traits):
            return source == self._ingress or how is EdgeKind.PROXIED or not self._is_container(source)
        if through_ingress or source == self._ingress:
            return False
        guest = isinstance(service, Guest)
        if source in self._outsides or source == INTERNET:
            return not guest or (source == INTERNET and destination not in topology.public_guests)
        alone = any(each.alone for each in traits)
        # By a leg, or behind Docker-SRV's address, where the host's own rules let each container's flows out.
        near = guest and (service.zones[0] in topology.legs.of(source) or how is EdgeKind.EGRESS)
        return alone or (isinstance(topology.services.get(source), Guest) != guest and not near)

    def _is_container(self, name: str) -> bool:
        return isinstance(self._topology.services.get(name), Container)
