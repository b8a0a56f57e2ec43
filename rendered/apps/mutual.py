"""How Prometheus and its exporters are told to ask for certificates: all read the same file."""

from rendered.apps.text import as_yaml
from topology.certificates import Held
from topology.model import Container

WEB_CONFIG = "/etc/prometheus/web.yml"


def web_config(service: Container) -> str:
    """Be known by the service's own certificate, and refuse whoever shows none of the same authority."""
    own = Held(service.name, service.name).server
    return as_yaml({"tls_server_config": {**own, "min_version": "TLS13"}})
