"""A rule for the pages of external machines, which are often those by which a machine is administered."""

from __future__ import annotations

from collections.abc import Iterator

from policies.rule import policy
from resources.docker import DockerContainer
from resources.typed import TypedResource
from topology.index import TopologyIndex
from topology.model import INTERNET, App


@policy(
    DockerContainer,
    obligation="The page of an external machine must not be for the internet without a login before it.",
    remedy="Name management or external zones as its audience, give it a login, or declare an exception.",
)
def machine_pages_inside(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield machines' pages that every client on the internet reaches: most administer the machine."""
    service = topology.containers_by_name.get(view.inputs.name)
    if service is None or service.app is not App.MACHINE_PAGE:
        return
    asked = " and ".join(flow.destination for flow in topology.flows_from(service.name))
    for route in topology.routes:
        if route.service == service.name and INTERNET in route.audience and not route.login:
            yield f"shows the internet the page of {asked} as {route.host}, without a login before it"
    for stream in topology.streams:
        if stream.service == service.name and INTERNET in topology.entries[stream.entry]:
            yield f"shows the internet the page of {asked} on port {stream.entry}, without a login before it"
