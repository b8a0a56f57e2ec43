"""Prometheus Core, which scrapes what it has a flow to, and Prometheus UI, the read-only way to it.

What a reader would get wrong: Prometheus UI is no Prometheus. It is nginx with a list of the paths that
pass; everything that is not on the list is refused, whatever a later version of Prometheus adds.
"""

from components.apps.mutual import WEB_CONFIG, web_config
from components.apps.text import as_yaml
from components.apps.watch import JOB, probes, rules
from components.runtime import Runtime, http_health, tcp_health
from topology.certificates import Held
from topology.model import ASKS_FOR_CERTIFICATES, App, Container, Flow, Topology

_RULES = "/etc/prometheus/rules/watch.yml"
_TIMEOUT = 10
"""Seconds that one scrape may take."""
_CONTAINER_NAME = r".*/homelab-([a-z0-9-]+)\.slice/(?:docker-)?[0-9a-f]{64}(?:\.scope)?"
"""A container's cgroup under either cgroup driver; `components.container` puts the name into it."""

_QUERIES = (
    "query|query_range|query_exemplars|format_query|parse_query|series|labels|label/[^/]+/values|metadata"
    "|targets|targets/metadata|rules|alerts|alertmanagers"
    "|status/(?:buildinfo|runtimeinfo|tsdb|walreplay|flags)"
)
_PAGES = "(?:classic/)?(?:graph|query|alerts|rules|targets|status|flags|tsdb-status|service-discovery)"
_STATIC = r"(?:(?:classic/)?static|assets)/.*|favicon\.(?:ico|svg)|manifest\.json"


def prometheus(topology: Topology, service: Container) -> Runtime:
    """Scrape every declared target; admin API, lifecycle and remote write stay off, their default."""
    jobs = [_job(topology, flow) for flow in topology.flows_from(service.name)]
    config = {
        "global": {"scrape_interval": "15s", "scrape_timeout": "10s"},
        "rule_files": [_RULES],
        "scrape_configs": jobs,
    }
    return Runtime(
        command=(
            "--config.file=/etc/prometheus/prometheus.yml",
            f"--web.config.file={WEB_CONFIG}",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=30d",
        ),
        files={
            "/etc/prometheus/prometheus.yml": as_yaml(config),
            _RULES: as_yaml(rules(topology)),
            WEB_CONFIG: web_config(service),
        },
        data={"/prometheus": "data"},
        health=tcp_health(service.ports[0].number),
    )


def _job(topology: Topology, flow: Flow) -> dict[str, object]:
    target = topology.services[flow.destination]
    at = f"{topology.address(target)}:{flow.port.number}"
    app = target.app if isinstance(target, Container) else None
    how: dict[str, object] = {}
    if app in ASKS_FOR_CERTIFICATES:
        shown = Held(flow.source, flow.destination).client(topology)
        how = {"scheme": "https", "tls_config": shown}
    if app is App.BLACKBOX_EXPORTER:
        return _probe_job(topology, at) | how
    job = {"job_name": target.name, "static_configs": [{"targets": [at]}], **how}
    return job | (_name_containers() if app is App.CADVISOR else {})


def _probe_job(topology: Topology, exporter: str) -> dict[str, object]:
    """Ask the exporter for each probe; what is asked are labels, so alerts name the probe."""
    every = topology.docker.probe_every
    groups = []
    for probe in probes(topology):
        asked = {"__param_module": str(probe.kind), "__param_target": probe.target}
        asked |= {"__param_hostname": probe.host} if probe.host else {}
        told = {"instance": probe.name, "kind": str(probe.kind), "service": probe.service}
        groups.append({"targets": [exporter], "labels": asked | told})
    return {
        "job_name": JOB,
        "metrics_path": "/probe",
        "scrape_interval": f"{every}s",
        "scrape_timeout": f"{min(every, _TIMEOUT)}s",
        "static_configs": groups,
    }


def _name_containers() -> dict[str, object]:
    """Name containers by their cgroup, since cAdvisor gets no Docker socket to ask."""
    rename = {"source_labels": ["id"], "regex": _CONTAINER_NAME, "target_label": "name"}
    return {"metric_relabel_configs": [rename]}


def prometheus_ui(topology: Topology, service: Container) -> Runtime:
    """Proxy queries, pages and static files to the one Prometheus that the service has a flow to."""
    flow = topology.flows_from(service.name)[0]
    core = f"{topology.address(topology.services[flow.destination])}:{flow.port.number}"
    shown = Held(service.name, flow.destination).client(topology)
    return Runtime(
        command=("nginx", "-g", "daemon off;"),
        files={"/etc/nginx/nginx.conf": _nginx(service.ports[0].number, core, shown)},
        health=http_health(service.ports[0].number, "/-/healthy"),
    )


def _nginx(port: int, core: str, shown: dict[str, str]) -> str:
    """Write nginx.conf. The name is resolved at each request, so Core may start later or move.

    `shown` is the certificate that it shows Core, and the name that Core's must have.
    """
    return f"""\
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  client_max_body_size 64k;
  default_type text/plain;
  resolver 127.0.0.11 valid=10s;
  proxy_ssl_protocols TLSv1.3;
  proxy_ssl_certificate {shown["cert_file"]};
  proxy_ssl_certificate_key {shown["key_file"]};
  proxy_ssl_trusted_certificate {shown["ca_file"]};
  proxy_ssl_name {shown["server_name"]};
  proxy_ssl_server_name on;
  proxy_ssl_verify on;
  server {{
    listen {port};
    server_tokens off;
    set $core https://{core};
    location = /-/healthy {{ return 200 "ok\\n"; }}
    location = / {{ limit_except GET {{ deny all; }} proxy_pass $core; }}
    location ~ ^/(?:{_PAGES})$ {{ limit_except GET {{ deny all; }} proxy_pass $core; }}
    location ~ ^/(?:{_STATIC})$ {{ limit_except GET {{ deny all; }} proxy_pass $core; }}
    location ~ ^/api/v1/(?:{_QUERIES})$ {{ limit_except GET POST {{ deny all; }} proxy_pass $core; }}
    location / {{ return 403 "Prometheus UI is read-only: this path does not pass.\\n"; }}
  }}
}}
"""
