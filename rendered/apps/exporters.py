"""Node Exporter and cAdvisor, which read the host's counters and get no other access to the host.

Note: neither mounts `/`. A read-only bind mount of the root folder would contain the Docker socket, and a
socket on a read-only mount still accepts connections.
"""

from rendered.apps.mutual import WEB_CONFIG, web_config
from rendered.runtime import Runtime, http_health, tcp_health
from topology.model import Container, Topology

_LEFT_OUT = (
    "advtcp,cpu_topology,cpuset,hugetlb,memory_numa,percpu,process,referenced_memory,resctrl,sched,tcp,udp"
)
"""Metrics that are expensive to collect and say little about containers."""


def node_exporter(topology: Topology, service: Container) -> Runtime:
    """Return a runtime that exports /proc, /sys and the live probe's metrics; file systems would need `/`."""
    port = service.ports[0].number
    return Runtime(
        command=(
            "--path.procfs=/host/proc",
            "--path.sysfs=/host/sys",
            "--no-collector.filesystem",
            "--collector.textfile.directory=/host/metrics",
            f"--web.listen-address=:{port}",
            f"--web.config.file={WEB_CONFIG}",
        ),
        files={WEB_CONFIG: web_config(service)},
        host_paths={"/host/proc": "/proc", "/host/sys": "/sys", "/host/metrics": topology.docker.metrics},
        health=tcp_health(port),
    )


def cadvisor(_topology: Topology, service: Container) -> Runtime:
    """Return a runtime that exports counters of every cgroup, whose name identifies the container."""
    port = service.ports[0].number
    return Runtime(
        command=(
            f"--port={port}",
            "--docker_only=false",
            "--housekeeping_interval=10s",
            f"--disable_metrics={_LEFT_OUT}",
        ),
        host_paths={"/sys": "/sys"},
        health=http_health(port, "/healthz"),
    )
