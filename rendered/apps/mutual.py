"""The web configuration for mutual TLS, which Prometheus and its exporters read in the same format."""

from rendered.apps.text import as_yaml
from topology.certificates import IssuedCertificate
from topology.model import Container

WEB_CONFIG = "/etc/prometheus/web.yml"


def web_config(service: Container) -> str:
    """Return the configuration, which requires client certificates of the service's own authority."""
    own = IssuedCertificate(service.name, service.name).server
    return as_yaml({"tls_server_config": {**own, "min_version": "TLS13"}})
