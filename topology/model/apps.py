"""The apps that the project supports: one row of `APPS` or `GUEST_APPS` for each, with its traits.

`rendered.apps.RUNTIMES` defines how a container's app runs, `rendered.cloud_init.SETUPS` how a guest's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from topology.model.table import table


class App(StrEnum):
    """Software whose configuration the project writes. A container without an app runs its image as it is."""

    TRAEFIK = "traefik"
    GRAFANA = "grafana"
    PROMETHEUS = "prometheus"
    PROMETHEUS_UI = "prometheus-ui"
    NODE_EXPORTER = "node-exporter"
    BLACKBOX_EXPORTER = "blackbox-exporter"
    CADVISOR = "cadvisor"
    ALERTMANAGER = "alertmanager"
    LOKI = "loki"
    LOKI_GATEWAY = "loki-gateway"
    PROMTAIL = "promtail"
    ALLOY = "alloy"
    MACHINE_PAGE = "machine-page"


class GuestApp(StrEnum):
    """Software that a guest sets up at its first boot, or that its template already contains."""

    WORDPRESS = "wordpress"
    JELLYFIN = "jellyfin"
    STIRLING_PDF = "stirling-pdf"
    VAULTWARDEN = "vaultwarden"


class LogRight(StrEnum):
    """What the gateway in front of Loki permits a client to do."""

    READER = "reader"
    WRITER = "writer"


@dataclass(frozen=True, kw_only=True)
class AppTraits:
    """Properties of a container's app. No field has a default."""

    meaning: str
    """Description of the app for the documentation, without a full stop."""
    no_login: bool
    """The app has no users of its own: the ingress asks for a name and a password on its routes."""
    asks_for_certificates: bool
    """The app is configured to refuse clients without a certificate of its authority."""
    upstream: App | None
    """App of the one service to which this app forwards requests."""
    logs: LogRight | None
    """None: the gateway in front of Loki refuses the app."""
    watches: bool
    """The app may join a probe zone."""
    reaches_guests: bool
    """The app may have a leg on a network of guests: it opens connections there, and listens elsewhere."""


APPS: Final[Mapping[App, AppTraits]] = table(
    "APPS",
    App,
    {
        App.TRAEFIK: AppTraits(
            meaning="the ingress, with the routes that follow from its flows",
            no_login=False,
            asks_for_certificates=False,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.GRAFANA: AppTraits(
            meaning="dashboards, with a data source for each flow to Prometheus or Loki's gateway",
            no_login=False,
            asks_for_certificates=False,
            upstream=None,
            logs=LogRight.READER,
            watches=False,
            reaches_guests=False,
        ),
        App.PROMETHEUS: AppTraits(
            meaning="metrics and alerts; it scrapes what it has a flow to",
            no_login=False,
            asks_for_certificates=True,
            upstream=None,
            logs=None,
            watches=True,
            reaches_guests=True,
        ),
        App.PROMETHEUS_UI: AppTraits(
            meaning="nginx as the read-only way to Prometheus",
            no_login=True,
            asks_for_certificates=False,
            upstream=App.PROMETHEUS,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.NODE_EXPORTER: AppTraits(
            meaning="metrics of Docker-SRV and of the last live probe",
            no_login=False,
            asks_for_certificates=True,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.BLACKBOX_EXPORTER: AppTraits(
            meaning="asks Docker-SRV's published ports as a machine outside does",
            no_login=False,
            asks_for_certificates=True,
            upstream=None,
            logs=None,
            watches=True,
            reaches_guests=False,
        ),
        App.CADVISOR: AppTraits(
            meaning="metrics of the containers",
            no_login=False,
            asks_for_certificates=False,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.ALERTMANAGER: AppTraits(
            meaning="sends Prometheus's alerts to the receiver of the secret `alertmanager:receiver`",
            no_login=False,
            asks_for_certificates=True,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.LOKI: AppTraits(
            meaning="keeps the logs",
            no_login=False,
            asks_for_certificates=True,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.LOKI_GATEWAY: AppTraits(
            meaning="nginx before Loki, which lets each client read or write and nothing else",
            no_login=False,
            asks_for_certificates=True,
            upstream=App.LOKI,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
        App.PROMTAIL: AppTraits(
            meaning="sends the containers' log files",
            no_login=False,
            asks_for_certificates=False,
            upstream=App.LOKI_GATEWAY,
            logs=LogRight.WRITER,
            watches=False,
            reaches_guests=False,
        ),
        App.ALLOY: AppTraits(
            meaning="sends the containers' log files, in Promtail's place",
            no_login=False,
            asks_for_certificates=False,
            upstream=App.LOKI_GATEWAY,
            logs=LogRight.WRITER,
            watches=False,
            reaches_guests=False,
        ),
        App.MACHINE_PAGE: AppTraits(
            meaning="nginx as the ingress's way to the page of one external machine, such as a NAS",
            no_login=False,
            asks_for_certificates=False,
            upstream=None,
            logs=None,
            watches=False,
            reaches_guests=False,
        ),
    },
)


@dataclass(frozen=True, kw_only=True)
class GuestAppTraits:
    """Properties of a guest's app. No field has a default."""

    meaning: str
    """Description of the app for the documentation, without a full stop."""
    from_debian: bool
    """The app comes from Debian's packages and needs no image."""
    speaks_tls: bool
    """A guest that sets the app up generates its own key and serves TLS only."""
    admin_page: bool
    """The app has an admin page. The ingress blocks it unless the stack file permits it until a date."""


GUEST_APPS: Final[Mapping[GuestApp, GuestAppTraits]] = table(
    "GUEST_APPS",
    GuestApp,
    {
        GuestApp.WORDPRESS: GuestAppTraits(
            meaning="a site with its database",
            from_debian=True,
            speaks_tls=True,
            admin_page=False,
        ),
        GuestApp.JELLYFIN: GuestAppTraits(
            meaning="films and music",
            from_debian=False,
            speaks_tls=False,
            admin_page=False,
        ),
        GuestApp.STIRLING_PDF: GuestAppTraits(
            meaning="tools for PDF files",
            from_debian=False,
            speaks_tls=False,
            admin_page=False,
        ),
        GuestApp.VAULTWARDEN: GuestAppTraits(
            meaning="passwords",
            from_debian=False,
            speaks_tls=False,
            admin_page=True,
        ),
    },
)

NO_LOGIN: Final = frozenset(app for app, traits in APPS.items() if traits.no_login)
ASKS_FOR_CERTIFICATES: Final = frozenset(app for app, traits in APPS.items() if traits.asks_for_certificates)
READS_LOGS: Final = frozenset(app for app, traits in APPS.items() if traits.logs is LogRight.READER)
WRITES_LOGS: Final = frozenset(app for app, traits in APPS.items() if traits.logs is LogRight.WRITER)
REACHES_GUESTS: Final = frozenset(app for app, traits in APPS.items() if traits.reaches_guests)
WATCHES: Final = frozenset(app for app, traits in APPS.items() if traits.watches)

FROM_DEBIAN: Final = frozenset(app for app, traits in GUEST_APPS.items() if traits.from_debian)
SPEAKS_TLS: Final = frozenset(app for app, traits in GUEST_APPS.items() if traits.speaks_tls)
HAS_ADMIN_PAGE: Final = frozenset(app for app, traits in GUEST_APPS.items() if traits.admin_page)
