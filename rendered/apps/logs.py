"""Loki, which stores the logs, the gateway in front of it, and Promtail, which sends the container logs."""

from rendered import nginx
from rendered.apps.text import as_yaml
from rendered.runtime import Runtime, bash_health, tcp_health
from topology.certificates import IssuedCertificate
from topology.model import Container, Topology

_RETENTION = "744h"
_LOOPBACK = 3101
"""Loki's port for health checks on loopback; no program in its image can present a client certificate."""
_SCHEDULER = "127.0.0.1:9095"
"""Address at which Loki's components find each other: the default `server.grpc_listen_port`."""
_PORT = 9080


def loki(_topology: Topology, service: Container) -> Runtime:
    """Return a runtime of one process and one volume; it keeps logs for 31 days and allows no deletion."""
    return Runtime(
        command=("-config.file=/etc/loki/config.yaml",),
        files={
            "/etc/loki/config.yaml": as_yaml(
                {
                    "auth_enabled": False,
                    "server": {
                        "http_listen_port": service.ports[0].number,
                        "http_tls_config": IssuedCertificate(service.name, service.name).server,
                        "tls_min_version": "VersionTLS13",
                        "grpc_listen_address": "127.0.0.1",
                    },
                    "internal_server": {
                        "enable": True,
                        "http_listen_address": "127.0.0.1",
                        "http_listen_port": _LOOPBACK,
                        "grpc_listen_address": "127.0.0.1",
                        "grpc_listen_port": 0,
                    },
                    "common": {
                        "path_prefix": "/loki",
                        "replication_factor": 1,
                        "instance_addr": "127.0.0.1",
                        "ring": {"kvstore": {"store": "inmemory"}},
                        "storage": {
                            "filesystem": {
                                "chunks_directory": "/loki/chunks",
                                "rules_directory": "/loki/rules",
                            }
                        },
                    },
                    "ingester": {"lifecycler": {"min_ready_duration": "0s"}},
                    # A fixed scheduler address avoids discovery through a ring, which takes ten seconds.
                    "frontend": {"scheduler_address": _SCHEDULER},
                    "frontend_worker": {"scheduler_address": _SCHEDULER},
                    "schema_config": {
                        "configs": [
                            {
                                "from": "2024-01-01",
                                "store": "tsdb",
                                "object_store": "filesystem",
                                "schema": "v13",
                                "index": {"prefix": "index_", "period": "24h"},
                            }
                        ]
                    },
                    "compactor": {"retention_enabled": True, "delete_request_store": "filesystem"},
                    "limits_config": {"retention_period": _RETENTION, "deletion_mode": "disabled"},
                    "analytics": {"reporting_enabled": False},
                }
            )
        },
        data={"/loki": "data"},
        user="10001:10001",
        health=("loki", "-health", f"-health.url=http://127.0.0.1:{_LOOPBACK}/ready"),
    )


def loki_gateway(topology: Topology, service: Container) -> Runtime:
    """Return a runtime of nginx, which grants clients their app's rights, by their certificates' names."""
    return Runtime(
        command=nginx.COMMAND,
        files={nginx.FILE: nginx.loki_gateway(topology, service)},
        health=tcp_health(service.ports[0].number),
    )


def promtail(topology: Topology, service: Container) -> Runtime:
    """Return a runtime that pushes the engine's log files, labelled by container; it listens on loopback."""
    flow = topology.flows_from(service.name)[0]
    logs = "/var/lib/docker/containers"
    return Runtime(
        command=("-config.file=/etc/promtail/config.yml",),
        files={
            "/etc/promtail/config.yml": as_yaml(
                {
                    "server": {
                        "http_listen_address": "127.0.0.1",
                        "http_listen_port": _PORT,
                        "grpc_listen_address": "127.0.0.1",
                        "log_level": "warn",
                    },
                    "positions": {"filename": "/var/lib/promtail/positions.yaml"},
                    "clients": [
                        {
                            "url": f"https://{topology.target(flow)}/loki/api/v1/push",
                            "tls_config": IssuedCertificate(service.name, flow.destination).client(topology),
                        }
                    ],
                    "scrape_configs": [
                        {
                            "job_name": "containers",
                            "static_configs": [
                                {
                                    "targets": ["localhost"],
                                    "labels": {"job": "containers", "__path__": f"{logs}/*/*-json.log"},
                                }
                            ],
                            "pipeline_stages": [
                                {"json": {"expressions": {"container": "attrs.tag"}}},
                                {"labels": {"container": None}},
                                {"docker": {}},
                                {"labeldrop": ["filename"]},
                            ],
                        }
                    ],
                }
            )
        },
        data={"/var/lib/promtail": "positions"},
        host_paths={logs: f"{topology.docker.data_root}/containers"},
        user="0:0",
        health=bash_health(_PORT, "/ready"),
    )
