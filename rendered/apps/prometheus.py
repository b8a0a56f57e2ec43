"""Prometheus Core, which scrapes the targets of its flows, and Prometheus UI, the read-only access to it.

Note: Prometheus UI is nginx with a list of permitted paths. It refuses every other path, including those
that later versions of Prometheus add.
"""

from rendered import nginx
from rendered.apps.mutual import WEB_CONFIG, web_config
from rendered.apps.text import as_yaml
from rendered.apps.watch import JOB, probes, rules
from rendered.runtime import Runtime, http_health, tcp_health
from topology.certificates import IssuedCertificate
from topology.listening import LISTEN, LOOPBACK, listens
from topology.model import ASKS_FOR_CERTIFICATES, App, Container, Flow, Topology

_RULES = "/etc/prometheus/rules/watch.yml"
_TIMEOUT = 10
"""Maximum seconds of one scrape."""
_CONTAINER_NAME = r".*/homelab-([a-z0-9-]+)\.slice/(?:docker-)?[0-9a-f]{64}(?:\.scope)?"
"""A container's cgroup under both cgroup drivers; `rendered.container` sets the name in it."""


def prometheus(topology: Topology, service: Container) -> Runtime:
    """Return a runtime that scrapes every declared target; admin API, lifecycle and remote write are off.

    With a leg on a network of guests it listens on one address, which is not the leg's.
    """
    at, port = listens(topology, service), service.ports[0].number
    flows = topology.flows_from(service.name)
    jobs = [_job(topology, flow) for flow in flows]
    managers = [_alertmanager(topology, flow) for flow in flows if _app(topology, flow) is App.ALERTMANAGER]
    config = {
        "global": {"scrape_interval": "15s", "scrape_timeout": "10s"},
        "rule_files": [_RULES],
        **({"alerting": {"alertmanagers": managers}} if managers else {}),
        "scrape_configs": jobs,
    }
    return Runtime(
        command=(
            "--config.file=/etc/prometheus/prometheus.yml",
            f"--web.config.file={WEB_CONFIG}",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=30d",
            *([f"{LISTEN}={at}:{port}"] if at else []),
        ),
        files={
            "/etc/prometheus/prometheus.yml": as_yaml(config),
            _RULES: as_yaml(rules(topology)),
            WEB_CONFIG: web_config(service),
        },
        data={"/prometheus": "data"},
        health=tcp_health(port, str(at or LOOPBACK)),
    )


def _job(topology: Topology, flow: Flow) -> dict[str, object]:
    at, app = topology.target(flow), _app(topology, flow)
    how: dict[str, object] = {}
    if app in ASKS_FOR_CERTIFICATES:
        shown = IssuedCertificate(flow.source, flow.destination).client(topology)
        how = {"scheme": "https", "tls_config": shown}
    if app is App.BLACKBOX_EXPORTER:
        return _probe_job(topology, at) | how
    job = {"job_name": flow.destination, "static_configs": [{"targets": [at]}], **how}
    return job | (_name_containers() if app is App.CADVISOR else {})


def _app(topology: Topology, flow: Flow) -> App | None:
    target = topology.services[flow.destination]
    return target.app if isinstance(target, Container) else None


def _alertmanager(topology: Topology, flow: Flow) -> dict[str, object]:
    """Return where alerts are sent, with the flow's certificate."""
    shown = IssuedCertificate(flow.source, flow.destination).client(topology)
    targets = [{"targets": [topology.target(flow)]}]
    return {"scheme": "https", "tls_config": shown, "static_configs": targets}


def _probe_job(topology: Topology, exporter: str) -> dict[str, object]:
    """Return the scrape job of all probes. Labels hold each probe's parameters, so alerts can name it."""
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
    """Return relabelling that names containers by cgroup, since cAdvisor has no access to Docker's socket."""
    rename = {"source_labels": ["id"], "regex": _CONTAINER_NAME, "target_label": "name"}
    return {"metric_relabel_configs": [rename]}


def prometheus_ui(topology: Topology, service: Container) -> Runtime:
    """Return a runtime of nginx, which proxies reads to the one Prometheus that the service has a flow to."""
    return Runtime(
        command=nginx.COMMAND,
        files={nginx.FILE: nginx.prometheus_ui(topology, service)},
        health=http_health(service.ports[0].number, "/-/healthy"),
    )
