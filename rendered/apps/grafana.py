"""Grafana with a data source for each of its flows to Prometheus or Loki's gateway, and one dashboard.

Note: the administrator's password is the stack's secret `grafana:adminPassword`, passed as a file. The
deployment fails without it, because Grafana's default password is public.
"""

from pathlib import Path

from rendered.apps.text import as_yaml
from rendered.runtime import Runtime, StackSecret, http_health
from topology.certificates import IssuedCertificate
from topology.model import App, Container, Topology

_PASSWORD = "/etc/grafana/admin-password"  # noqa: S105  # where the password is, not what it is
_DASHBOARDS = "/etc/grafana/dashboards"
_ISOLATION = Path(__file__).with_name("isolation.json")
_KINDS = {App.PROMETHEUS: "prometheus", App.LOKI_GATEWAY: "loki"}


_PROVIDER = {
    "name": "site",
    "type": "file",
    "disableDeletion": True,
    "allowUiUpdates": False,
    "options": {"path": _DASHBOARDS},
}


def grafana(topology: Topology, service: Container) -> Runtime:
    """Return a runtime with read-only data sources and dashboard, without telemetry and sign-up."""
    sources = [
        {
            "name": (name := _keeper(topology, target)),
            "uid": name,
            "type": _KINDS[target.app],
            "access": "proxy",
            "url": f"https://{topology.target(flow)}",
            "isDefault": target.app is App.PROMETHEUS,
            "editable": False,
            **_shown(topology, IssuedCertificate(service.name, target.name)),
        }
        for flow in topology.flows_from(service.name)
        if isinstance(target := topology.services.get(flow.destination), Container) and target.app in _KINDS
    ]
    return Runtime(
        files={
            "/etc/grafana/provisioning/datasources/site.yaml": as_yaml(
                {"apiVersion": 1, "datasources": sources}
            ),
            "/etc/grafana/provisioning/dashboards/site.yaml": as_yaml(
                {"apiVersion": 1, "providers": [_PROVIDER]}
            ),
            f"{_DASHBOARDS}/{_ISOLATION.name}": _ISOLATION.read_text(encoding="utf-8"),
            _PASSWORD: StackSecret("grafana", "adminPassword"),
        },
        environment={
            "GF_SERVER_ROOT_URL": topology.page(service),
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_USERS_ALLOW_SIGN_UP": "false",
            "GF_SECURITY_ADMIN_PASSWORD__FILE": _PASSWORD,
        },
        data={"/var/lib/grafana": "data"},
        user="472:0",
        health=http_health(service.ports[0].number, "/api/health"),
    )


def _keeper(topology: Topology, target: Container) -> str:
    """Return the name of the service that stores the data, even behind a gateway; dashboards refer to it."""
    through = target.app is App.LOKI_GATEWAY
    return topology.flows_from(target.name)[0].destination if through else target.name


def _shown(topology: Topology, held: IssuedCertificate) -> dict[str, object]:
    """Return the settings of mutual TLS for a data source. Grafana reads the files when it starts."""
    return {
        "jsonData": {
            "tlsAuth": True,
            "tlsAuthWithCACert": True,
            "serverName": topology.physical(held.service),
        },
        "secureJsonData": {
            "tlsCACert": f"$__file{{{held.authorities}}}",
            "tlsClientCert": f"$__file{{{held.certificate}}}",
            "tlsClientKey": f"$__file{{{held.key}}}",
        },
    }
