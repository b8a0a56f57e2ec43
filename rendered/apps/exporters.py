"""Node Exporter and cAdvisor: they read the host's counters, and have nothing else of the host.

What a reader would get wrong: neither mounts `/`. A read-only bind of the root folder contains the Docker
socket, and a socket on a read-only mount still takes connections.
"""

from rendered.apps.mutual import WEB_CONFIG, web_config
from rendered.runtime import Runtime, http_health, tcp_health
from topology.model import Container, Topology

_LEFT_OUT = (
    "advtcp,cpu_topology,cpuset,hugetlb,memory_numa,percpu,process,referenced_memory,resctrl,sched,tcp,udp"
)
"""Metrics that cost much and say little about containers."""


def node_exporter(topology: Topology, service: Container) -> Runtime:
    """Counters from /proc and /sys, and what the live probe says; file systems would need the root folder."""
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
    """Counters of every control group; containers are told apart by their cgroup's name."""
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
