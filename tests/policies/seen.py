"""A site as the program makes it: what the pack finds, and the connections of proof and packet walk."""

from typing import Any

from resources.site import Graph
from tests.policies.sound import Stack, run
from tests.unit.packet_walk import Key, Walk


def findings(config: dict[str, Any]) -> list[str]:
    """Return the pack's findings."""
    return [f"{each.rule}: {each}" for each in Stack(resources=run(config), config=config).judge().findings]


def proved(graph: Graph) -> set[Key]:
    """Return the engine's connections between different ends."""
    return {
        (source, one.destination, one.port)
        for one in graph.reachability.connection_sets()
        for source in one.sources
        if source != one.destination
    }


def walked(graph: Graph) -> set[Key]:
    """Return the packet walk's connections between different ends."""
    return {(source, end, port) for source, end, port in Walk(graph.facts).flows() if source != end}
