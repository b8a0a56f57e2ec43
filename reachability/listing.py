"""Lists what is possible in lines that grow with the site and not with its square.

Sources that one fact lets connect to one port share a line: `9 sources by backend => loki : 3100/tcp`.
Declared flows are never folded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from reachability.intent import Intent
from reachability.result import ConnectionSet, EdgeKind
from topology.model import INTERNET

Shown = Callable[[str, str], bool]
"""Whether a flow from a source to a destination is asked for."""
_MANY = 8
"""More sources than this are told as their number."""

_Ports = defaultdict[tuple[str, str], list[str]]
"""Label of the sources, and destination -> ports."""


def _ports() -> _Ports:
    return defaultdict(list)


@dataclass(kw_only=True)
class _Lines:
    """Flows by what allows them: a declaration or no cause, another flow, the control of a host."""

    intent: Intent
    own: _Ports = field(default_factory=_ports)
    under: defaultdict[tuple[str, str], _Ports] = field(default_factory=lambda: defaultdict(_ports))
    hosts: _Ports = field(default_factory=_ports)

    def add(self, bundle: ConnectionSet, sources: list[str]) -> None:
        """Sort the sources of a bundle, each of which is new for its destination and port."""
        end, port = bundle.destination, bundle.port
        declared = self.intent.sources.get((end, port), set())
        for source in sources:
            if source in declared:
                self.own[source, end].append(str(port or "*"))
        rest = [source for source in sources if source not in declared]
        cause = bundle.trace.hops[0] if bundle.how is EdgeKind.PROXIED else INTERNET
        if bundle.how is EdgeKind.PROXIED or INTERNET in declared:
            _put(self.under[cause, end], bundle, rest)
        else:
            _put(self.own, bundle, [each for each in rest if each not in self.intent.trusted])
            _put(self.hosts, bundle, [each for each in rest if each in self.intent.trusted])


def _put(ports: _Ports, bundle: ConnectionSet, sources: list[str]) -> None:
    if len(sources) > _MANY:
        sources = [f"{len(sources)} sources by {bundle.trace.hops[0]}"]
    if sources:
        ports[", ".join(sources), bundle.destination].append(str(bundle.port or "*"))


def listing(sets: Iterable[ConnectionSet], intent: Intent, shown: Shown = lambda *_: True) -> Iterator[str]:
    """Yield lines `sources => destination : ports`, what follows from a flow indented below that flow.

    What a proxy passes on follows from the proxy's own flow; other sources follow where the internet may
    connect. Flows that start at a trusted host come last. The sets must be those of one destination and port
    after those of another, as `Reachability.connection_sets` has them.
    """
    lines, seen, last = _Lines(intent=intent), set[str](), None
    for bundle in sets:
        if last != (last := (bundle.destination, bundle.port)):
            seen = {bundle.destination}
        new = [each for each in bundle.sources if each not in seen and shown(each, bundle.destination)]
        seen.update(new)
        lines.add(bundle, new)
    for pair, ports in lines.own.items():
        yield from _told({pair: ports})
        yield from (f"  {below}" for below in _told(lines.under.pop(pair, {})))
    for left in lines.under.values():
        yield from _told(left)
    if lines.hosts:
        yield from ("# from hosts, which are trusted with what they run", *_told(lines.hosts))


def _told(ports: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    return (f"{source} => {end} : {', '.join(found)}" for (source, end), found in ports.items())
