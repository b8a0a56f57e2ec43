"""Checks of the accept/deny tests in a stack file."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.ends import unknown_end, unknown_source
from topology.checks.site import Site, twice
from topology.fault import Fault, shown
from topology.model import Flow


def assertions(site: Site) -> Iterator[Fault]:
    """Check that each test tests something, names existing ends, and does not contradict itself."""
    for path, assertion in site.assertions.items():
        if not assertion.accept and not assertion.deny:
            yield Fault(path, "tests nothing", "give it accept or deny")
        flows: dict[str, Flow] = {}
        for key in ("accept", "deny"):
            for index, text in enumerate(getattr(assertion, key)):
                try:
                    flows[f"{path}.{key}[{index}]"] = Flow.parse(f"{assertion.src} -> {text}")
                except ValueError:
                    yield Fault(
                        f"{path}.{key}[{index}]",
                        f"{shown(text)} is not a destination",
                        "write it like grafana:3000/tcp, its port 1-65535",
                    )
        if reason := unknown_source(site, assertion.src):
            yield Fault(f"{path}.src", *reason)
        for where, flow in flows.items():
            if reason := unknown_end(site, flow.destination):
                yield Fault(where, *reason)
        yield from twice(((where, flow) for where, flow in flows.items()), "keep one")
