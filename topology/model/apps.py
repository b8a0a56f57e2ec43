"""Software that the project knows, and what it can do."""

from __future__ import annotations

from enum import StrEnum


class App(StrEnum):
    """Software whose configuration the project writes; a container without one runs its image as it is."""

    TRAEFIK = "traefik"
    GRAFANA = "grafana"
    PROMETHEUS = "prometheus"
    PROMETHEUS_UI = "prometheus-ui"
    NODE_EXPORTER = "node-exporter"
    BLACKBOX_EXPORTER = "blackbox-exporter"
    CADVISOR = "cadvisor"
    LOKI = "loki"
    LOKI_GATEWAY = "loki-gateway"
    PROMTAIL = "promtail"
    ALLOY = "alloy"


class GuestApp(StrEnum):
    """Software that a guest sets up at its first boot, or that its template holds already."""

    WORDPRESS = "wordpress"
    JELLYFIN = "jellyfin"
    STIRLING_PDF = "stirling-pdf"
    VAULTWARDEN = "vaultwarden"


NO_LOGIN = frozenset({App.PROMETHEUS_UI})
"""Software that knows no users; the ingress asks for a name and a password in its place."""

SPEAKS_TLS = frozenset({GuestApp.WORDPRESS})
"""Software that a guest sets up with a key of its own, and that answers by TLS alone."""

ASKS_FOR_CERTIFICATES = frozenset(
    {App.PROMETHEUS, App.LOKI, App.LOKI_GATEWAY, App.NODE_EXPORTER, App.BLACKBOX_EXPORTER}
)
"""Software that can refuse whoever shows it no certificate, and is told to."""

READS_LOGS = frozenset({App.GRAFANA})

WRITES_LOGS = frozenset({App.PROMTAIL, App.ALLOY})
"""What the gateway before Loki lets a client do follows from the client's app."""
