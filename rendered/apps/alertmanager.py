"""Alertmanager, which groups Prometheus's alerts and sends them to the one receiver of the stack's secret.

Note: the receiver's URL often holds a token, so it is the secret `alertmanager:receiver`, passed as a file.
Where it may lead is a matter of the service's flows, not of the URL.
"""

from rendered.apps.mutual import WEB_CONFIG, web_config
from rendered.apps.text import as_yaml
from rendered.runtime import Runtime, StackSecret, tcp_health
from topology.model import Container, Topology

_CONFIG = "/etc/alertmanager/alertmanager.yml"
_RECEIVER = "/etc/alertmanager/receiver"


def alertmanager(_topology: Topology, service: Container) -> Runtime:
    """Return a runtime with one receiver, a webhook; it forms no cluster, and asks for certificates."""
    port = service.ports[0].number
    config = {
        "route": {
            "receiver": "receiver",
            "group_by": ["alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
        },
        "receivers": [{"name": "receiver", "webhook_configs": [{"url_file": _RECEIVER}]}],
    }
    return Runtime(
        command=(
            f"--config.file={_CONFIG}",
            f"--web.config.file={WEB_CONFIG}",
            f"--web.listen-address=:{port}",
            "--cluster.listen-address=",
            "--storage.path=/alertmanager",
        ),
        files={
            _CONFIG: as_yaml(config),
            _RECEIVER: StackSecret("alertmanager", "receiver"),
            WEB_CONFIG: web_config(service),
        },
        data={"/alertmanager": "data"},
        health=tcp_health(port),
    )
