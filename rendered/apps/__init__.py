"""How each known app runs in a container: one function an app, from the topology to a Runtime."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from rendered import nginx
from rendered.apps.alloy import alloy
from rendered.apps.blackbox_exporter import blackbox_exporter
from rendered.apps.exporters import cadvisor, node_exporter
from rendered.apps.grafana import grafana
from rendered.apps.logs import loki, loki_gateway, promtail
from rendered.apps.prometheus import prometheus, prometheus_ui
from rendered.apps.traefik import traefik
from rendered.runtime import Runtime
from topology.model import App, Container, Topology, table

RUNTIMES: Final[Mapping[App, Callable[[Topology, Container], Runtime]]] = table(
    "RUNTIMES",
    App,
    {
        App.TRAEFIK: traefik,
        App.GRAFANA: grafana,
        App.PROMETHEUS: prometheus,
        App.PROMETHEUS_UI: prometheus_ui,
        App.NODE_EXPORTER: node_exporter,
        App.BLACKBOX_EXPORTER: blackbox_exporter,
        App.CADVISOR: cadvisor,
        App.LOKI: loki,
        App.LOKI_GATEWAY: loki_gateway,
        App.PROMTAIL: promtail,
        App.ALLOY: alloy,
    },
)


def runtime(topology: Topology, service: Container) -> Runtime:
    """Return how the service's app runs, with what the stack file gives it besides; the app's own wins.

    A service without an app runs its image unchanged.
    """
    made = _own(topology, service)
    return replace(
        made,
        command=(*made.command, *service.arguments),
        environment={**service.environment, **made.environment},
        files={**service.files, **made.files},
    )


def taken(topology: Topology, service: Container) -> Iterator[str]:
    """Yield the keys of the stack file that would replace what the service's app sets itself."""
    made = _own(topology, service)
    flags = {_flag(word) for word in made.command}
    yield from (f"environment.{name}" for name in service.environment if name in made.environment)
    yield from (f'files["{path}"]' for path in service.files if path in made.files)
    for index, word in enumerate(service.arguments):
        # The filtering proxies are nginx, which takes any file after -c.
        if made.command == nginx.COMMAND or _flag(word) in flags:
            yield f"arguments[{index}]"


def _own(topology: Topology, service: Container) -> Runtime:
    made = RUNTIMES[service.app](topology, service) if service.app else Runtime()
    return replace(made, name_servers=topology.name_servers(service))


def _flag(word: str) -> str:
    return word.partition("=")[0].lstrip("-")
