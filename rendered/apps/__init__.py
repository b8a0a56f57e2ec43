"""How each known app runs in a container: one function an app, from the topology to a Runtime."""

from collections.abc import Callable, Mapping
from typing import Final

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
    """Return how the service's app runs. A service without an app runs its image unchanged."""
    return RUNTIMES[service.app](topology, service) if service.app else Runtime()
